# SPDX-License-Identifier: Apache-2.0
"""Hashes and names of files, atomic writing, and limited reading of untrusted files."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from iid_mm.errors import InputError

MAX_SMALL = 256 * 2**20
"""Bytes of a JSON file; a report on ten datasets has a few MiB."""
MAX_NAME_BYTES = 230
"""File systems allow 255; the rest is for a suffix such as ``_annotated.mp4`` and a number."""
_RESERVED_SIGNS = frozenset('<>:"/\\|?*')
_RESERVED_NAMES = frozenset(
    [
        *('CON', 'PRN', 'AUX', 'NUL'),
        *(f'{port}{number}' for port in ('COM', 'LPT') for number in range(1, 10)),
    ]
)


def sha256(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a file, hexadecimal."""
    digest = hashlib.sha256()
    with open(path, 'rb') as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def read_limited(path: str | os.PathLike[str], most: int = MAX_SMALL) -> bytes:
    """Read a file that should be small.

    Args:
        path: The file.
        most: Bytes that it may have.

    Raises:
        InputError: It is larger, or not a regular file: reading a named pipe would block.
        OSError: It cannot be read.
    """
    found = os.stat(path)
    if not stat.S_ISREG(found.st_mode):
        raise InputError(f'{os.fspath(path)} is not a regular file')
    with open(path, 'rb') as file:
        # Python allocates all that is asked for before reading. Files of /proc report a size of 0.
        data = file.read(min(max(found.st_size, 1 << 16), most) + 1)
    if len(data) > most:
        raise InputError(f'{os.fspath(path)} is larger than {most} bytes, the most that is read')
    return data


def printable(text: object) -> str:
    """A name or message as terminals, logs, tables, images and index files can hold it.

    File names may contain anything: line breaks, escape sequences that control a terminal, marks that reverse
    the direction of text, and bytes that are not text, which Python keeps as lone surrogates.

    Args:
        text: The name, or a message that quotes names.

    Returns:
        The text with every such character written as ``%`` and two digits a byte, so that different names
        stay different.
    """
    text = str(text)
    if text.isprintable():
        return text
    try:
        data = os.fsencode(text)
    except UnicodeEncodeError:
        data = text.encode('utf-8', 'surrogatepass')
    return ''.join(
        c if c.isprintable() else ''.join(f'%{byte:02X}' for byte in c.encode('utf-8', 'surrogateescape'))
        for c in data.decode('utf-8', 'surrogateescape')
    )


def safe_name(name: str, limit: int = MAX_NAME_BYTES) -> str:
    """Turn a name into a file name that any file system, terminal and library accepts.

    Args:
        name: The name without suffix.
        limit: Longest name, in bytes as the file system keeps it; at least 16.

    Returns:
        The name with ``_`` in place of characters that are not printable or not allowed on Windows. A name
        that is too long is cut and ends in a digest of all of it, so that different names stay different.
    """
    clean = name
    if not name.isprintable() or not _RESERVED_SIGNS.isdisjoint(name):
        clean = ''.join('_' if not sign.isprintable() or sign in _RESERVED_SIGNS else sign for sign in name)
    if clean.split('.')[0].strip().upper() in _RESERVED_NAMES:
        clean = f'_{clean}'
    data = clean.encode(sys.getfilesystemencoding(), 'replace')
    if len(data) <= limit:
        return clean
    digest = hashlib.sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()[:8]
    return f'{data[: limit - 9].decode(sys.getfilesystemencoding(), "ignore")}_{digest}'


def reason_of(error: BaseException) -> str:
    """Reason of a failure, in one printable line."""
    if error.__cause__ is not None and getattr(error.__cause__, 'strerror', None):
        error = error.__cause__
    if isinstance(error, MemoryError):
        return 'not enough memory'
    # Errors of FFmpeg have one, too, and are not always errors of the operating system.
    if cause := getattr(error, 'strerror', None):
        return printable(cause)
    text = printable(' '.join(str(error).split()))[:300]
    # Of an unforeseen error the type says more than the message.
    return text if isinstance(error, ValueError) and text else f'{type(error).__name__}: {text}'.rstrip(': ')


def check_output(
    path: str | os.PathLike[str], inputs: Iterable[str | os.PathLike[str]] = (), *, option: str = '--out'
) -> None:
    """Refuse an output path if writing there would destroy something.

    Args:
        path: File to write or replace.
        inputs: Files that are read; missing ones are ignored.
        option: Name of the path in the message.

    Raises:
        InputError: It is one of the inputs, even by another name, or a folder, a device or a pipe.
    """
    if not os.path.exists(path):
        return
    if not os.path.isfile(path):
        kind = 'a folder' if os.path.isdir(path) else 'not a regular file'
        raise InputError(f'{option} {os.fspath(path)} is {kind}; name a file')
    for other in inputs:
        if os.path.exists(other) and os.path.samefile(path, other):
            raise InputError(
                f'{option} {os.fspath(path)} is an input, which is not replaced; name another file'
            )


def temporary_beside(path: Path) -> Path:
    """A new hidden file in the folder of ``path``; its name is short and ASCII, whatever that of ``path``."""
    # Processes on other machines may write the same file under the same process id.
    return path.with_name(f'.{os.getpid()}-{os.urandom(4).hex()}.tmp')


@contextlib.contextmanager
def replacing(path: Path, temporary: Path | None = None, *, durable: bool = False) -> Iterator[Path]:
    """Write a file that appears whole or not at all; raise inside to keep the old one.

    Args:
        path: The file; its folder is made. A link there is replaced, not followed.
        temporary: Where to write until then, in the same folder; None: see :func:`temporary_beside`.
        durable: Whether a power cut, too, leaves the old file or the new one.

    Yields:
        A temporary path, renamed if nothing is raised. Of a device such as ``/dev/null``, and of
        ``/dev/stdout``, the path itself.
    """
    if _is_device(path):
        yield path
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary or temporary_beside(path)
    try:
        yield temporary
        if durable:
            with open(temporary, 'rb+') as file:
                os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        # The first error matters more than a leftover file.
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _is_device(path: Path) -> bool:
    """Whether a path names a device or an open file, which belong to the system and are not replaced."""
    try:
        mode = os.lstat(path).st_mode
    except (OSError, ValueError):
        return False
    if stat.S_ISLNK(mode):
        return os.path.abspath(path).split(os.sep)[1] in ('dev', 'proc') and not os.path.isdir(path)
    return stat.S_ISCHR(mode) or stat.S_ISBLK(mode)


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file; it appears whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Write a text file; it appears whole or not at all."""
    write_bytes(path, text.encode())


def write_json(path: Path, content: Any, *, allow_nan: bool = True) -> None:
    """Write a JSON file; it appears whole or not at all.

    Raises:
        ValueError: A number is NaN or infinite, which JSON lacks, and ``allow_nan`` is False.
    """
    write_text(path, json.dumps(content, indent=2, allow_nan=allow_nan) + '\n')


def read_json(path: str | os.PathLike[str], most: int = MAX_SMALL) -> Any:
    """Read a JSON file.

    Args:
        path: The file.
        most: Bytes that it may have.

    Raises:
        InputError: It is no JSON, nested too deeply, too large, or not a regular file.
        OSError: It cannot be read.
    """
    try:
        return json.loads(read_limited(path, most).decode())
    except InputError:
        raise
    except (ValueError, RecursionError) as error:
        text = 'nested too deeply' if isinstance(error, RecursionError) else error
        raise InputError(f'{os.fspath(path)} is no JSON: {text}') from error
