# SPDX-License-Identifier: Apache-2.0
"""Videos of a small pattern, with chosen tags, times and streams."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np

from iid_mm.media.video_reader import VideoReader

WIDTH, HEIGHT = 48, 32


def corner_pattern(width=WIDTH, height=HEIGHT):
    """(H, W, 3) BGR with four different corners, so that turning and mirroring can be told."""
    image = np.full((height, width, 3), 90, np.uint8)
    h, w = height // 2, width // 2
    image[:h, :w], image[:h, w:], image[h:, :w] = (30, 30, 220), (30, 200, 30), (220, 30, 30)
    return image


def add_stream(container, codec='libx264', *, options=None, fmt='yuv420p', size=(WIDTH, HEIGHT)):
    """Add a video stream to a container."""
    defaults = {'crf': '1', 'x264-params': 'threads=1'} if codec == 'libx264' else {}
    stream = container.add_stream(codec, rate=25, options={**defaults, **(options or {})})
    stream.width, stream.height = size
    stream.pix_fmt = fmt
    return stream


def write_pattern(path, images=None, *, codec='libx264', options=None, times=None, prepare=None):
    """Write a video; ``times`` are seconds, and ``prepare`` changes the stream."""
    images = [corner_pattern()] * 3 if images is None else images
    with av.open(str(path), 'w') as container:
        stream = add_stream(container, codec, options=options, size=images[0].shape[1::-1])
        stream.codec_context.time_base = Fraction(1, 1000)
        if prepare:
            prepare(stream)
        for number, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(image, format='bgr24')
            frame.pts = round(1000 * (times[number] if times else number / 25))
            frame.time_base = Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def read_frames(path, count=3):
    """The reader of a file, and its first ``count`` images by number."""
    reader = VideoReader(path)
    images = dict(reader.read(range(count)))
    assert list(images) == list(range(count))
    return reader, images
