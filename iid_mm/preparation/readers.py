# SPDX-License-Identifier: Apache-2.0
"""One way to read frames, whatever they are kept in."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from iid_mm.errors import InputError
from iid_mm.preparation.image_files import check_image, check_jpeg_coding

if TYPE_CHECKING:
    from iid_mm.utils.typing import ImageArray


class FrameReader(ABC):
    """Reads chosen frames of one video; what is wrong with it ends up in :attr:`problem`.

    Attributes:
        numbers: Numbers of the frames that are there, ascending; empty if none can be read.
        problem: What is wrong, in words; empty if nothing. :meth:`read` may add to it.
    """

    numbers: Sequence[int] = ()
    problem: str = ''

    @abstractmethod
    def read(self, numbers: Sequence[int]) -> Iterator[tuple[int, ImageArray]]:
        """Decode frames.

        Args:
            numbers: Frame numbers in any order; those that are not in :attr:`numbers` are ignored.

        Yields:
            Number and (H, W, 3) uint8 BGR image, ascending; a frame that cannot be decoded is left out
            and noted in :attr:`problem`.
        """

    def note(self, reason: str) -> None:
        """Add to :attr:`problem` what is not in it yet."""
        if reason not in self.problem:
            self.problem = f'{self.problem}; {reason}' if self.problem else reason


class ImageReader(FrameReader):
    """Reads frames that are kept as images in a folder.

    Args:
        folder: The folder.
        names: Paths relative to it.
        numbers: Frame number of each, strictly ascending.
    """

    def __init__(self, folder: Path, names: Sequence[str], numbers: Sequence[int]) -> None:
        self.problem = ''
        self.numbers = tuple(numbers)
        self._paths = {number: folder / name for number, name in zip(numbers, names, strict=True)}

    def read(self, numbers: Sequence[int]) -> Iterator[tuple[int, ImageArray]]:
        """Decode frames; see :meth:`FrameReader.read`."""
        wanted = sorted(set(numbers) & set(self.numbers))
        bad = []
        for number in wanted:
            try:
                image = decode_image(self._paths[number].read_bytes())
            except (OSError, InputError) as error:
                bad.append(f'{self._paths[number].name}: {getattr(error, "strerror", None) or error}')
                continue
            yield number, image
        if bad:
            self.note(f'{len(bad)} of {len(wanted)} images cannot be read ({bad[0]})')


def decode_image(data: bytes) -> ImageArray:
    """Decode an image file.

    Args:
        data: The bytes of the file.

    Returns:
        (H, W, 3) uint8 BGR; an alpha channel is dropped, the orientation tag of cameras is obeyed.

    Raises:
        InputError: If it is not a whole image, see :func:`check_image` and :func:`check_jpeg_coding`.
    """
    check_image(data)
    check_jpeg_coding(data)
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as error:
        raise InputError(f'not a readable image ({error.err})') from error
    if image is None:
        raise InputError('not a readable image')
    return np.asarray(image, np.uint8)
