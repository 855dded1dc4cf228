# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import av
import numpy as np
import pytest

from iid_mm.media.file_structure import is_clip
from iid_mm.media.image_reading import decode_first
from iid_mm.media.video_reader import VideoReader
from support.encoded_images import animation, encode, frames, needs_avif, pattern

ANIMATED = ['GIF', 'PNG', 'WEBP', pytest.param('AVIF', marks=needs_avif)]

STILL = ['PNG', 'JPEG', 'WEBP', 'BMP', 'TIFF', pytest.param('AVIF', marks=needs_avif)]


@pytest.mark.parametrize('name', ['a.png', 'a.webp', 'a.jpg', 'a.mp4', 'a'])
@pytest.mark.parametrize('kind', ANIMATED)
def test_animations_are_clips_whatever_the_suffix(tmp_path, kind, name):
    (tmp_path / name).write_bytes(animation(kind))
    assert is_clip(tmp_path / name) is True


@pytest.mark.parametrize('kind', STILL)
def test_images_are_no_clips_whatever_the_suffix(tmp_path, kind):
    (tmp_path / 'a.gif').write_bytes(encode(pattern(), kind))
    assert is_clip(tmp_path / 'a.gif') is False


@pytest.mark.parametrize(
    'suffix', ['mp4', 'mov', 'mkv', 'webm', 'avi', 'flv', 'ts', 'mpg', '3gp', 'wmv', 'ogv']
)
def test_videos_are_clips_whatever_the_suffix(tmp_path, suffix):
    codecs = {'webm': 'libvpx', 'mpg': 'mpeg2video', '3gp': 'mpeg4', 'wmv': 'wmv2', 'ogv': 'libvpx'}
    codec = codecs.get(suffix, 'libx264')
    if codec not in av.codecs_available:
        pytest.skip(f'this PyAV has no {codec}')
    path = tmp_path / f'a.{suffix}'
    with av.open(str(path), 'w') as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, 'yuv420p'
        for number in range(9):
            noise = np.random.default_rng(number).integers(0, 255, (48, 64, 3), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(noise, format='bgr24')))
        container.mux(stream.encode())
    path.rename(tmp_path / 'a.png')
    assert is_clip(tmp_path / 'a.png') is True
    reader = VideoReader(tmp_path / 'a.png')
    assert len(dict(reader.read(range(9)))) == 9


@pytest.mark.parametrize(
    'data', [b'', b'II', b'text that is nothing else' * 30, b'\x89PNG\r\n\x1a\n', b'RIFF']
)
def test_content_that_is_unknown(tmp_path, data):
    (tmp_path / 'a').write_bytes(data)
    assert is_clip(tmp_path / 'a') is None
    assert is_clip(tmp_path / 'none') is None


def test_an_animation_of_one_image_is_an_image(tmp_path):
    for kind in ('PNG', 'WEBP'):
        path = tmp_path / f'a.{kind}'
        first, second = frames(2)
        data = encode(first, kind, save_all=True, append_images=[first.copy()], duration=100)
        path.write_bytes(data)
        # Equal images are merged into one.
        assert is_clip(path) is False
        assert decode_first(data)[1] == 1
        del second
