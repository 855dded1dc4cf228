# SPDX-License-Identifier: Apache-2.0
"""Opening of video files that may be malicious.

FFmpeg gets an open file and never a name, which it would read as a URL or a pattern. Playlists and other
formats that open further files are not read, whatever the suffix. The cost of reading is bounded by the size
of the file and not by what its header promises.
"""

from __future__ import annotations

import io
import os
import re
import stat
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.error import FFmpegError
from av.stream import Disposition

from iid_mm.errors import InputError
from iid_mm.media.image_headers import MAX_PIXELS

# The demuxers of FFmpeg that are used. None opens any other file than the one it is given, as hls, dash,
# concat, image2, sdp and rtsp would.
DEMUXERS = (
    *('mov', 'matroska', 'avi', 'flv', 'asf', 'mpegts', 'mpeg', 'mpegvideo', 'ogg', 'ivf', 'dv', 'mxf'),
    *('m4v', 'h264', 'hevc', 'gif', 'apng'),
)
# Files whose parts are badly ordered are read piecemeal, and some parts more than once.
_READS_PER_BYTE = 16
_LEAST_READS = 1 << 28
_NO_VIDEO = Disposition.attached_pic | Disposition.timed_thumbnails

MAX_SAMPLES = 8_000_000
"""Most samples that a header may list in all tracks: a day of video and sound has 6.6 million."""
_MAX_BOXES = 1_000_000
_MAX_HEADER = 1 << 27
# What FFmpeg parses at the top level of a file. It skips all else, so that this is right for any file.
_PARSED = set(
    b'moov hoov moof trak traf mdia minf stbl edts mvex udta meta tref dinf wave ilst stsd stsz stz2 trun '
    b'elst cmov'.split()
)
# A header that is marked as free is parsed all the same.
_HIDDEN = {b'mvhd', b'cmov'}
_TABLES = re.compile(rb'trak|hdlr|stts|stsc|stco|co64|stsz|stz2|trun|elst|cmov')
# FFmpeg makes one entry for 1024 samples of uncompressed sound or, in some codecs, for fewer.
_SOUND_SAMPLES, _SOUND_WEIGHT = 1024, 4

ShouldStop = Callable[[], bool]
"""Called from time to time; True stops the reading."""


class ReadingStopped(Exception):
    """Reading was stopped by the caller's :data:`ShouldStop`."""


class SourceFile(io.FileIO):
    """The file that FFmpeg reads: reading can be stopped, and the total amount is bounded.

    Args:
        path: The file.
        should_stop: Called before each read; None never stops.

    Attributes:
        size: Its size in bytes.
        failure: Why reading was stopped.

    Raises:
        InputError: If it is not a regular file.
        OSError: If it cannot be opened.
    """

    def __init__(self, path: Path, should_stop: ShouldStop | None = None) -> None:
        # Before it is opened, which would wait at a named pipe.
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise InputError('not a regular file')
        super().__init__(path)
        # PyAV would hand it to FFmpeg.
        del self.name
        self.size = os.fstat(self.fileno()).st_size
        self._left = _READS_PER_BYTE * self.size + _LEAST_READS
        self._should_stop = should_stop
        self.failure: Exception | None = None

    def read(self, size: int | None = -1) -> bytes:
        """Read up to ``size`` bytes."""
        if self.failure is not None:
            return b''
        if self._should_stop is not None and self._should_stop():
            self.failure = ReadingStopped()
        data = super().read(size) or b''
        self._left -= len(data)
        if self._left < 0:
            self.failure = InputError('its parts refer to the same data over and over')
        # FFmpeg takes this for the end of the file; open_container() then raises the failure.
        return b'' if self.failure else data


@contextmanager
def open_container(path: Path, should_stop: ShouldStop | None = None) -> Iterator[Any]:
    """Open a video file.

    Args:
        path: The file; its name does not matter.
        should_stop: Called from time to time, True stops; None never stops.

    Yields:
        ``av.container.InputContainer``.

    Raises:
        FFmpegError: If it is none of the formats of :data:`DEMUXERS`.
        InputError: If it is not a regular file or its header asks for too much.
        OSError: If it cannot be read.
        ReadingStopped: If ``should_stop`` returned True.
    """
    with SourceFile(path, should_stop) as source:
        if not source.size:
            raise InputError('the file is empty')
        check_sample_counts(source, source.size)
        source.seek(0)
        container_options = {'format_whitelist': ','.join(DEMUXERS), 'protocol_whitelist': 'none'}
        try:
            with av.open(
                source,
                metadata_errors='replace',
                options={'max_pixels': str(MAX_PIXELS)},
                container_options=container_options,
            ) as container:
                yield container
        except FFmpegError:
            if source.failure is None:
                raise
        if source.failure is not None:
            raise source.failure


def choose_stream(container: Any) -> tuple[Any, str]:
    """Choose the video stream that players show.

    A stream that is flagged as default comes first, then the one with the largest frames, then the first one.
    Cover and preview images do not count.

    Args:
        container: ``av.container.InputContainer``.

    Returns:
        The stream, or None, and a problem, empty if there is none.
    """
    videos = list(container.streams.video)
    shown = [stream for stream in videos if not stream.disposition & _NO_VIDEO]
    if not shown:
        return None, 'holds a cover image and no video' if videos else 'has no video stream'
    # Animations in AVIF, and videos with a poster, also have a track of one image.
    shown = [stream for stream in shown if stream.frames != 1] or shown
    known = [stream for stream in shown if stream.codec_context is not None]
    if not known:
        return None, 'uses a codec that is unknown here'
    best = max(
        known,
        key=lambda stream: (
            bool(stream.disposition & Disposition.default),
            stream.codec_context.width * stream.codec_context.height,
            -stream.index,
        ),
    )
    if len(shown) == 1:
        return best, ''
    place = shown.index(best) + 1
    return best, f'holds {len(shown)} videos, of which number {place} was read'


@dataclass
class _Track:
    """The track that is being read."""

    sound: bool = False
    uncompressed: bool = False
    samples: int = 0
    edits: int = 1
    chunks: int = 0
    most_in_chunk: int = 0

    def entries(self) -> int:
        """How many entries FFmpeg may make for it."""
        found = 0 if self.sound and self.uncompressed else self.samples * max(1, self.edits // 2)
        if self.uncompressed:
            found += _SOUND_WEIGHT * self.chunks * -(-self.most_in_chunk // _SOUND_SAMPLES)
        return found


def check_sample_counts(file: Any, size: int) -> None:
    """Refuse an MP4 or MOV file whose header lists too many samples; other formats pass.

    FFmpeg keeps 24 bytes and more for each listed sample, and a header of a hundred bytes can list a hundred
    million of them. The tables are searched for by name and not in the tree of boxes, because FFmpeg also
    takes them from places where they do not belong.

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
        # Zero means up to the end of the file; a length shorter than the head is damage.
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
    """How many entries FFmpeg may make for a box."""
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
