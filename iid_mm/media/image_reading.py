# SPDX-License-Identifier: Apache-2.0
"""Reading of image files: limits, then the header, then the pixels."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import av
import cv2
import numpy as np
from av.error import FFmpegError, InvalidDataError
from PIL import Image, ImageOps, UnidentifiedImageError

from iid_mm.errors import InputError
from iid_mm.media.file_structure import JPEG
from iid_mm.media.image_headers import MAX_PIXELS, check_image

if TYPE_CHECKING:
    from iid_mm.utils.typing import ImageArray

MAX_FILE = 8 * MAX_PIXELS + 2**20
"""Largest image file in bytes: the largest image without compression, four channels of 16 bits."""

# Damage is an error or does not matter.
warnings.filterwarnings('ignore', module='PIL.TiffImagePlugin')
PILLOW_ERRORS = (
    *(OSError, ValueError, SyntaxError, EOFError, RuntimeError, InputError),
    Image.DecompressionBombError,
)


def read_image_file(path: Path) -> bytes:
    """Read an image file.

    Args:
        path: The file.

    Raises:
        InputError: If it is larger than :data:`MAX_FILE`.
        OSError: If it cannot be read.
    """
    if (size := path.stat().st_size) > MAX_FILE:
        raise InputError(f'a file of {size} bytes; images of up to {MAX_FILE} bytes are read')
    return path.read_bytes()


def decode_image(data: bytes) -> ImageArray:
    """Decode an image file; the first image if there are several.

    Args:
        data: The bytes of the file.

    Returns:
        (H, W, 3) uint8 BGR, upright according to the orientation tag. An alpha channel is dropped, 16 bits
        are cut to the upper 8, CMYK is converted without its profile, and color profiles are not applied.

    Raises:
        InputError: If it is not a complete image, see :func:`check_image` and :func:`check_jpeg_coding`.
    """
    return decode_first(data)[0]


def decode_first(data: bytes) -> tuple[ImageArray, int]:
    """Decode the first image of a file.

    Args:
        data: The bytes of the file.

    Returns:
        The image, see :func:`decode_image`, and the number of images in the file, such as frames or pages.

    Raises:
        InputError: If it is not a complete image.
    """
    info = check_image(data)
    if info.by_pillow:
        return _decode_by_pillow(data, info.images)
    check_jpeg_coding(data)
    try:
        # In which formats OpenCV obeys the tag depends on its version.
        flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        raise InputError(f'not a readable image ({error.err})') from error
    if image is None:
        raise InputError('not a readable image')
    return upright(np.asarray(image, np.uint8), info.orientation), info.images


def upright(image: ImageArray, orientation: int) -> ImageArray:
    """Undo Exif's orientation: 2 is mirrored, 3 upside down, 6 and 8 are rotated, 5 and 7 both."""
    if orientation == 1:
        return image
    if orientation >= 5:
        image = image.transpose(1, 0, 2)
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    return np.ascontiguousarray(image)


def check_jpeg_coding(data: bytes) -> None:
    """Refuse a JPEG image whose coded data are damaged.

    OpenCV's decoder conceals damage and reports nothing; FFmpeg's can be made to fail. Images that FFmpeg
    cannot decode in any mode are left to OpenCV. A changed byte that is valid code is not detected.

    Args:
        data: The bytes of a file that :func:`check_image` has accepted; other formats pass.

    Raises:
        InputError: If it is a JPEG and damaged.
    """
    if not data.startswith(JPEG):
        return
    try:
        _decode_jpeg(data, 'crccheck+bitstream+buffer+explode')
    except InvalidDataError as error:
        try:
            _decode_jpeg(data, '')
        except FFmpegError:
            return
        raise InputError('its coded image data are damaged') from error
    except FFmpegError:
        return


def _decode_jpeg(data: bytes, errors: str) -> None:
    codec = av.CodecContext.create('mjpeg', 'r')
    codec.options = {'err_detect': errors} if errors else {}
    # The processes share the cores already.
    codec.thread_type = 'NONE'
    codec.thread_count = 1
    codec.decode(av.Packet(data))


def open_by_pillow(data: bytes) -> Image.Image:
    """Open an image file with Pillow; InputError if the image is too large or of an unknown format."""
    try:
        image = Image.open(io.BytesIO(data))
    except UnidentifiedImageError as error:
        raise InputError('not a readable image, or AVIF and Pillow older than 11.3') from error
    if image.width * image.height > MAX_PIXELS:
        raise InputError(f'an image of {image.width}x{image.height} pixels; up to {MAX_PIXELS} are read')
    return image


def to_bgr(image: Image.Image) -> ImageArray:
    """Convert an image of Pillow to (H, W, 3) uint8 BGR."""
    return np.ascontiguousarray(np.asarray(image.convert('RGB'))[..., ::-1])


def _decode_by_pillow(data: bytes, images: int) -> tuple[ImageArray, int]:
    """Decode TIFF, whose transparent parts OpenCV darkens, and AVIF, which it does not show upright."""
    try:
        with open_by_pillow(data) as image:
            images = max(images, getattr(image, 'n_frames', 1) if image.format == 'AVIF' else 1)
            return to_bgr(ImageOps.exif_transpose(image) or image), images
    except InputError:
        raise
    except PILLOW_ERRORS as error:
        raise InputError(f'not a readable image ({error})') from error
