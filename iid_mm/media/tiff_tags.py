# SPDX-License-Identifier: Apache-2.0
"""Tags of TIFF files, and of the Exif data of other formats, which have the same structure."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from iid_mm.errors import InputError

_WIDTH, _HEIGHT, _BITS, _ORIENTATION, _SUBFILE, _SAMPLE_FORMAT = 256, 257, 258, 274, 254, 339
_TILE_WIDTH, _TILE_HEIGHT = 322, 323
# Offsets and lengths of the image data, in strips or in tiles.
_DATA = ((273, 279), (324, 325))
_TYPES = {1: 'B', 3: 'H', 4: 'I'}
_MAX_PAGES = 10_000
_MAX_TILE = 1 << 26
_MAX_VALUES = 1 << 22

Tags = dict[int, Sequence[int]]


def exif_orientation(data: bytes) -> int:
    """Read the orientation of an image.

    Args:
        data: Exif data, with or without the prefix of six bytes that JPEG has.

    Returns:
        1 to 8; 1 (upright) if there is none or the data are damaged.
    """
    data = data[6:] if data.startswith(b'Exif\0') else data
    try:
        order, position = _head(data)
        orientation = _tags(data, order, position, {_ORIENTATION})[0].get(_ORIENTATION, (1,))[0]
    except (struct.error, KeyError, ValueError):
        return 1
    return orientation if 1 <= orientation <= 8 else 1


def check_tiff(data: bytes) -> tuple[int, int, int, int]:
    """Refuse a TIFF file whose first page is incomplete or not of integers.

    Args:
        data: The bytes of the file.

    Returns:
        Width, height and bits of a sample of the first page, and the number of pages.

    Raises:
        InputError: If it is truncated or of a kind that is not supported.
        struct.error: If it is truncated.
    """
    try:
        order, position = _head(data)
        wanted = {_WIDTH, _HEIGHT, _BITS, _SAMPLE_FORMAT, _TILE_WIDTH, _TILE_HEIGHT, *_DATA[0], *_DATA[1]}
        tags, following = _tags(data, order, position, wanted)
        width, height = tags[_WIDTH][0], tags[_HEIGHT][0]
    except (KeyError, ValueError) as error:
        raise InputError('its tags are damaged') from error
    bits = tags.get(_BITS, (1,))
    if set(bits) - {1, 8, 16} or set(tags.get(_SAMPLE_FORMAT, (1,))) - {1}:
        raise InputError(f'a TIFF image of {bits[0]} bits that are not integers of 1, 8 or 16 bits')
    # A whole tile is decoded, however much of it lies outside of the image.
    if tags.get(_TILE_WIDTH, (0,))[0] * tags.get(_TILE_HEIGHT, (0,))[0] > _MAX_TILE:
        raise InputError(f'tiles of more than {_MAX_TILE} pixels')
    parts = [
        start + size
        for places, sizes in _DATA
        for start, size in zip(tags.get(places, ()), tags.get(sizes, ()), strict=False)
    ]
    if not parts or max(parts) > len(data):
        raise InputError('the file ends early')
    return width, height, max(bits), 1 + _more_pages(data, order, following, position)


def _more_pages(data: bytes, order: str, position: int, first: int) -> int:
    """Number of pages after the first one that are not thumbnails of others."""
    count, seen = 0, {first}
    while position and position not in seen and len(seen) < _MAX_PAGES:
        seen.add(position)
        try:
            tags, position = _tags(data, order, position, {_SUBFILE})
        except (struct.error, ValueError):
            break
        count += not tags.get(_SUBFILE, (0,))[0] & 1
    return count


def _head(data: bytes) -> tuple[str, int]:
    """Byte order and position of the first directory."""
    order = {b'II': '<', b'MM': '>'}[data[:2]]
    return order, struct.unpack_from(f'{order}I', data, 4)[0]


def _tags(data: bytes, order: str, position: int, wanted: set[int]) -> tuple[Tags, int]:
    """Values of some tags of a directory, and the position of the next directory, 0 if there is none."""
    (count,) = struct.unpack_from(f'{order}H', data, position)
    found: Tags = {}
    for place in range(position + 2, position + 2 + 12 * count, 12):
        tag, kind, number = struct.unpack_from(f'{order}HHI', data, place)
        if tag not in wanted or kind not in _TYPES or not 0 < number <= _MAX_VALUES:
            continue
        code = f'{order}{number}{_TYPES[kind]}'
        start = place + 8
        if struct.calcsize(code) > 4:
            (start,) = struct.unpack_from(f'{order}I', data, start)
        found[tag] = struct.unpack_from(code, data, start)
    following = position + 2 + 12 * count
    if following + 4 > len(data):
        return found, 0
    return found, struct.unpack_from(f'{order}I', data, following)[0]
