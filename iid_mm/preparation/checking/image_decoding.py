# SPDX-License-Identifier: Apache-2.0
"""Decoding of the images of an index; worker processes import this module, so it imports little."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from iid_mm.errors import InputError
from iid_mm.media.image_reading import decode_image
from iid_mm.utils.files import read_limited, reason_of

if TYPE_CHECKING:
    from iid_mm.utils.typing import ImageArray

NOT_NAMED, GOOD, MISSING, BROKEN = range(4)
"""States of an image."""

MAX_BYTES = 1 << 29
FLAT_STD = 1.0
"""Standard deviation of the gray values below which an image is blank."""

RESULT = np.dtype(
    [
        ('row', np.int64),
        ('image', np.uint8),
        ('width', np.int32),
        ('height', np.int32),
        ('flat', np.bool_),
        ('colorless', np.bool_),
        ('pair', np.uint8),
        ('pair_width', np.int32),
        ('pair_height', np.int32),
        # Mean absolute difference between a fake and its pair, gray levels; NaN: not compared.
        ('difference', np.float32),
        ('mask', np.uint8),
        ('mask_width', np.int32),
        ('mask_height', np.int32),
        ('digest', 'V16'),
    ]
)
"""What is known of one row after its images were decoded."""


class ImageJob(NamedTuple):
    """Images of one row: number of the row, and paths; None where there is none."""

    row: int
    image: str
    pair: str | None
    mask: str | None


class ImageProblem(NamedTuple):
    """An image that cannot be used: number of the row, ``image``, ``pair`` or ``mask``, and the reason."""

    row: int
    role: str
    reason: str


def start_worker() -> None:
    """Prepare a worker process: one thread, and no messages of OpenCV about broken files."""
    cv2.setNumThreads(1)
    cv2.setLogLevel(0)


def read_image(path: str) -> tuple[ImageArray, bytes]:
    """Read and decode one image.

    Args:
        path: The file.

    Returns:
        (H, W, 3) uint8 BGR image, and the bytes of the file.

    Raises:
        FileNotFoundError: If there is no such file.
        InputError: If it is not a whole image of a sensible size.
    """
    try:
        data = read_limited(path, MAX_BYTES)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise InputError(reason_of(error)) from error
    return decode_image(data), data


def check_images(jobs: Sequence[ImageJob], digests: bool) -> tuple[npt.NDArray[np.void], list[ImageProblem]]:
    """Decode the images of some rows.

    Args:
        jobs: The rows; those with the same pair should follow each other, because the last pair is kept.
        digests: Also compute a digest of each image file.

    Returns:
        A :data:`RESULT` array with one entry a row, and the images that cannot be used.
    """
    results = np.zeros(len(jobs), RESULT)
    results['difference'] = np.nan
    problems: list[ImageProblem] = []
    last: tuple[str, ImageArray | None, int] = ('', None, NOT_NAMED)
    for result, job in zip(results, jobs, strict=True):
        result['row'] = job.row
        image, data, result['image'] = _open(job.image, job.row, 'image', problems)
        if image is not None:
            result['height'], result['width'] = image.shape[:2]
            result['flat'], result['colorless'] = _is_flat(image), _is_colorless(image)
            if digests:
                result['digest'] = np.void(hashlib.blake2b(data, digest_size=16).digest())
        if job.pair is None:
            # A genuine frame is the pair of the fakes that follow it.
            last = (job.image, image, int(result['image']))
        else:
            if last[0] != job.pair:
                pair, _, status = _open(job.pair, job.row, 'pair', problems)
                last = (job.pair, pair, status)
            elif last[2] != GOOD:
                problems.append(ImageProblem(job.row, 'pair', f'{job.pair}: as reported'))
            _compare(result, image, last[1])
            result['pair'] = last[2]
        if job.mask is not None:
            mask, _, result['mask'] = _open(job.mask, job.row, 'mask', problems)
            if mask is not None:
                result['mask_height'], result['mask_width'] = mask.shape[:2]
    return results, problems


def _open(
    path: str, row: int, role: str, problems: list[ImageProblem]
) -> tuple[ImageArray | None, bytes, int]:
    try:
        image, data = read_image(path)
    except FileNotFoundError:
        problems.append(ImageProblem(row, role, f'{path}: there is no such file'))
        return None, b'', MISSING
    except InputError as error:
        problems.append(ImageProblem(row, role, f'{path}: {str(error).removeprefix(path).strip()}'))
        return None, b'', BROKEN
    return image, data, GOOD


def _compare(result: np.void, image: ImageArray | None, pair: ImageArray | None) -> None:
    if pair is None:
        return
    result['pair_height'], result['pair_width'] = pair.shape[:2]
    if image is not None and image.shape == pair.shape:
        result['difference'] = cv2.norm(image, pair, cv2.NORM_L1) / image.size


def _is_flat(image: ImageArray) -> bool:
    return bool(cv2.meanStdDev(image)[1].max() < FLAT_STD)


def _is_colorless(image: ImageArray) -> bool:
    blue, green, red = cv2.split(image)
    return cv2.norm(blue, green, cv2.NORM_INF) <= 2 and cv2.norm(green, red, cv2.NORM_INF) <= 2
