# SPDX-License-Identifier: Apache-2.0
"""Opening of video files that may have been made to do harm.

A file is handed to FFmpeg as an open file and never by its name, which FFmpeg would read as a URL or a
pattern. Playlists and other formats that open further files are not read, whatever the suffix says, and what
reading a file costs is bounded by its size and not by what its header promises.
"""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import av
from av.error import FFmpegError
from av.stream import Disposition

from iid_mm.errors import InputError
from iid_mm.media.image_files import MAX_PIXELS
from iid_mm.media.mp4_boxes import check_sample_counts

# FFmpeg's demuxers that are used. None of them opens anything but the file it is given: hls, dash, concat,
# image2, sdp, rtsp and the like are not among them.
DEMUXERS = (
    *('mov', 'matroska', 'avi', 'flv', 'asf', 'mpegts', 'mpeg', 'mpegvideo', 'ogg', 'ivf', 'dv', 'mxf'),
    *('m4v', 'h264', 'hevc', 'gif', 'apng'),
)
# Files of which the parts lie in a bad order are read piecemeal, and some parts more than once.
_READS_PER_BYTE = 16
_LEAST_READS = 1 << 28
# Parts of a file that are followed to its end.
_MAX_PARTS = 1 << 22
_NO_PICTURES = Disposition.attached_pic | Disposition.timed_thumbnails

ShouldStop = Callable[[], bool]
"""Is asked now and then whether reading shall stop."""


class ReadingStopped(Exception):
    """Whoever wanted a file read does not want it any more."""


class SourceFile(io.RawIOBase):
    """What FFmpeg reads a file through: it can be stopped, and does not read for ever.

    Args:
        path: The file.
        should_stop: Asked before each read; None never stops.

    Attributes:
        failure: Why nothing is read any more.

    Raises:
        InputError: If it is not a regular file.
        OSError: If it cannot be opened.
    """

    def __init__(self, path: Path, should_stop: ShouldStop | None = None) -> None:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise InputError('not a regular file')
        self._file = open(path, 'rb', buffering=0)  # noqa: SIM115 - close() closes it
        self.size = os.fstat(self._file.fileno()).st_size
        self._left = _READS_PER_BYTE * self.size + _LEAST_READS
        self._should_stop = should_stop
        self.failure: Exception | None = None

    def read(self, size: int = -1) -> bytes:
        """Read up to ``size`` bytes."""
        if self.failure is not None:
            return b''
        if self._should_stop is not None and self._should_stop():
            self.failure = ReadingStopped()
        data = self._file.read(size) or b''
        self._left -= len(data)
        if self._left < 0:
            self.failure = InputError('its parts refer to the same data over and over')
        # FFmpeg takes this for the end of the file, and open_container() tells what it was.
        return b'' if self.failure else data

    def seek(self, offset: int, whence: int = 0) -> int:
        """Move to a position."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """The position."""
        return self._file.tell()

    def seekable(self) -> bool:
        """Yes."""
        return True

    def readable(self) -> bool:
        """Yes."""
        return True

    def close(self) -> None:
        """Close the file."""
        # Without one if the constructor failed.
        if hasattr(self, '_file'):
            self._file.close()
        super().close()


@contextmanager
def open_container(path: Path, should_stop: ShouldStop | None = None) -> Iterator[Any]:
    """Open a video file.

    Args:
        path: The file; its name says nothing about what it holds.
        should_stop: Asked now and then whether to stop; None never stops.

    Yields:
        ``av.container.InputContainer``.

    Raises:
        FFmpegError: If it is none of the formats of :data:`DEMUXERS`.
        InputError: If it is not a regular file or its header asks for too much.
        OSError: If it cannot be read.
        ReadingStopped: If ``should_stop`` said so.
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

    The one that is flagged as default, then the one with the largest frames, then the first. A cover or
    preview picture is no video.

    Args:
        container: ``av.container.InputContainer``.

    Returns:
        The stream, None without one, and a problem, empty if there is none.
    """
    videos = list(container.streams.video)
    shown = [stream for stream in videos if not stream.disposition & _NO_PICTURES]
    if not shown:
        cover = 'holds a cover picture and no video' if videos else 'has no video stream'
        return None, cover
    # Animations in AVIF, and films with a poster, have a track of one picture, too.
    shown = [stream for stream in shown if stream.frames != 1] or shown
    known = [stream for stream in shown if stream.codec_context is not None]
    if not known:
        return None, 'uses a codec that is unknown here'
    best = max(known, key=lambda stream: (_is_default(stream), _pixels(stream), -stream.index))
    if len(shown) == 1:
        return best, ''
    place = shown.index(best) + 1
    return best, f'holds {len(shown)} videos, of which number {place} was read'


def _is_default(stream: Any) -> bool:
    return bool(stream.disposition & Disposition.default)


def _pixels(stream: Any) -> int:
    return int(stream.codec_context.width * stream.codec_context.height)


def is_cut_off(path: Path) -> bool:
    """Whether a file ends before its own structure does.

    FFmpeg gives the frames of such a file up to the end and no error. Told of GIF, PNG, Matroska with a known
    size, and MPEG transport streams; of other formats the samples tell.

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
            if head.startswith((b'GIF87a', b'GIF89a')):
                return not _gif_ends(file)
            if head.startswith(b'\x89PNG'):
                return not _png_ends(file, size)
            if head.startswith(b'\x1aE\xdf\xa3'):
                file.seek(4)
                file.seek(_matroska_size(file) or 0, os.SEEK_CUR)
                if file.read(4) != b'\x18S\x80g':
                    return False
                length = _matroska_size(file)
                return length is not None and file.tell() + length > size
        except IndexError:
            return True
        for start, step in ((0, 188), (4, 192)):
            if head[start : start + 1] == head[start + step : start + step + 1] == b'G':
                return size % step != 0
    return False


def _gif_ends(file: IO[bytes]) -> bool:
    """Whether all blocks up to the mark of the end are there; IndexError if one is not."""
    flags = file.read(13)[10]
    file.seek(3 << (flags & 7) + 1 if flags & 0x80 else 0, os.SEEK_CUR)
    parts = 0
    while (kind := file.read(1)[0]) != 0x3B:
        if kind == 0x2C:
            flags = file.read(9)[8]
            # The colors, and how wide the codes are at first.
            file.seek((3 << (flags & 7) + 1 if flags & 0x80 else 0) + 1, os.SEEK_CUR)
        elif kind == 0x21:
            file.seek(1, os.SEEK_CUR)
        elif kind:
            # What follows is no GIF; decoders stop, too.
            return True
        else:
            continue
        while length := file.read(1)[0]:
            file.seek(length, os.SEEK_CUR)
            parts += 1
            if parts > _MAX_PARTS:
                return True
    return True


def _png_ends(file: IO[bytes], size: int) -> bool:
    position = 8
    for _ in range(_MAX_PARTS):
        if position + 12 > size:
            return False
        file.seek(position)
        part = file.read(8)
        position += 12 + int.from_bytes(part[:4], 'big')
        if part[4:] == b'IEND':
            return position <= size
    return True


def _matroska_size(file: IO[bytes]) -> int | None:
    """Read the size of an element; None if it is not known."""
    first = file.read(1)[0]
    count = 8 - first.bit_length()
    value = (first & (0x7F >> count)) << 8 * count | int.from_bytes(file.read(count), 'big')
    return None if value == (1 << 7 * (count + 1)) - 1 else value
