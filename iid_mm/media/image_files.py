# SPDX-License-Identifier: Apache-2.0
"""What image files say of themselves, and checks of them before they are decoded.

Decoders give a partly gray picture for half a file and ask for memory that a damaged header names. PNG
has checksums, all of them are checked. JPEG and WebP have none: a file that ends early is found, and so is
a JPEG whose coded data break the rules of the code; a changed byte that keeps to them is not.
"""

from __future__ import annotations

import contextlib
import re
import struct
import zlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

import av
from av.error import FFmpegError, InvalidDataError

from iid_mm.errors import InputError
from iid_mm.media.tiff_tags import check_tiff, exif_orientation

MAX_PIXELS = 2**26
"""Larger pictures and video frames are not decoded; 8K video has half of that."""
# Of parts that a file may have, and of pixels that all scans of a JPEG may go over.
_MAX_PARTS = 1 << 20
_MAX_SCANNED = 1 << 31

_JPEG = b'\xff\xd8\xff'
_PNG = b'\x89PNG\r\n\x1a\n'
_TIFF = (b'II*\0', b'MM\0*')
# What ends the coded data of a JPEG scan: a marker other than a stuffed zero, a restart or a fill byte.
_END_OF_SCAN = re.compile(rb'\xff[^\x00\xd0-\xd7\xff]')
_FILL = re.compile(rb'\xff*')
# What may follow a JPEG: other images, or a film.
_FOLLOWING = re.compile(rb'\xff\xd8\xff|\x00\x00\x00.ftyp', re.DOTALL)
_MAX_FOLLOWING = 100
# Start of frame; 0xC4, 0xC8 and 0xCC are other things.
_JPEG_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_HEIC_BRANDS = {b'heic', b'heix', b'heim', b'heis', b'hevc', b'hevx', b'mif1', b'msf1'}
_AVIF_BRANDS = {b'avif', b'avis'}
_KNOWN = 'PNG, JPEG, WebP, BMP, TIFF or AVIF'
# Of videos: Matroska, Flash, ASF, Ogg, MPEG program and video streams; QuickTime without a type.
_VIDEO_HEADS = (b'\x1aE\xdf\xa3', b'FLV', b'0&\xb2u', b'OggS', b'\0\0\1\xba', b'\0\0\1\xb3')
_VIDEO_BOXES = {b'ftyp', b'moov', b'mdat', b'wide', b'free', b'skip'}
_STREAMS = ((0, 188), (4, 192))


@dataclass(frozen=True)
class ImageInfo:
    """What an image file says of itself.

    Attributes:
        width: Pixels of the image as it is stored.
        height: Likewise.
        orientation: How it has to be turned to be shown: 1 to 8, as in Exif. The decoders of TIFF and AVIF
            see to that, which leaves 1.
        images: How many images the file holds: frames of an animation, pages, and what follows a JPEG, such
            as the second view of a stereo camera or the film of a "motion photo".
        by_pillow: Whether it is one for Pillow to decode, and not for OpenCV.
    """

    width: int
    height: int
    orientation: int = 1
    images: int = 1
    by_pillow: bool = False


def check_image(data: bytes) -> ImageInfo:
    """Refuse files that do not hold a whole image.

    Args:
        data: The bytes of the file.

    Returns:
        What the file says of itself; of AVIF, which has to be parsed by its decoder, sizes of 1.

    Raises:
        InputError: If it is not a PNG, JPEG, WebP, BMP, TIFF or AVIF image, ends early, has wrong checksums
            or more than :data:`MAX_PIXELS` pixels.
    """
    if not data:
        raise InputError('the file is empty')
    try:
        if data.startswith(_PNG):
            info = _check_png(data)
        elif data.startswith(_JPEG):
            info = _check_jpeg(data)
        elif data[:4] == b'RIFF' and data[8:12] == b'WEBP':
            info = _check_webp(data)
        elif data.startswith(b'BM'):
            info = ImageInfo(*_check_bmp(data))
        elif data.startswith(_TIFF):
            width, height, bits, pages = check_tiff(data)
            # Pillow knows no colors of 16 bits.
            info = ImageInfo(width, height, images=pages, by_pillow=bits <= 8)
        elif is_avif(data):
            info = ImageInfo(1, 1, by_pillow=True)
        elif _is_heif(data):
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


def is_avif(data: bytes) -> bool:
    """Whether a file that begins so is an AVIF image or animation."""
    return _is_heif(data) and bool(_brands(data) & _AVIF_BRANDS)


def _is_heif(data: bytes) -> bool:
    return data[4:8] == b'ftyp' and data[8:12] in _HEIC_BRANDS | _AVIF_BRANDS


def _brands(data: bytes) -> set[bytes]:
    """Types that an MP4-like file claims to be."""
    end = min(int.from_bytes(data[:4], 'big'), len(data), 256)
    return {data[8:12], *(data[place : place + 4] for place in range(16, end - 3, 4))}


def is_clip(path: Path) -> bool | None:
    """Whether a file holds moving pictures, by its first bytes.

    Args:
        path: The file.

    Returns:
        True for videos, GIF, and animations in WebP, PNG and AVIF of more than one image; False for other
        images; None if the bytes do not tell, or the file cannot be read.
    """
    try:
        with open(path, 'rb') as file:
            head = file.read(400)
            if head.startswith(_PNG):
                return _png_images(file) > 1
            if head[:4] == b'RIFF' and head[8:12] == b'WEBP':
                return head[12:16] == b'VP8X' and bool(head[20] & 2) and len(_webp_durations(file)) > 1
    except (OSError, struct.error, IndexError):
        return None
    if head.startswith((_JPEG, *_TIFF, b'BM')):
        return False
    if _is_heif(head):
        return b'avis' in _brands(head)
    # Packets of MPEG transport streams begin with the same byte, and have 188 bytes, or 192 with 4 before it.
    is_stream = any(
        head[start : start + 1] == head[start + step : start + step + 1] == b'G' for start, step in _STREAMS
    )
    heads = (b'GIF87a', b'GIF89a', *_VIDEO_HEADS)
    is_video = is_stream or head.startswith(heads) or head[4:8] in _VIDEO_BOXES
    return True if is_video or (head[:4] == b'RIFF' and head[8:11] == b'AVI') else None


def _png_images(file: IO[bytes]) -> int:
    """Images of a PNG file, counted from what comes before the first one."""
    position = len(_PNG)
    for _ in range(_MAX_PARTS):
        file.seek(position)
        length, kind = struct.unpack('>I4s', file.read(8))
        if kind == b'acTL':
            (promised,) = struct.unpack('>I', file.read(4))
            try:
                return max(int(promised), len(_png_durations(file)))
            except struct.error:
                # The file ends early.
                return int(promised)
        if kind in (b'IDAT', b'IEND'):
            break
        position += 12 + length
    return 1


def animation_durations(path: Path) -> list[float] | None:
    """How long each image of an animated WebP or PNG file is shown.

    Args:
        path: The file.

    Returns:
        Seconds; empty for a single image; None for other formats, and if the file cannot be read or ends
        early.
    """
    try:
        with open(path, 'rb') as file:
            head = file.read(12)
            if head.startswith(_PNG):
                return _png_durations(file)
            if head[:4] == b'RIFF' and head[8:] == b'WEBP':
                return _webp_durations(file)
    except (OSError, struct.error):
        pass
    return None


def _png_durations(file: IO[bytes]) -> list[float]:
    position, durations = len(_PNG), []
    for _ in range(_MAX_PARTS):
        file.seek(position)
        length, kind = struct.unpack('>I4s', file.read(8))
        if kind == b'fcTL':
            numerator, denominator = struct.unpack('>HH', file.read(24)[20:])
            durations.append(_seconds(numerator / (denominator or 100)))
        elif kind == b'IEND':
            break
        position += 12 + length
    return durations


def _webp_durations(file: IO[bytes]) -> list[float]:
    position, durations = 12, []
    for _ in range(_MAX_PARTS):
        file.seek(position)
        head = file.read(8)
        if len(head) < 8:
            break
        kind, length = struct.unpack('<4sI', head)
        if kind == b'ANMF':
            durations.append(_seconds(int.from_bytes(file.read(16)[12:15], 'little') / 1000))
        position += 8 + length + length % 2
    return durations


def _seconds(named: float) -> float:
    """As browsers do: what is to be shown for no time is shown for a tenth of a second."""
    return named if named > 0.01 else 0.1


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


def _check_png(data: bytes) -> ImageInfo:
    view = memoryview(data)
    width, height = struct.unpack_from('>II', data, 16)
    position, kind = len(_PNG), b''
    orientation, images, controls = 1, 1, 0
    for _ in range(_MAX_PARTS):
        length, kind = struct.unpack_from('>I4s', data, position)
        start, end = position + 8, position + 8 + length
        (checksum,) = struct.unpack_from('>I', data, end)
        # Other chunks than these do not change the picture.
        matters = kind[0] & 0x20 == 0 or kind == b'eXIf'
        if matters and zlib.crc32(view[position + 4 : end]) != checksum:
            raise InputError(f'the checksum of its part {kind.decode("latin-1")!r} is wrong')
        if kind == b'eXIf':
            orientation = exif_orientation(data[start:end])
        elif kind == b'acTL':
            (images,) = struct.unpack_from('>I', data, start)
        elif kind == b'fcTL':
            controls += 1
        elif kind == b'IEND':
            return ImageInfo(width, height, orientation, max(images, controls))
        position = end + 4
    raise InputError(f'it has more than {_MAX_PARTS} parts')


def _check_jpeg(data: bytes) -> ImageInfo:
    info, end = _jpeg_from(data, 0)
    images = 1
    with contextlib.suppress(InputError, struct.error, IndexError):
        while images < _MAX_FOLLOWING and (found := _FOLLOWING.search(data, end)) is not None:
            images += 1
            if not data.startswith(_JPEG, found.start()):
                break
            end = _jpeg_from(data, found.start())[1]
    return replace(info, images=images)


def _jpeg_from(data: bytes, position: int) -> tuple[ImageInfo, int]:
    """Check a JPEG image that begins at a position; also tells where it ends."""
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
    orientation, images, position = 1, 0, 12
    for _ in range(_MAX_PARTS):
        if position + 8 > len(data):
            break
        kind, length = struct.unpack_from('<4sI', data, position)
        images += kind == b'ANMF'
        if kind == b'EXIF':
            orientation = exif_orientation(data[position + 8 : position + 8 + length])
        position += 8 + length + length % 2
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
    # Run lengths (1, 2) make the rows shorter.
    if packed not in (1, 2) and start + rows > len(data):
        raise InputError('the file ends early')
    return width, height
