# SPDX-License-Identifier: Apache-2.0
"""Reading of stored crops."""

from __future__ import annotations

import logging

import cv2
import numpy as np
from mmengine.logging import print_log

from iid_mm.datasets.storage.image_storage import PACKING_TOOL, ImageStorage
from iid_mm.errors import InputError
from iid_mm.utils.files import read_limited
from iid_mm.utils.typing import ImageArray

# What a whole file ends with. OpenCV decodes the rest of a cut PNG or JPEG file without an error.
_TAILS = {b'\x89PNG': b'IEND', b'\xff\xd8\xff': b'\xff\xd9'}


def read_crop(
    path: str,
    *,
    kind: str = 'image',
    flags: int = cv2.IMREAD_COLOR,
    remedy: str = 'prepare the set again',
    storage: ImageStorage | None = None,
) -> ImageArray:
    """Read a stored crop.

    Args:
        path: Where it is.
        kind: What messages call it.
        flags: How OpenCV decodes it.
        remedy: What messages advise.
        storage: What to read it from; None reads files.

    Returns:
        (H, W, 3) uint8 BGR, or (H, W) with ``flags=cv2.IMREAD_GRAYSCALE``.

    Raises:
        FileNotFoundError: If the file is missing.
        InputError: If it cannot be decoded as a whole, or the storage does not give it.
        MissingExtraError: If the library of the storage is not installed.
    """
    try:
        data = read_bytes(path, storage)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f'{kind} {path!r}, which the index lists, does not exist; {remedy}'
        ) from error
    image = None
    if _is_whole(data):
        image = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), flags)
    if image is None:
        place = repr(path) if storage is None else f'{storage.shown_key(path)!r} of backend_args={storage}'
        raise InputError(
            f'{kind} {place} cannot be decoded ({len(data)} bytes): it is truncated or not an image; '
            f'{remedy} or copy it anew'
        )
    return np.asarray(image, np.uint8)


def read_bytes(path: str, storage: ImageStorage | None = None) -> bytes:
    """Read the file of a crop, from a storage or (None) from the disk."""
    return read_limited(path) if storage is None else storage.read(path)


def check_storage(storage: ImageStorage, index: str, path: str) -> None:
    """Read one image of an index, so that mistakes show before long work.

    Args:
        storage: What the images of the index are read from.
        index: The index; a warning tells if an LMDB database was packed from another one.
        path: The image.

    Raises:
        InputError: If it cannot be read or decoded.
        MissingExtraError: If the library of the storage is not installed.
    """
    read_crop(path, storage=storage)
    if storage.is_packed_from(index) is False:
        print_log(
            f'backend_args={storage}: the images were not packed from {index} as it is now; if the set was '
            f'prepared again, pack it again: {PACKING_TOOL} --overwrite',
            logger='current',
            level=logging.WARNING,
        )
    storage.close()


def _is_whole(data: bytes) -> bool:
    """Whether a PNG or JPEG file has its end; the decoder refuses cut files of other formats itself."""
    if not data:
        return False
    for head, tail in _TAILS.items():
        if data.startswith(head):
            return data.rfind(tail, len(data) // 2) >= 0
    return True
