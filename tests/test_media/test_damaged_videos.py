# SPDX-License-Identifier: Apache-2.0
"""Randomly damaged videos: no crash, no hang, and no frame under the number of another."""

from __future__ import annotations

import time

import av
import cv2
import numpy as np
import pytest

from iid_mm.media.video_reader import VideoReader
from support.damage import damage_bytes

FRAMES = 40


def different_images(count, size=(128, 96)):
    """Images that differ so much that a wrong number is noticed."""
    rng = np.random.default_rng(3)
    for number in range(count):
        coarse = np.random.default_rng([number // 6, 1]).uniform(40, 200, (8, 10, 3)).astype(np.float32)
        image = np.roll(cv2.resize(coarse, size, interpolation=cv2.INTER_CUBIC), 5 * (number % 6), axis=1)
        yield np.clip(image + rng.normal(0, 4, (size[1], size[0], 1)), 0, 255).astype(np.uint8)


def write_clip(path, codec, options):
    with av.open(str(path), 'w') as container:
        stream = container.add_stream(codec, rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = 128, 96, 'yuv420p', 600_000
        for image in different_images(FRAMES):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format='bgr24')))
        container.mux(stream.encode())


# Of the frames that come out of damaged files, the most that may differ from the sound file's frame, and the
# most that may look like another frame. H.264 and MPEG-4 notice most damage; VP8 has nothing to notice
# it by. Measured on 400 files a kind: 2.5, 1.9, 2.2 and 25 %, and 0.3, 0.0, 0.3 and 2.9 %.
VIDEOS = {
    'a.mp4': ('libx264', {'g': '12', 'preset': 'veryfast', 'crf': '20'}, 0.05, 0.01),
    'a.avi': ('mpeg4', {'g': '12'}, 0.06, 0.01),
    'a.mkv': ('libx264', {'g': '12', 'preset': 'veryfast', 'crf': '20'}, 0.05, 0.01),
    'a.webm': ('libvpx', {'g': '12', 'deadline': 'realtime', 'cpu-used': '4'}, 0.4, 0.1),
}


@pytest.mark.parametrize('name', VIDEOS)
def test_damaged_videos(tmp_path, name):
    codec, options, most_wrong, most_shifted = VIDEOS[name]
    path = tmp_path / name
    write_clip(path, codec, options)
    data = path.read_bytes()
    sound = dict(VideoReader(path).read(range(FRAMES)))
    assert list(sound) == list(range(FRAMES))
    small = np.stack([image[::4, ::4].astype(np.int16) for image in sound.values()])
    delivered = wrong = shifted = 0
    for seed in range(50):
        kind, bad = damage_bytes(data, np.random.default_rng([seed, 7]))
        path.write_bytes(bad)
        start = time.perf_counter()
        reader = VideoReader(path)
        images = dict(reader.read(range(FRAMES)))
        assert time.perf_counter() - start < 5
        assert list(images) == sorted(images)
        assert len(images) == FRAMES or reader.problem or reader.count < FRAMES
        for number, image in images.items():
            delivered += 1
            if image.shape != sound[number].shape or not np.array_equal(image, sound[number]):
                # Nothing protects the bytes of a frame, but nothing hides that a file is truncated, either.
                assert kind != 'cut'
                wrong += 1
                # A changed header may change the shape of the pixels.
                image = cv2.resize(image, (128, 96))
                shifted += int(np.abs(small - image[::4, ::4]).mean(axis=(1, 2, 3)).argmin()) != number
    assert delivered > 50 * FRAMES / 4
    assert wrong <= most_wrong * delivered
    assert shifted <= most_shifted * delivered
