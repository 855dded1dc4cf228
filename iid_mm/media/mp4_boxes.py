# SPDX-License-Identifier: Apache-2.0
"""What the header of an MP4 or MOV file makes FFmpeg do, found out before it does it.

FFmpeg keeps 24 bytes and more for each sample that a header lists, and a header of a hundred bytes can list a
hundred million of them. The tables are searched for by their names and not by the tree of boxes, as FFmpeg
takes them from places where they do not belong, too.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np

from iid_mm.errors import InputError

MAX_SAMPLES = 8_000_000
"""Most samples that a header may list, of all tracks: a day of video and sound has 6.6 million."""
_MAX_BOXES = 1_000_000
_MAX_HEADER = 1 << 27
# What FFmpeg looks into at the top of a file. All else it passes over, so that this holds for any file.
_PARSED = {
    *(
        b'moov',
        b'hoov',
        b'moof',
        b'trak',
        b'traf',
        b'mdia',
        b'minf',
        b'stbl',
        b'edts',
        b'mvex',
        b'udta',
        b'meta',
    ),
    *(b'tref', b'dinf', b'wave', b'ilst', b'stsd', b'stsz', b'stz2', b'trun', b'elst', b'cmov'),
}
# A header that was marked as free is taken for one all the same.
_HIDDEN = {b'mvhd', b'cmov'}
_TABLES = re.compile(rb'trak|hdlr|stts|stsc|stco|co64|stsz|stz2|trun|elst|cmov')
# Of uncompressed sound FFmpeg makes one entry of 1024 samples or, in some codecs, fewer.
_SOUND_SAMPLES, _SOUND_WEIGHT = 1024, 4


@dataclass
class _Track:
    """What is known of the track that is being read."""

    sound: bool = False
    uncompressed: bool = False
    samples: int = 0
    edits: int = 1
    chunks: int = 0
    most_in_chunk: int = 0

    def entries(self) -> int:
        """How many entries FFmpeg may make of it."""
        found = 0 if self.sound and self.uncompressed else self.samples * max(1, self.edits // 2)
        if self.uncompressed:
            found += _SOUND_WEIGHT * self.chunks * -(-self.most_in_chunk // _SOUND_SAMPLES)
        return found


def check_sample_counts(file: Any, size: int) -> None:
    """Refuse an MP4 or MOV file whose header lists too many samples; other formats pass.

    Args:
        file: The file, seekable.
        size: Its size in bytes.

    Raises:
        InputError: If there are too many samples or parts, or the header is compressed.
    """
    total = position = 0
    for _ in range(_MAX_BOXES):
        file.seek(position)
        head = file.read(24)
        if len(head) < 8:
            return
        length, kind = struct.unpack('>I4s', head[:8])
        if length == 1 and len(head) >= 16:
            (length,) = struct.unpack('>Q', head[8:16])
        # Zero means up to the end of the file; what is less than a box is damaged.
        end = min(position + length, size) if length >= 8 else size
        if kind in _PARSED or (kind == b'free' and head[12:16] in _HIDDEN):
            if end - position > _MAX_HEADER:
                raise InputError(f'its header has more than {_MAX_HEADER >> 20} MB')
            file.seek(position)
            total += _entries(file.read(end - position))
        if total > MAX_SAMPLES:
            raise InputError(f'its header lists more than {MAX_SAMPLES} samples; cut it into shorter parts')
        position = end
        if position >= size:
            return
    raise InputError(f'it has more than {_MAX_BOXES} parts; copy it with: ffmpeg -i FILE -c copy NEW.mp4')


def _entries(data: bytes) -> int:
    """How many entries FFmpeg may make of a box."""
    total, track, rows = 0, _Track(), 0
    for match in _TABLES.finditer(data):
        kind, place = match.group(), match.end()
        if kind == b'cmov':
            raise InputError('its header is compressed; copy it with: ffmpeg -i FILE -c copy NEW.mp4')
        if kind == b'trak':
            total, track = total + track.entries(), _Track()
        # Version and flags come first.
        first, second, third = struct.unpack_from('>III', data[place + 4 : place + 16].ljust(12, b'\0'))
        if kind == b'hdlr':
            track.sound = track.sound or data[place + 8 : place + 12] == b'soun'
        elif kind == b'stts':
            track.uncompressed = track.uncompressed or (first == 1 and third == 1)
        elif kind in (b'stco', b'co64'):
            track.chunks = max(track.chunks, min(first, len(data) // 4))
        elif kind in (b'stsz', b'stz2'):
            track.samples = max(track.samples, second)
        elif kind == b'trun':
            total += first
        elif kind == b'elst':
            track.edits = max(track.edits, min(first, len(data) // 12))
        elif kind == b'stsc':
            count = min(first, max(0, len(data) - place - 8) // 12)
            rows += count
            if rows > MAX_SAMPLES:
                break
            if count:
                table = np.frombuffer(data, '>u4', 3 * count, place + 8)
                track.most_in_chunk = max(track.most_in_chunk, int(table[1::3].max()))
    return total + track.entries() + (MAX_SAMPLES + 1 if rows > MAX_SAMPLES else 0)
