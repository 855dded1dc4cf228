# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from iid_mm.errors import InputError
from iid_mm.inference import sampling
from iid_mm.inference.media import find_media
from iid_mm.inference.sampling import CameraStream, Sampling, open_stream
from iid_mm.preparation.video import evenly_spaced


@pytest.mark.parametrize(
    ('made', 'expected'),
    [
        (Sampling(frames=4), evenly_spaced(100, 4)),
        (Sampling(frames=None), list(range(100))),
        (Sampling(fps=5), [0, 5, 10, 15, 20, 25, 30, 35, 40, 45, 50, 55, 60, 65, 70, 75, 80, 85, 90, 95]),
        (Sampling(fps=10), [int(2.5 * i) for i in range(40)]),
        (Sampling(fps=1000), list(range(100))),
        (Sampling(frames=500), list(range(100))),
    ],
)
def test_chosen_frames_of_4_seconds(made: Sampling, expected: list[int]) -> None:
    assert made.choose(100, 25.0) == expected


def test_no_frames() -> None:
    assert (
        Sampling(fps=5).choose(0, 25) == Sampling(frames=None).choose(0, 25) == Sampling().choose(0, 25) == []
    )


@pytest.mark.parametrize(
    'wrong', [{'frames': 0}, {'fps': 0.0}, {'fps': float('nan')}, {'camera_seconds': -1.0}]
)
def test_bad_sampling(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=next(iter(wrong))):
        Sampling(**wrong)


def test_video(make_video: Callable[..., Path]) -> None:
    path = make_video('a.mp4', [[(10 + i, 20, 60)] for i in range(10)])
    stream = open_stream(find_media(path)[0], Sampling(frames=3))
    assert (stream.total, stream.rate, stream.expected) == (10, 25.0, 3)
    frames = list(stream)
    assert [frame.number for frame in frames] == evenly_spaced(10, 3)
    assert [frame.time for frame in frames] == [n / 25 for n in evenly_spaced(10, 3)]
    assert frames[0].image.shape == (240, 320, 3)
    assert stream.problem == ''


def test_broken_files(tmp_path: Path) -> None:
    for name in ('a.mp4', 'b.jpg'):
        for content in (b'', b'no picture at all'):
            (tmp_path / name).write_bytes(content)
            stream = open_stream(find_media(tmp_path / name)[0], Sampling())
            assert list(stream) == []
            assert stream.problem


class Camera:
    """Stands for cv2.VideoCapture."""

    def __init__(self, frames: int, opens: bool = True) -> None:
        self.left, self.opens, self.released = frames, opens, False

    def isOpened(self) -> bool:
        return self.opens

    def get(self, _: int) -> float:
        return 10.0

    def read(self) -> tuple[bool, Any]:
        self.left -= 1
        return self.left >= 0, np.zeros((4, 6, 3), np.uint8)

    def release(self) -> None:
        self.released = True


def test_camera(monkeypatch: pytest.MonkeyPatch) -> None:
    camera = Camera(5)
    monkeypatch.setattr(sampling.cv2, 'VideoCapture', lambda number: camera)
    stream = CameraStream(0, Sampling(camera_seconds=60))
    assert [frame.number for frame in stream] == [0, 1, 2, 3, 4]
    assert stream.total == 5
    assert camera.released
    assert stream.problem == ''


def test_camera_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling.cv2, 'VideoCapture', lambda number: Camera(0, opens=False))
    stream = CameraStream(3, Sampling())
    assert list(stream) == []
    assert 'camera 3 cannot be opened' in stream.problem
