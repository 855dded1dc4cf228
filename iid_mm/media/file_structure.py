# SPDX-License-Identifier: Apache-2.0
"""The structure of media files, read before any decoder sees them."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from iid_mm.errors import InputError

# Chunks of a PNG or WebP file, and blocks of a GIF, that are followed to the end.
_MAX_PARTS = 1 << 20
_MAX_BLOCKS = 1 << 22

JPEG = b'\xff\xd8\xff'
PNG = b'\x89PNG\r\n\x1a\n'
TIFF = (b'II*\0', b'MM\0*')
BMP = b'BM'
_GIF = (b'GIF87a', b'GIF89a')
_MATROSKA = b'\x1aE\xdf\xa3'
# Matroska, Flash, ASF, Ogg, MPEG program and video streams; QuickTime without a type.
_VIDEO_HEADS = (_MATROSKA, b'FLV', b'0&\xb2u', b'OggS', b'\0\0\1\xba', b'\0\0\1\xb3')
_VIDEO_BOXES = {b'ftyp', b'moov', b'mdat', b'wide', b'free', b'skip'}
AVIF_BRANDS = {b'avif', b'avis'}
_HEIF_BRANDS = {b'heic', b'heix', b'heim', b'heis', b'hevc', b'hevx', b'mif1', b'msf1'} | AVIF_BRANDS


def is_webp(head: bytes) -> bool:
    """Whether a file that begins like this is a WebP image or animation."""
    return head[:4] == b'RIFF' and head[8:12] == b'WEBP'


def heif_brands(head: bytes) -> set[bytes]:
    """The types that a HEIC or AVIF file claims to be; empty for other files."""
    if head[4:8] != b'ftyp' or head[8:12] not in _HEIF_BRANDS:
        return set()
    end = min(int.from_bytes(head[:4], 'big'), len(head), 256)
    return {head[8:12], *(head[place : place + 4] for place in range(16, end - 3, 4))}


def png_chunks(file: IO[bytes]) -> Iterator[tuple[bytes, int]]:
    """Walk through the chunks of a PNG file up to its end chunk.

    Args:
        file: The file, seekable.

    Yields:
        Type and length of each chunk; the file is then at the chunk's data.

    Raises:
        InputError: If there are too many chunks.
        struct.error: If the file ends before the end chunk.
    """
    position = len(PNG)
    for _ in range(_MAX_PARTS):
        file.seek(position)
        length, kind = struct.unpack('>I4s', file.read(8))
        yield kind, length
        if kind == b'IEND':
            return
        position += 12 + length
    raise InputError(f'it has more than {_MAX_PARTS} parts')


def webp_chunks(file: IO[bytes]) -> Iterator[tuple[bytes, int]]:
    """Walk through the chunks of a WebP file; see :func:`png_chunks`."""
    position = 12
    for _ in range(_MAX_PARTS):
        file.seek(position)
        head = file.read(8)
        if len(head) < 8:
            return
        kind, length = struct.unpack('<4sI', head)
        yield kind, length
        position += 8 + length + length % 2


def is_clip(path: Path) -> bool | None:
    """Whether a file is a video or an animation, by its first bytes.

    Args:
        path: The file.

    Returns:
        True for videos, GIF, and animations in WebP, PNG and AVIF of more than one image; False for other
        images; None if the bytes do not say, or the file cannot be read.
    """
    try:
        with open(path, 'rb') as file:
            head = file.read(400)
            if head.startswith(PNG):
                return _count_png_images(file) > 1
            if is_webp(head):
                return head[12:16] == b'VP8X' and bool(head[20] & 2) and len(_webp_durations(file)) > 1
    except (OSError, struct.error, IndexError, InputError):
        return None
    if head.startswith((JPEG, *TIFF, BMP)):
        return False
    if brands := heif_brands(head):
        return b'avis' in brands
    if _transport_packet_size(head) or head.startswith((*_GIF, *_VIDEO_HEADS)):
        return True
    is_video = head[4:8] in _VIDEO_BOXES or (head[:4] == b'RIFF' and head[8:11] == b'AVI')
    return True if is_video else None


def _transport_packet_size(head: bytes) -> int:
    """Bytes of a packet of an MPEG transport stream: 188, or 192 with 4 before each; 0 for other files."""
    for start, size in ((0, 188), (4, 192)):
        if head[start : start + 1] == head[start + size : start + size + 1] == b'G':
            return size
    return 0


def _count_png_images(file: IO[bytes]) -> int:
    """Images of a PNG file: what it promises before the first one, or what it holds if that is more."""
    for kind, _ in png_chunks(file):
        if kind == b'acTL':
            (promised,) = struct.unpack('>I', file.read(4))
            try:
                return max(int(promised), len(_png_durations(file)))
            except struct.error:
                # The file ends early.
                return int(promised)
        if kind == b'IDAT':
            break
    return 1


def animation_durations(path: Path) -> list[float] | None:
    """How long each image of an animated WebP or PNG file is shown.

    Args:
        path: The file.

    Returns:
        Seconds; empty for a single image; None for other formats, and if the file cannot be read or is
        truncated.
    """
    try:
        with open(path, 'rb') as file:
            head = file.read(12)
            if head.startswith(PNG):
                return _png_durations(file)
            if is_webp(head):
                return _webp_durations(file)
    except (OSError, struct.error, InputError):
        pass
    return None


def _png_durations(file: IO[bytes]) -> list[float]:
    durations = []
    for kind, _ in png_chunks(file):
        if kind == b'fcTL':
            numerator, denominator = struct.unpack('>HH', file.read(24)[20:])
            durations.append(_shown_for(numerator / (denominator or 100)))
    return durations


def _webp_durations(file: IO[bytes]) -> list[float]:
    return [
        _shown_for(int.from_bytes(file.read(16)[12:15], 'little') / 1000)
        for kind, _ in webp_chunks(file)
        if kind == b'ANMF'
    ]


def _shown_for(seconds: float) -> float:
    """As in browsers, an image that is to be shown for no time is shown for a tenth of a second."""
    return seconds if seconds > 0.01 else 0.1


def is_truncated(path: Path) -> bool:
    """Whether a video or animation ends before its own structure does.

    FFmpeg reads the frames up to the end of the file without an error. Detected in GIF, PNG, Matroska with a
    known size, and MPEG transport streams; in other formats the number of samples shows it.

    Args:
        path: The file.

    Raises:
        OSError: If it cannot be read.
    """
    with open(path, 'rb') as file:
        size = os.fstat(file.fileno()).st_size
        head = file.read(200)
        file.seek(0)
        try:
            if head.startswith(_GIF):
                return not _gif_ends(file)
            if head.startswith(PNG):
                return not _png_ends(file, size)
            if head.startswith(_MATROSKA):
                file.seek(4)
                file.seek(_matroska_size(file) or 0, os.SEEK_CUR)
                if file.read(4) != b'\x18S\x80g':
                    return False
                length = _matroska_size(file)
                return length is not None and file.tell() + length > size
        except IndexError:
            return True
    packet = _transport_packet_size(head)
    return bool(packet and size % packet)


def _gif_ends(file: IO[bytes]) -> bool:
    """Whether all blocks up to the end mark are there; IndexError if one is not."""
    flags = file.read(13)[10]
    file.seek(3 << (flags & 7) + 1 if flags & 0x80 else 0, os.SEEK_CUR)
    parts = 0
    while (kind := file.read(1)[0]) != 0x3B:
        if kind == 0x2C:
            flags = file.read(9)[8]
            # The color table, and the initial width of the codes.
            file.seek((3 << (flags & 7) + 1 if flags & 0x80 else 0) + 1, os.SEEK_CUR)
        elif kind == 0x21:
            file.seek(1, os.SEEK_CUR)
        elif kind:
            # What follows is not GIF; decoders stop here, too.
            return True
        else:
            continue
        while length := file.read(1)[0]:
            file.seek(length, os.SEEK_CUR)
            parts += 1
            if parts > _MAX_BLOCKS:
                return True
    return True


def _png_ends(file: IO[bytes], size: int) -> bool:
    """Whether the end chunk is there."""
    try:
        length = [length for _, length in png_chunks(file)][-1]
    except struct.error:
        return False
    except InputError:
        return True
    return file.tell() + length + 4 <= size


def _matroska_size(file: IO[bytes]) -> int | None:
    """Read the size of an element; None if it is unknown."""
    first = file.read(1)[0]
    count = 8 - first.bit_length()
    value = (first & (0x7F >> count)) << 8 * count | int.from_bytes(file.read(count), 'big')
    return None if value == (1 << 7 * (count + 1)) - 1 else value
