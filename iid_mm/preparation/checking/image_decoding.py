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
        ('size', np.int32, (2,)),
        ('flat', np.bool_),
        ('colorless', np.bool_),
        ('pair', np.uint8),
        ('pair_size', np.int32, (2,)),
        # Mean absolute difference between a fake and its pair, gray levels; NaN: not compared.
        ('difference', np.float32),
        ('mask', np.uint8),
        ('mask_size', np.int32, (2,)),
        ('digest', 'V16'),
    ]
)
"""Results of one row; sizes are width and height."""


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

    def open_image(path: str, role: str) -> tuple[ImageArray | None, bytes]:
        """Read an image of the current row and note its state and size."""
        image, data, status, reason = None, b'', GOOD, ''
        try:
            image, data = read_image(path)
        except FileNotFoundError:
            status, reason = MISSING, 'there is no such file'
        except InputError as error:
            status, reason = BROKEN, str(error).removeprefix(path).strip()
        result[role] = status
        if image is None:
            problems.append(ImageProblem(job.row, role, f'{path}: {reason}'))
        return image, data

    last: tuple[str, ImageArray | None, int] = ('', None, NOT_NAMED)
    for result, job in zip(results, jobs, strict=True):
        result['row'] = job.row
        image, data = open_image(job.image, 'image')
        if image is not None:
            result['size'] = image.shape[1::-1]
            result['flat'], result['colorless'] = _is_flat(image), _is_colorless(image)
            if digests:
                result['digest'] = np.void(hashlib.blake2b(data, digest_size=16).digest())
        if job.pair is None:
            # A genuine frame is the pair of the fakes that follow it.
            last = (job.image, image, int(result['image']))
        else:
            if last[0] != job.pair:
                pair, _ = open_image(job.pair, 'pair')
                last = (job.pair, pair, int(result['pair']))
            elif last[2] != GOOD:
                problems.append(ImageProblem(job.row, 'pair', f'{job.pair}: as reported'))
            _compare(result, image, last[1])
            result['pair'] = last[2]
        if job.mask is not None:
            mask, _ = open_image(job.mask, 'mask')
            if mask is not None:
                result['mask_size'] = mask.shape[1::-1]
    return results, problems


def _compare(result: np.void, image: ImageArray | None, pair: ImageArray | None) -> None:
    if pair is None:
        return
    result['pair_size'] = pair.shape[1::-1]
    if image is not None and image.shape == pair.shape:
        result['difference'] = cv2.norm(image, pair, cv2.NORM_L1) / image.size


def _is_flat(image: ImageArray) -> bool:
    return bool(cv2.meanStdDev(image)[1].max() < FLAT_STD)


def _is_colorless(image: ImageArray) -> bool:
    blue, green, red = cv2.split(image)
    return cv2.norm(blue, green, cv2.NORM_INF) <= 2 and cv2.norm(green, red, cv2.NORM_INF) <= 2
