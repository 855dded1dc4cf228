# SPDX-License-Identifier: Apache-2.0
"""Small images and animations without any symmetry, encoded in any format."""

from __future__ import annotations

import io

import cv2
import numpy as np
import pytest
from PIL import Image, features

needs_avif = pytest.mark.skipif(not features.check('avif'), reason='this Pillow reads no AVIF')


def pattern():
    """(32, 48, 3) RGB without any symmetry."""
    image = np.full((32, 48, 3), 90, np.uint8)
    image[:16, :24], image[:16, 24:], image[16:, :24] = (220, 30, 30), (30, 200, 30), (30, 30, 220)
    image[:4, :9] = (1, 2, 3)
    return image


UPRIGHT = np.ascontiguousarray(pattern()[..., ::-1])

TURNS = Image.Transpose

# How an upright image has to be stored for the tag to turn it back.
STORED = {
    1: None, 2: TURNS.FLIP_LEFT_RIGHT, 3: TURNS.ROTATE_180, 4: TURNS.FLIP_TOP_BOTTOM, 5: TURNS.TRANSPOSE,
    6: TURNS.ROTATE_90, 7: TURNS.TRANSVERSE, 8: TURNS.ROTATE_270,
}  # fmt: skip


def encode(image, kind, **options):
    """Bytes of an image file."""
    image = Image.fromarray(image) if isinstance(image, np.ndarray) else image
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def frames(count=3):
    """Different images of an animation."""
    return [Image.fromarray(np.roll(pattern(), 8 * number, axis=1)) for number in range(count)]


def animation(kind, count=3, **options):
    """Bytes of an animation whose images are shown for 0.1, 0.3 and 0.05 seconds."""
    if kind == 'WEBP':
        options = {'lossless': True, 'minimize_size': False, **options}
    first, *rest = frames(count)
    return encode(first, kind, save_all=True, append_images=rest, duration=[100, 300, 50][:count], **options)


OPENCV_FORMATS = {
    '.png': [],
    '.jpg': [cv2.IMWRITE_JPEG_QUALITY, 95],
    '.webp': [cv2.IMWRITE_WEBP_QUALITY, 101],
    '.bmp': [],
}


def detailed_image(size=(128, 96)):
    """A smooth image with noise, which takes many bytes."""
    coarse = np.random.default_rng([0, 1]).uniform(40, 200, (8, 10, 3)).astype(np.float32)
    noise = np.random.default_rng(3).normal(0, 4, (size[1], size[0], 1))
    return np.clip(cv2.resize(coarse, size, interpolation=cv2.INTER_CUBIC) + noise, 0, 255).astype(np.uint8)


def encode_detailed(suffix, options=()):
    """:func:`detailed_image` as OpenCV encodes it."""
    ok, data = cv2.imencode(suffix, detailed_image(), list(options))
    assert ok
    return data.tobytes()
