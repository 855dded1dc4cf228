# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from iid_mm.errors import InputError
from iid_mm.inference import sampling
from iid_mm.inference.media import IMAGE, VIDEO, find_media
from iid_mm.inference.sampling import CameraStream, Sampling, VideoStream, by_content, open_stream
from iid_mm.media.containers import ReadingStopped
from iid_mm.media.image_reading import MAX_FILE
from iid_mm.utils.sampling import evenly_spaced


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


UNEVEN = np.array([0, 0.04, 0.08, 0.12, 2.12, 4.12])


@pytest.mark.parametrize(
    ('fps', 'expected'),
    [
        (1, [0, 4, 5]),
        (0.3, [0, 5]),
        # What is shown at 0.1 s began at 0.08 s.
        (10, [0, 2, 4, 5]),
        (1000, [0, 1, 2, 3, 4, 5]),
    ],
)
def test_frames_a_second_go_by_time_and_not_by_number(fps: float, expected: list[int]) -> None:
    # The rate says nothing.
    for rate in (25.0, 1.2):
        assert Sampling(fps=fps).choose(6, rate, UNEVEN) == expected


@pytest.mark.parametrize('rate', [24000 / 1001, 25.0, 30.0, 60.0])
@pytest.mark.parametrize('fps', [0.5, 1, 3, 4, 7.5, 24, 100])
def test_frames_a_second_of_a_constant_rate(rate: float, fps: float) -> None:
    total = 500
    step = max(rate / fps, 1.0)
    expected = sorted({int(i * step + 1e-6) for i in range(int(total / step) + 1) if i * step + 1e-6 < total})
    for places in (np.arange(total) / rate, np.round(np.arange(total) / rate, 9)):
        assert Sampling(fps=fps).choose(total, rate, places) == expected


def test_the_shown_frame_is_chosen_if_most_frames_are_long() -> None:
    times = np.array([0, 0.04, 0.08, 0.12, 2.12, 4.12, 6.12, 8.12])
    # Number 3 is shown at 1 s and 2 s, number 1 is gone by then.
    assert Sampling(fps=1).choose(8, 1.0, times) == [0, 3, 4, 5, 6, 7]


def test_chosen_frames_of_hostile_times() -> None:
    # A step of 1/fps for each of three billion seconds would never end.
    assert Sampling(fps=1000).choose(3, 25.0, np.array([0, 1e9, 3e9])) == [0, 1, 2]
    assert Sampling(fps=2).choose(4, 25.0, np.zeros(4)) == [0]
    assert Sampling(fps=2).choose(1, 25.0, np.zeros(1)) == [0]


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


def pattern(number: int) -> Image.Image:
    ramp = np.tile(np.arange(48, dtype=np.uint8) * 5, (32, 1))
    return Image.fromarray(np.roll(ramp, 9 * number, axis=1)).convert('RGB')


@pytest.mark.parametrize('kind', ['GIF', 'PNG', 'WEBP'])
@pytest.mark.parametrize('suffix', ['gif', 'png', 'webp', 'jpg', 'mp4'])
def test_an_animation_is_a_clip_whatever_its_name(tmp_path: Path, kind: str, suffix: str) -> None:
    options: dict[str, Any] = {'lossless': True} if kind == 'WEBP' else {}
    rest = [pattern(1), pattern(2)]
    path = tmp_path / f'a.{suffix}'
    pattern(0).save(path, kind, save_all=True, append_images=rest, duration=200, **options)
    media = by_content(find_media(path)[0])
    assert media.kind == VIDEO
    stream = open_stream(find_media(path)[0], Sampling(frames=None))
    frames = list(stream)
    assert (stream.total, stream.expected, stream.problem) == (3, 3, '')
    assert [frame.time for frame in frames] == pytest.approx([0, 0.2, 0.4])
    assert stream.times.tolist() == pytest.approx([0, 0.2, 0.4])
    for number, frame in enumerate(frames):
        difference = np.abs(frame.image.astype(int) - np.asarray(pattern(number))[..., ::-1])
        assert difference.max() <= 2


@pytest.mark.parametrize('suffix', ['gif', 'mp4', 'png'])
def test_an_image_is_an_image_whatever_its_name(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f'a.{suffix}'
    pattern(0).save(path, 'JPEG')
    assert by_content(find_media(path)[0]).kind == IMAGE
    frames = list(open_stream(find_media(path)[0], Sampling()))
    assert [(frame.number, frame.time) for frame in frames] == [(0, 0.0)]


def test_a_video_that_is_named_like_an_image(tmp_path: Path, make_video: Callable[..., Path]) -> None:
    path = make_video('a.mp4', [[(10 + i, 20, 60)] for i in range(5)])
    path = path.rename(path.with_suffix('.gif'))
    path = path.rename(path.with_suffix('.png'))
    assert len(list(open_stream(find_media(path)[0], Sampling(frames=None)))) == 5


def test_pages_that_are_not_analyzed_are_reported(tmp_path: Path) -> None:
    pattern(0).save(tmp_path / 'a.tif', save_all=True, append_images=[pattern(1)])
    stream = open_stream(find_media(tmp_path / 'a.tif')[0], Sampling())
    assert len(list(stream)) == 1
    assert stream.problem == '1 of 2 images of the file was analyzed'


@pytest.mark.parametrize('animation', [False, True])
def test_reading_can_be_stopped(tmp_path: Path, make_video: Callable[..., Path], animation: bool) -> None:
    path = make_video('a.mp4', [[(10 + i, 20, 60)] for i in range(5)])
    if animation:
        path = tmp_path / 'a.webp'
        pattern(0).save(path, save_all=True, append_images=[pattern(1), pattern(2)], duration=200)
    with pytest.raises(ReadingStopped):
        list(open_stream(find_media(path)[0], Sampling(), should_stop=lambda: True))
    stop = False
    stream = VideoStream(path, Sampling(frames=None), should_stop=lambda: stop)
    frames = iter(stream)
    next(frames)
    stop = True
    with pytest.raises(ReadingStopped):
        list(frames)


def test_broken_files(tmp_path: Path) -> None:
    for name in ('a.mp4', 'b.jpg'):
        for content in (b'', b'no image at all'):
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


@pytest.mark.parametrize('suffix', ['.png', '.webp'])
def test_a_file_that_is_larger_than_any_image_is_not_read(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f'a{suffix}'
    frames = [Image.new('RGB', (8, 8), color) for color in ('red', 'blue')]
    frames[0].save(path, save_all=suffix == '.webp', append_images=frames[1:], duration=40)
    with path.open('rb+') as file:
        # Takes no room on the disk.
        file.truncate(MAX_FILE + 1)
    stream = open_stream(by_content(find_media(path)[0]), Sampling())
    assert list(stream) == []
    assert f'a file of {MAX_FILE + 1} bytes' in stream.problem


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
