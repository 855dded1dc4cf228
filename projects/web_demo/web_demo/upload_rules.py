# SPDX-License-Identifier: Apache-2.0
"""Which files are accepted, and the messages about others.

The type of a file is determined by its first bytes, never by its name. FFmpeg also reads playlists, which
could make it open other files and addresses: types that are not listed below never reach it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath

from iid_mm.errors import InputError
from iid_mm.inference.media import IMAGE, VIDEO

HEAD = 512
"""Number of bytes that determine the type of a file."""
MAX_NAME = 100


@dataclass(frozen=True)
class Limits:
    """Limits of uploads and analyses.

    Attributes:
        max_mib: Largest file, MiB.
        max_seconds: Longest video.
        upload_seconds: Time limit of an upload.
        min_rate: Bytes per second that an upload needs on average ...
        grace_seconds: ... after this many seconds.
        analysis_seconds: Time limit of an analysis.
        memory_gib: Memory of an analysis on the CPU, in addition to that of the model.
    """

    max_mib: float = 200
    max_seconds: float = 600
    upload_seconds: float = 1800
    min_rate: float = 16 * 1024
    grace_seconds: float = 15
    analysis_seconds: float = 600
    memory_gib: float = 4

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not 0 < value < float('inf'):
                raise InputError(f'{name}={value}: give a number above 0')

    @property
    def max_bytes(self) -> int:
        """Largest file in bytes."""
        return int(self.max_mib * 2**20)


class RefusedUpload(Exception):
    """An upload that is not accepted.

    Args:
        status: HTTP status.
        message: The reason and what to do, for the user.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


@dataclass(frozen=True)
class FileType:
    """A supported type of file.

    Attributes:
        words: Its name with article.
        kind: ``image`` or ``video``.
        suffixes: Usual suffixes; the stored file gets the first.
    """

    words: str
    kind: str
    suffixes: tuple[str, ...]


_MP4 = FileType('an MP4 or QuickTime video', VIDEO, ('.mp4', '.mov', '.m4v', '.3gp', '.qt'))
_TRANSPORT = FileType('an MPEG transport stream', VIDEO, ('.ts', '.mts', '.m2ts'))
_TYPES: tuple[tuple[re.Pattern[bytes], FileType], ...] = tuple(
    (re.compile(pattern, re.DOTALL), kind)
    for pattern, kind in (
        (rb'\xff\xd8\xff', FileType('a JPEG image', IMAGE, ('.jpg', '.jpeg', '.jpe', '.jfif'))),
        (rb'\x89PNG\r\n\x1a\n', FileType('a PNG image', IMAGE, ('.png',))),
        (rb'RIFF....WEBP', FileType('a WebP image', IMAGE, ('.webp',))),
        (rb'BM....\0\0\0\0', FileType('a BMP image', IMAGE, ('.bmp',))),
        (rb'....ftyp(?!hei|hev|mif1|msf1|avi|crx|M4A|M4B)', _MP4),
        (rb'....(?:moov|mdat|wide|free|skip|pnot)', _MP4),
        (rb'\x1aE\xdf\xa3', FileType('a Matroska or WebM video', VIDEO, ('.mkv', '.webm'))),
        (rb'RIFF....AVI ', FileType('an AVI video', VIDEO, ('.avi',))),
        (rb'GIF8[79]a', FileType('a GIF animation', VIDEO, ('.gif',))),
        (rb'FLV\x01', FileType('a Flash video', VIDEO, ('.flv',))),
        (rb'0&\xb2u\x8ef\xcf\x11', FileType('a Windows Media video', VIDEO, ('.wmv', '.asf'))),
        (rb'\0\0\x01[\xba\xb3]', FileType('an MPEG video', VIDEO, ('.mpg', '.mpeg', '.vob'))),
        (rb'G.{187}G.{187}G', _TRANSPORT),
        (rb'.{4}G.{191}G.{191}G', _TRANSPORT),
    )
)
_REFUSED: tuple[tuple[re.Pattern[bytes], str], ...] = tuple(
    (re.compile(pattern, re.DOTALL), words)
    for pattern, words in (
        (rb'....ftyp(?:hei|hev|mif1|msf1)', 'a HEIC photo, which is not supported; save it as JPEG'),
        (rb'....ftypavi', 'an AVIF image, which is not supported; save it as PNG or JPEG'),
        (rb'II\*\0|MM\0\*', 'a TIFF or camera raw image, which is not supported; save it as PNG or JPEG'),
        (rb'....ftyp(?:M4A|M4B)|ID3|OggS|fLaC|RIFF....WAVE', 'an audio file; this page analyzes faces'),
        (rb'%PDF', 'a PDF document'),
        (rb'PK\x03\x04|7z\xbc\xaf|Rar!|\x1f\x8b', 'an archive or an office document'),
        (rb'#EXTM3U|ffconcat|\[playlist\]', 'a playlist; upload the video itself'),
        (rb'\s*<(?:!doctype|html|\?xml|svg)', 'a web page or drawing'),
        (rb'MZ|\x7fELF|#!', 'a program'),
    )
)
SUPPORTED = (
    'Supported are JPEG, PNG, WebP and BMP images and MP4, MOV, MKV, WebM, AVI, MPEG, WMV, FLV and GIF '
    'videos.'
)


def detect_type(head: bytes, name: str) -> FileType:
    """Detect the type of a file by its first bytes.

    Args:
        head: The first :data:`HEAD` bytes, or all of a smaller file.
        name: Name of the file in messages.

    Raises:
        RefusedUpload: The type is not supported.
    """
    for pattern, found in _TYPES:
        if pattern.match(head):
            return found
    for pattern, words in _REFUSED:
        if pattern.match(head.lower() if b'<' in head[:4] else head):
            raise RefusedUpload(415, f'"{name}" is {words}. {SUPPORTED}')
    raise RefusedUpload(415, f'"{name}" is not an image or video in a supported format. {SUPPORTED}')


def suffix_note(found: FileType, name: str) -> str:
    """Remark that a name does not match the type of the file; empty if it does."""
    suffix = PurePosixPath(name).suffix.lower()
    # The end of a name such as "Mr. Smith" is not a suffix.
    if not re.fullmatch(r'\.\w{2,5}', suffix) or suffix in found.suffixes:
        return ''
    return f'the name ends in {suffix}, but the file is {found.words}; it was analyzed as such'


def shown_name(name: str) -> str:
    """Name of an upload for display; it is never part of a path."""
    last = re.split(r'[\\/]', name)[-1]
    clean = ''.join(c for c in last if c.isprintable()).strip()
    if len(clean) > MAX_NAME:
        clean = f'{clean[: MAX_NAME - 20]}…{clean[-19:]}'
    return clean or 'upload'


def check_length(size: int | None, name: str, limits: Limits) -> None:
    """Refuse a file by its size; None: unknown.

    Raises:
        RefusedUpload: It is empty or too large.
    """
    if size == 0:
        raise RefusedUpload(400, f'"{name}" is empty (0 bytes). Was it copied or downloaded completely?')
    if size is not None and size > limits.max_bytes:
        raise RefusedUpload(
            413,
            f'"{name}" is too large: {size / 2**20:.0f} MiB; the limit is {limits.max_mib:g} MiB. '
            'Cut out the part in question, or use tools/infer.py, which has no limit.',
        )


def check_duration(seconds: float, name: str, limits: Limits) -> None:
    """Refuse a video that is too long.

    Raises:
        RefusedUpload: It is too long.
    """
    if seconds > limits.max_seconds:
        raise RefusedUpload(
            413,
            f'"{name}" is too long: {clock(seconds)}; the limit is {clock(limits.max_seconds)}. A fixed '
            'number of frames is analyzed, which is too few for a long video. Cut out the part in question, '
            'for example with: ffmpeg -ss 0:30 -t 60 -i long.mp4 -c copy part.mp4',
        )


def clock(seconds: float) -> str:
    """A duration, ``0:30 min`` or ``2:00:00 h``."""
    whole = round(seconds)
    hours, minutes = whole // 3600, whole // 60 % 60
    return f'{hours}:{minutes:02d}:{whole % 60:02d} h' if hours else f'{minutes}:{whole % 60:02d} min'
