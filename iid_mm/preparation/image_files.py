# SPDX-License-Identifier: Apache-2.0
"""Checks of image files before they are decoded.

Decoders give a partly grey picture for half a file and ask for memory that a damaged header names. PNG
has checksums, all of them are checked. JPEG and WebP have none: a file that ends early is found, and so is
a JPEG whose coded data break the rules of the code; a changed byte that keeps to them is not.
"""

from __future__ import annotations

import re
import struct
import zlib

import av
from av.error import FFmpegError, InvalidDataError

from iid_mm.errors import InputError

MAX_PIXELS = 2**26
"""Larger pictures and video frames are not decoded; 8K video has half of that."""

_JPEG = b'\xff\xd8\xff'
_PNG = b'\x89PNG\r\n\x1a\n'
# What ends the coded data of a JPEG scan: a marker other than a stuffed zero, a restart or a fill byte.
_END_OF_SCAN = re.compile(rb'\xff[^\x00\xd0-\xd7\xff]')
# Start of frame; 0xC4, 0xC8 and 0xCC are other things.
_JPEG_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}


def check_image(data: bytes) -> None:
    """Refuse files that do not hold a whole image.

    Args:
        data: The bytes of the file.

    Raises:
        InputError: If it is not a PNG, JPEG, WebP or BMP image, ends early, has wrong checksums or more
            than :data:`MAX_PIXELS` pixels.
    """
    if not data:
        raise InputError('the file is empty')
    try:
        if data.startswith(_PNG):
            width, height = _check_png(data)
        elif data.startswith(_JPEG):
            width, height = _check_jpeg(data)
        elif data[:4] == b'RIFF' and data[8:12] == b'WEBP':
            width, height = _check_webp(data)
        elif data.startswith(b'BM'):
            width, height = _check_bmp(data)
        else:
            raise InputError('not a PNG, JPEG, WebP or BMP image')
    except (struct.error, IndexError) as error:
        raise InputError('the file ends early') from error
    if width < 1 or height < 1 or width * height > MAX_PIXELS:
        raise InputError(f'an image of {width}x{height} pixels; from 1 to {MAX_PIXELS} pixels are read')


def check_jpeg_coding(data: bytes) -> None:
    """Refuse a JPEG picture whose coded data are damaged.

    OpenCV's decoder guesses at what is damaged and says nothing; FFmpeg's can be told to give up. What it
    does not know in any mode is left to OpenCV.

    Args:
        data: The bytes of a file that :func:`check_image` has passed; other formats pass.

    Raises:
        InputError: If it is a JPEG and damaged.
    """
    if not data.startswith(_JPEG):
        return
    try:
        _decode_jpeg(data, 'crccheck+bitstream+buffer+explode')
    except InvalidDataError as error:
        try:
            _decode_jpeg(data, '')
        except FFmpegError:
            return
        raise InputError('its coded picture is damaged') from error
    except FFmpegError:
        return


def _decode_jpeg(data: bytes, errors: str) -> None:
    codec = av.CodecContext.create('mjpeg', 'r')
    codec.options = {'err_detect': errors} if errors else {}
    # The processes share the cores already.
    codec.thread_type = 'NONE'
    codec.thread_count = 1
    codec.decode(av.Packet(data))


def _check_png(data: bytes) -> tuple[int, int]:
    view = memoryview(data)
    width, height = struct.unpack_from('>II', data, 16)
    position, kind = len(_PNG), b''
    while kind != b'IEND':
        length, kind = struct.unpack_from('>I4s', data, position)
        end = position + 8 + length
        (checksum,) = struct.unpack_from('>I', data, end)
        # Other chunks than these do not change the picture.
        if kind[0] & 0x20 == 0 and zlib.crc32(view[position + 4 : end]) != checksum:
            raise InputError(f'the checksum of its part {kind.decode("latin-1")!r} is wrong')
        position = end + 4
    return width, height


def _check_jpeg(data: bytes) -> tuple[int, int]:
    width = height = 0
    position = 2
    while True:
        if data[position] != 0xFF:
            raise InputError('its parts are damaged')
        while data[position] == 0xFF:
            position += 1
        marker = data[position]
        position += 1
        if marker == 0xD9:
            return width, height
        if marker == 0x01 or 0xD0 <= marker <= 0xD7:
            continue
        (length,) = struct.unpack_from('>H', data, position)
        if marker in _JPEG_FRAMES:
            height, width = struct.unpack_from('>HH', data, position + 3)
            if width * height > MAX_PIXELS:
                return width, height
        position += length
        if marker == 0xDA:
            found = _END_OF_SCAN.search(data, position)
            if found is None:
                raise InputError('the file ends early')
            position = found.start()


def _check_webp(data: bytes) -> tuple[int, int]:
    (size,) = struct.unpack_from('<I', data, 4)
    kind, body = data[12:16], data[20:30]
    if size + 8 > len(data) or len(body) < 10:
        raise InputError('the file ends early')
    if kind == b'VP8X':
        return int.from_bytes(body[4:7], 'little') + 1, int.from_bytes(body[7:10], 'little') + 1
    if kind == b'VP8L':
        bits = int.from_bytes(body[1:5], 'little')
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    width, height = struct.unpack_from('<HH', body, 6)
    return width & 0x3FFF, height & 0x3FFF


def _check_bmp(data: bytes) -> tuple[int, int]:
    start, header = struct.unpack_from('<II', data, 10)
    if header < 40:
        width, height, _, depth = struct.unpack_from('<HHHH', data, 18)
        packed = 0
    else:
        width, height, _, depth, packed = struct.unpack_from('<iiHHI', data, 18)
    width, height = abs(width), abs(height)
    rows = (width * depth + 31) // 32 * 4 * height
    # Run lengths (1, 2) make the rows shorter.
    if packed not in (1, 2) and start + rows > len(data):
        raise InputError('the file ends early')
    return width, height
