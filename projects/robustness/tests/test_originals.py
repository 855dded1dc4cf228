# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

from iid_mm.datasets.functional import h264
from iid_mm.datasets.functional.distortion import psnr
from iid_mm.datasets.functional.h264 import FRAME_RATE
from iid_mm.errors import InputError
from iid_mm.structures.video_record import ImageFiles, VideoFile
from iid_mm.utils.typing import ImageArray
from robustness.originals import CropPlace, _rate, recompress_original
from support.media import make_frames, write_image, write_video


def write(path: Path, rate: int) -> Path:
    with av.open(str(path.absolute()), 'w', format='mp4') as container:
        stream = container.add_stream('mpeg4', rate=rate)
        stream.width, stream.height, stream.pix_fmt = 16, 16, 'yuv420p'
        for _ in range(4):
            container.mux(stream.encode(av.VideoFrame(16, 16, 'yuv420p')))
        container.mux(stream.encode())
    return path


@pytest.mark.parametrize('name', ['a.mp4', '12:30.mp4', 'http:a.mp4', 'a%03d.mp4'])
def test_rate_of_a_video_whatever_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert _rate(VideoFile(write(Path(name), 10))) == Fraction(10)


def test_a_script_is_no_video(tmp_path: Path) -> None:
    path = tmp_path / 'a.mp4'
    path.write_text(f'ffconcat version 1.0\nfile {write(tmp_path / "b.mp4", 10).name}\n')
    assert _rate(VideoFile(path)) == FRAME_RATE
    assert _rate(VideoFile(tmp_path / 'none.mp4')) == FRAME_RATE
    assert _rate(ImageFiles(tmp_path, (), ())) == FRAME_RATE


@pytest.fixture
def clip(tmp_path: Path) -> tuple[VideoFile, list[ImageArray]]:
    """Frames as images, so that nothing is lost before the compression."""
    frames = make_frames(20, size=(96, 64))
    names = [write_image(tmp_path / f'{n:03d}.png', image).name for n, image in enumerate(frames)]
    return ImageFiles(tmp_path, tuple(names), tuple(range(20))), frames  # type: ignore[return-value]


def test_crops_of_compressed_frames(clip: tuple[Any, list[ImageArray]]) -> None:
    source, frames = clip
    compressed = list(h264.recompress(frames, 35))
    places = [CropPlace(7, (10, 4, 51, 45), (41, 41)), CropPlace(3, (0, 0, 96, 64), (48, 32))]
    (one, one_bad), (two, two_bad) = recompress_original(source, places, 35)
    np.testing.assert_array_equal(one, frames[7][4:45, 10:51])
    np.testing.assert_array_equal(one_bad, compressed[7][4:45, 10:51])
    half = cv2.resize(compressed[3], (48, 32), interpolation=cv2.INTER_AREA)
    np.testing.assert_array_equal(two_bad, half)
    assert psnr(two, two_bad) > 25


def test_video_file(tmp_path: Path) -> None:
    path = write_video(tmp_path / 'a.mp4', make_frames(12))
    ((clean, compressed),) = recompress_original(
        VideoFile(path), [CropPlace(11, (5, 5, 40, 40), (35, 35))], 30
    )
    assert clean.shape == compressed.shape == (35, 35, 3)
    assert 30 < psnr(clean, compressed) < 60


def test_bad(clip: tuple[Any, list[ImageArray]]) -> None:
    source, _ = clip
    with pytest.raises(InputError, match=r'frame 20 cannot be read from .*not there'):
        recompress_original(source, [CropPlace(20, (0, 0, 8, 8), (8, 8))], 30)
    with pytest.raises(InputError, match=r'crop window \(0, 0, 97, 8\) of frame 0 is not inside 96 x 64 px'):
        recompress_original(source, [CropPlace(0, (0, 0, 97, 8), (97, 8))], 30)
