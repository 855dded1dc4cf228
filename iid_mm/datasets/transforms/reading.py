# SPDX-License-Identifier: Apache-2.0
"""Reading of stored crops."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from mmengine.fileio import get

from iid_mm.errors import InputError
from iid_mm.utils.typing import ImageArray

# What a whole file ends with. OpenCV decodes the rest of a cut PNG or JPEG file without an error.
_TAILS = {b'\x89PNG': b'IEND', b'\xff\xd8\xff': b'\xff\xd9'}


def read_crop(
    path: str,
    *,
    kind: str = 'image',
    flags: int = cv2.IMREAD_COLOR,
    remedy: str = 'prepare the set again',
    backend_args: dict[str, Any] | None = None,
) -> ImageArray:
    """Read a stored crop.

    Args:
        path: Where it is.
        kind: What messages call it.
        flags: How OpenCV decodes it.
        remedy: What messages advise.
        backend_args: Storage to read from, see :func:`mmengine.fileio.get`; None reads files.

    Returns:
        (H, W, 3) uint8 BGR, or (H, W) with ``flags=cv2.IMREAD_GRAYSCALE``.

    Raises:
        FileNotFoundError: If it is missing.
        InputError: If it cannot be decoded as a whole.
    """
    try:
        data = get(path, backend_args=backend_args)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f'{kind} {path!r}, which the index lists, does not exist; {remedy}'
        ) from error
    image = None
    if _is_whole(data):
        image = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), flags)
    if image is None:
        raise InputError(
            f'{kind} {path!r} cannot be decoded ({len(data)} bytes): it is truncated or not an image; '
            f'{remedy} or copy it anew'
        )
    return np.asarray(image, np.uint8)


def _is_whole(data: bytes) -> bool:
    """Whether a PNG or JPEG file has its end; the decoder refuses cut files of other formats itself."""
    if not data:
        return False
    for head, tail in _TAILS.items():
        if data.startswith(head):
            return data.rfind(tail, len(data) // 2) >= 0
    return True
