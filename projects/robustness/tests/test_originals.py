# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import pytest

from iid_mm.datasets.functional.h264 import FRAME_RATE
from iid_mm.structures.video_record import VideoFile
from robustness.originals import _rate


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
