# SPDX-License-Identifier: Apache-2.0
"""Headers of image files, read and checked before anything is decoded.

Decoders turn half a file into a partly gray image, and allocate whatever memory a damaged header asks for.
The checksums of PNG are all checked. JPEG and WebP have none; only truncation is detected here.
"""

from __future__ import annotations

import contextlib
import io
import re
import struct
import zlib
from dataclasses import dataclass, replace

from iid_mm.errors import InputError
from iid_mm.media.file_structure import (
    AVIF_BRANDS,
    BMP,
    JPEG,
    PNG,
    TIFF,
    heif_brands,
    is_webp,
    png_chunks,
    webp_chunks,
)
from iid_mm.media.tiff_tags import check_tiff, exif_orientation

MAX_PIXELS = 2**26
"""Larger images and video frames are not decoded; 8K video has half as many."""
# Segments of a JPEG, and pixels that all its scans together may go over.
_MAX_PARTS = 1 << 20
_MAX_SCANNED = 1 << 31

# What ends the coded data of a JPEG scan: a marker other than a stuffed zero, a restart or a fill byte.
_END_OF_SCAN = re.compile(rb'\xff[^\x00\xd0-\xd7\xff]')
_FILL = re.compile(rb'\xff*')
# What may follow a JPEG: other images, or a video.
_FOLLOWING = re.compile(rb'\xff\xd8\xff|\x00\x00\x00.ftyp', re.DOTALL)
_MAX_FOLLOWING = 100
# Markers of a frame; 0xC4, 0xC8 and 0xCC mean other things.
_JPEG_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_KNOWN = 'PNG, JPEG, WebP, BMP, TIFF or AVIF'


@dataclass(frozen=True)
class ImageInfo:
    """What the header of an image file says.

    Attributes:
        width: Pixels of the image as it is stored.
        height: Likewise.
        orientation: How it is stored, 1 (upright) to 8 as in Exif. 1 for TIFF and AVIF, whose decoders return
            upright images.
        images: Number of images in the file: frames of an animation, pages, and what follows a JPEG, such as
            the second view of a stereo camera or the video of a "motion photo".
        by_pillow: Whether Pillow decodes it, and not OpenCV.
    """

    width: int
    height: int
    orientation: int = 1
    images: int = 1
    by_pillow: bool = False


def check_image(data: bytes) -> ImageInfo:
    """Refuse files that do not hold a complete image.

    Args:
        data: The bytes of the file.

    Returns:
        What the header says; for AVIF, which only its decoder parses, a size of 1 x 1.

    Raises:
        InputError: If it is not a PNG, JPEG, WebP, BMP, TIFF or AVIF image, is truncated, has wrong
            checksums, or more than :data:`MAX_PIXELS` pixels.
    """
    if not data:
        raise InputError('the file is empty')
    try:
        if data.startswith(PNG):
            info = _check_png(data)
        elif data.startswith(JPEG):
            info = _check_jpeg(data)
        elif is_webp(data):
            info = _check_webp(data)
        elif data.startswith(BMP):
            info = ImageInfo(*_check_bmp(data))
        elif data.startswith(TIFF):
            width, height, bits, pages = check_tiff(data)
            # Pillow does not read colors of 16 bits.
            info = ImageInfo(width, height, images=pages, by_pillow=bits <= 8)
        elif heif_brands(data) & AVIF_BRANDS:
            info = ImageInfo(1, 1, by_pillow=True)
        elif heif_brands(data):
            raise InputError('a HEIC image, which is not read here; convert it to JPEG or PNG')
        else:
            raise InputError(f'not a {_KNOWN} image')
    except (struct.error, IndexError) as error:
        raise InputError('the file ends early') from error
    if info.width < 1 or info.height < 1 or info.width * info.height > MAX_PIXELS:
        raise InputError(
            f'an image of {info.width}x{info.height} pixels; from 1 to {MAX_PIXELS} pixels are read'
        )
    return info


def _check_png(data: bytes) -> ImageInfo:
    view, file = memoryview(data), io.BytesIO(data)
    width, height = struct.unpack_from('>II', data, 16)
    orientation, images, controls = 1, 1, 0
    for kind, length in png_chunks(file):
        start = file.tell()
        end = start + length
        (checksum,) = struct.unpack_from('>I', data, end)
        # Other chunks than these do not change the image.
        matters = kind[0] & 0x20 == 0 or kind == b'eXIf'
        if matters and zlib.crc32(view[start - 4 : end]) != checksum:
            raise InputError(f'the checksum of its part {kind.decode("latin-1")!r} is wrong')
        if kind == b'eXIf':
            orientation = exif_orientation(data[start:end])
        elif kind == b'acTL':
            (images,) = struct.unpack_from('>I', data, start)
        elif kind == b'fcTL':
            controls += 1
    return ImageInfo(width, height, orientation, max(images, controls))


def _check_jpeg(data: bytes) -> ImageInfo:
    info, end = _jpeg_from(data, 0)
    images = 1
    with contextlib.suppress(InputError, struct.error, IndexError):
        while images < _MAX_FOLLOWING and (found := _FOLLOWING.search(data, end)) is not None:
            images += 1
            if not data.startswith(JPEG, found.start()):
                break
            end = _jpeg_from(data, found.start())[1]
    return replace(info, images=images)


def _jpeg_from(data: bytes, position: int) -> tuple[ImageInfo, int]:
    """Check a JPEG image that begins at a position, and find where it ends."""
    width = height = scans = 0
    orientation = None
    position += 2
    for _ in range(_MAX_PARTS):
        if data[position] != 0xFF:
            raise InputError('its parts are damaged')
        fill = _FILL.match(data, position)
        assert fill is not None
        position = fill.end()
        marker = data[position]
        position += 1
        if marker == 0xD9:
            return ImageInfo(width, height, orientation or 1), position
        if marker == 0x01 or 0xD0 <= marker <= 0xD7:
            continue
        (length,) = struct.unpack_from('>H', data, position)
        if marker in _JPEG_FRAMES:
            height, width = struct.unpack_from('>HH', data, position + 3)
            if width * height > MAX_PIXELS:
                return ImageInfo(width, height), len(data)
        if marker == 0xE1 and orientation is None and data[position + 2 : position + 8] == b'Exif\0\0':
            orientation = exif_orientation(data[position + 2 : position + length])
        position += length
        if marker == 0xDA:
            scans += 1
            if scans * width * height > _MAX_SCANNED:
                raise InputError(f'{scans} scans of {width}x{height} pixels, which are too many')
            found = _END_OF_SCAN.search(data, position)
            if found is None:
                raise InputError('the file ends early')
            position = found.start()
    raise InputError(f'it has more than {_MAX_PARTS} parts')


def _check_webp(data: bytes) -> ImageInfo:
    (size,) = struct.unpack_from('<I', data, 4)
    kind, body = data[12:16], data[20:30]
    if size + 8 > len(data) or len(body) < 10:
        raise InputError('the file ends early')
    if kind == b'VP8X':
        width, height = (int.from_bytes(body[place : place + 3], 'little') + 1 for place in (4, 7))
        return ImageInfo(width, height, *_webp_parts(data))
    if kind == b'VP8L':
        bits = int.from_bytes(body[1:5], 'little')
        return ImageInfo((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
    width, height = struct.unpack_from('<HH', body, 6)
    return ImageInfo(width & 0x3FFF, height & 0x3FFF)


def _webp_parts(data: bytes) -> tuple[int, int]:
    """Orientation and number of images of an extended WebP file."""
    orientation, images, file = 1, 0, io.BytesIO(data)
    for kind, length in webp_chunks(file):
        images += kind == b'ANMF'
        if kind == b'EXIF':
            orientation = exif_orientation(file.read(length))
    return orientation, max(images, 1)


def _check_bmp(data: bytes) -> tuple[int, int]:
    start, header = struct.unpack_from('<II', data, 10)
    if header < 40:
        width, height, _, depth = struct.unpack_from('<HHHH', data, 18)
        packed = 0
    else:
        width, height, _, depth, packed = struct.unpack_from('<iiHHI', data, 18)
    width, height = abs(width), abs(height)
    rows = (width * depth + 31) // 32 * 4 * height
    # Run-length coding (1, 2) makes rows shorter.
    if packed not in (1, 2) and start + rows > len(data):
        raise InputError('the file ends early')
    return width, height
