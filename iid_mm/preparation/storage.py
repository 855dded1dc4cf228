# SPDX-License-Identifier: Apache-2.0
"""Writing of crops."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import cv2

if TYPE_CHECKING:
    from iid_mm.utils.typing import ImageArray

# PNG level 1: crops of real faces get a sixth larger than with level 6 and take a quarter of its time.
# WebP above 100 is lossless.
_OPTIONS = {
    'png': [cv2.IMWRITE_PNG_COMPRESSION, 1],
    'jpg': [cv2.IMWRITE_JPEG_QUALITY, 95],
    'webp': [cv2.IMWRITE_WEBP_QUALITY, 101],
}


def crop_path(kind: str, key: str, frame: int, image_format: str) -> str:
    """Path of a crop relative to the prepared folder.

    Args:
        kind: ``frames`` or ``masks``.
        key: Video key.
        frame: Frame number.
        image_format: Suffix.
    """
    return f'{kind}/{key}/{frame:05d}.{image_format}'


def write_image(image: ImageArray, path: Path) -> None:
    """Write an image atomically; the format follows the suffix.

    Args:
        image: (H, W[, 3]) uint8, BGR.
        path: Where to write; missing folders are made.

    Raises:
        OSError: If the file cannot be written.
    """
    ok, data = cv2.imencode(path.suffix, image, _OPTIONS[path.suffix[1:]])
    if not ok:
        raise OSError(f'cannot encode an image of shape {image.shape} as {path.suffix}')
    write_bytes(data.tobytes(), path)


def write_bytes(data: bytes, path: Path) -> None:
    """Write a file so that it is there whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f'.{path.name}.{os.getpid()}.tmp')
    try:
        temporary.write_bytes(data)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
