# SPDX-License-Identifier: Apache-2.0
"""One way to read frames, whatever they are kept in."""

from __future__ import annotations

import io
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from iid_mm.errors import InputError
from iid_mm.media.containers import ReadingStopped, ShouldStop
from iid_mm.media.image_files import MAX_PIXELS, animation_durations, check_image, check_jpeg_coding
from iid_mm.utils.files import reason_of

if TYPE_CHECKING:
    from iid_mm.utils.typing import ImageArray


MAX_FILE = 8 * MAX_PIXELS + 2**20
"""Bytes of an image file: the largest image without compression, four channels of 16 bits."""


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
                image, images = decode_first(read_image_file(self._paths[number]))
            except (OSError, InputError) as error:
                bad.append(f'{self._paths[number].name}: {reason_of(error)}')
                continue
            if images > 1:
                self.note(f'1 of {images} images of the file was read ({self._paths[number].name})')
            yield number, image
        if bad:
            self.note(f'{len(bad)} of {len(wanted)} images cannot be read ({bad[0]})')


class AnimationReader(FrameReader):
    """Reads the frames of an animated WebP or PNG file, which not every FFmpeg decodes and turns.

    Args:
        path: The file.
        should_stop: Asked before each frame whether to stop; None never stops.

    Attributes:
        rate: Average number of frames a second.
        times: When each frame is shown, (count,) float64 seconds.
    """

    def __init__(self, path: Path, should_stop: ShouldStop | None = None) -> None:
        self.problem = ''
        self.path = path
        self._should_stop = should_stop
        self.numbers = range(0)
        self.rate = 0.0
        self.times: npt.NDArray[np.float64] = np.zeros(0)
        seconds = animation_durations(path)
        if seconds is None:
            self.note('cannot be read (it is missing, damaged, or no animation)')
            return
        self.numbers = range(len(seconds))
        self.times = np.cumsum([0.0, *seconds])[:-1]
        self.rate = len(seconds) / sum(seconds) if seconds else 0.0

    @property
    def count(self) -> int:
        """Number of frames."""
        return len(self.numbers)

    def read(self, numbers: Sequence[int]) -> Iterator[tuple[int, ImageArray]]:
        """Decode frames; see :meth:`FrameReader.read`."""
        wanted = set(numbers) & set(self.numbers)
        good = 0
        try:
            data = read_image_file(self.path)
            orientation = check_image(data).orientation
            with _opened(data) as animation:
                # An image for viewers that know no animations, which Pillow counts as the first one.
                first = int(bool(animation.info.get('default_image')))
                for number in range(max(wanted, default=-1) + 1):
                    # Each frame may change only a part of the one before.
                    if self._should_stop is not None and self._should_stop():
                        raise ReadingStopped
                    animation.seek(number + first)
                    if number in wanted:
                        image = _upright(_to_bgr(animation), orientation)
                        good += 1
                        yield number, image
        except _PILLOW_ERRORS as error:
            self.note(f'decoding stopped ({error})')
        if good < len(wanted):
            self.note(f'{len(wanted) - good} of {len(wanted)} frames cannot be decoded')


def read_image_file(path: Path) -> bytes:
    """Read an image file.

    Args:
        path: The file, an ordinary one.

    Raises:
        InputError: If it is larger than any image that would be decoded.
        OSError: If it cannot be read.
    """
    if (size := path.stat().st_size) > MAX_FILE:
        raise InputError(f'a file of {size} bytes; images of up to {MAX_FILE} bytes are read')
    return path.read_bytes()


def decode_image(data: bytes) -> ImageArray:
    """Decode an image file; of several images in it the first one.

    Args:
        data: The bytes of the file.

    Returns:
        (H, W, 3) uint8 BGR, turned as the orientation tag asks in every format. An alpha channel is dropped,
        16 bits are cut to the upper 8, CMYK is converted without its profile, and color profiles are not
        applied.

    Raises:
        InputError: If it is not a whole image, see :func:`check_image` and :func:`check_jpeg_coding`.
    """
    return decode_first(data)[0]


def decode_first(data: bytes) -> tuple[ImageArray, int]:
    """Decode the first image of a file.

    Args:
        data: The bytes of the file.

    Returns:
        See :func:`decode_image`; and how many images the file holds: frames of an animation, or pages.

    Raises:
        InputError: If it is not a whole image.
    """
    info = check_image(data)
    if info.by_pillow:
        return _decode_by_pillow(data, info.images)
    check_jpeg_coding(data)
    try:
        # Which formats OpenCV turns itself depends on its version.
        flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        raise InputError(f'not a readable image ({error.err})') from error
    if image is None:
        raise InputError('not a readable image')
    return _upright(np.asarray(image, np.uint8), info.orientation), info.images


def _upright(image: ImageArray, orientation: int) -> ImageArray:
    """Turn an image as Exif's tag asks: 2 mirrored, 3 upside down, 6 and 8 turned, 5 and 7 both."""
    if orientation == 1:
        return image
    if orientation >= 5:
        image = image.transpose(1, 0, 2)
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    return np.ascontiguousarray(image)


# What is damaged is an error, or does not matter.
warnings.filterwarnings('ignore', module='PIL.TiffImagePlugin')
_PILLOW_ERRORS = (
    *(OSError, ValueError, SyntaxError, EOFError, RuntimeError, InputError, UnidentifiedImageError),
    Image.DecompressionBombError,
)


def _opened(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    if image.width * image.height > MAX_PIXELS:
        raise InputError(f'an image of {image.width}x{image.height} pixels; up to {MAX_PIXELS} are read')
    return image


def _to_bgr(image: Image.Image) -> ImageArray:
    return np.ascontiguousarray(np.asarray(image.convert('RGB'))[..., ::-1])


def _decode_by_pillow(data: bytes, images: int) -> tuple[ImageArray, int]:
    """Decode TIFF, of which OpenCV darkens what is transparent, and AVIF, which it does not turn."""
    try:
        with _opened(data) as image:
            images = max(images, getattr(image, 'n_frames', 1) if image.format == 'AVIF' else 1)
            return _to_bgr(ImageOps.exif_transpose(image) or image), images
    except InputError:
        raise
    except UnidentifiedImageError as error:
        raise InputError('not a readable image, or AVIF and Pillow older than 11.3') from error
    except _PILLOW_ERRORS as error:
        raise InputError(f'not a readable image ({error})') from error
