# SPDX-License-Identifier: Apache-2.0
"""Writing of images; docs/storage.md has the measurements behind the defaults."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from PIL import Image

from iid_mm.errors import InputError
from iid_mm.utils.files import write_bytes

if TYPE_CHECKING:
    from iid_mm.utils.typing import ImageArray

IMAGE_FORMATS = ('webp', 'png', 'jpg')
DEFAULT_FORMAT = 'webp'
"""Lossless; a third smaller than PNG and decoded a little faster; writing a crop of 310 px takes 2 ms more"""
LOWEST_QUALITY = 95
"""Even at this quality JPEG changes the fine structure by a sixth of what a manipulation does."""
JPEG_QUALITY = 98
"""Default quality of JPEG."""


def check_quality(image_format: str, quality: int | None) -> None:
    """Check the arguments of :func:`write_image`.

    Args:
        image_format: Suffix without dot.
        quality: See :func:`write_image`.

    Raises:
        InputError: If the format is unknown or the quality does not fit it.
    """
    if image_format not in IMAGE_FORMATS:
        raise InputError(f'image_format={image_format!r}: choose from {", ".join(IMAGE_FORMATS)}')
    if quality is None:
        return
    if image_format == 'png':
        raise InputError(f'quality {quality}: PNG has none; leave it out or choose jpg or webp')
    if not LOWEST_QUALITY <= quality <= 100:
        raise InputError(
            f'quality {quality}: choose from {LOWEST_QUALITY} to 100; lower ones blur traces of forgery'
        )


def write_image(image: ImageArray, path: Path, quality: int | None = None) -> None:
    """Write an image atomically; the format follows the suffix.

    The result is reproducible with the same versions of OpenCV and Pillow.

    Args:
        image: (H, W, 3) uint8 BGR or, except for WebP, (H, W) uint8.
        path: The file; missing folders are created.
        quality: 95 to 100 for lossy JPEG or WebP; None for lossless WebP, or JPEG of quality 98.

    Raises:
        InputError: If the format is unknown or the quality does not fit it.
        OSError: If the file cannot be written.
    """
    write_bytes(path, encode_image(image, path.suffix[1:], quality))


def encode_image(image: ImageArray, image_format: str, quality: int | None = None) -> bytes:
    """Encode an image as :func:`write_image` does; see there."""
    check_quality(image_format, quality)
    if image_format == 'webp':
        # OpenCV always searches for the smallest file, which takes 15 times as long and saves a fifth.
        options = {'quality': quality} if quality else {'lossless': True, 'quality': 0}
        file = io.BytesIO()
        Image.fromarray(np.ascontiguousarray(image[..., ::-1])).save(file, 'WEBP', method=0, **options)
        return file.getvalue()
    if image_format == 'png':
        parameters = _png_parameters()
    else:
        # Full color resolution: manipulations leave traces there, too.
        chroma = (cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444)
        parameters = [cv2.IMWRITE_JPEG_QUALITY, quality or JPEG_QUALITY, *chroma]
    ok, data = cv2.imencode(f'.{image_format}', image, parameters)
    if not ok:
        raise OSError(f'cannot encode an image of shape {image.shape} as {image_format}')
    return data.tobytes()


def _png_parameters() -> list[int]:
    level = [cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE]
    # Decoded in two thirds of the time; OpenCV before 4.12 has no such option.
    known = hasattr(cv2, 'IMWRITE_PNG_FILTER')
    return [*level, cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_UP] if known else level
