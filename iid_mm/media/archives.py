# SPDX-License-Identifier: Apache-2.0
"""Images in tar archives, plain or compressed, from sources that are not trusted.

An archive that :func:`tarfile.data_filter` refuses, that holds anything but ordinary files and folders, or
that exceeds a limit below is refused as a whole. A truncated or damaged archive yields the images before the
damage, the same when it is listed and when it is unpacked. Only images are unpacked.
"""

from __future__ import annotations

import bz2
import gzip
import hashlib
import lzma
import os
import posixpath
import re
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

from iid_mm.errors import InputError
from iid_mm.media.suffixes import IMAGE_SUFFIXES, is_system_file
from iid_mm.utils.files import read_json, write_json

# Frames and face crops take a few MiB, even without compression.
MAX_IMAGE_BYTES = 64 * 2**20
# Enough for tens of thousands of images; more would fill the scratch disks of most machines.
MAX_TOTAL_BYTES = 64 * 2**30
# Images are already compressed: real archives stay below 10, while gzip reaches 1032 on zeros.
MAX_RATIO = 1000
# The headers of a small archive are mostly zeros, which may exceed the ratio and do no harm.
RATIO_FREE_BYTES = 2**24
# WildDeepfake has a thousand images per archive; half a million names take about 50 MiB.
MAX_MEMBERS = 500_000
# tarfile reads long names and extended attributes into memory at once; real ones take a few hundred bytes.
MAX_HEADER_BYTES = 2**20
# The first two are those of common file systems.
MAX_NAME_BYTES, MAX_PART_BYTES, MAX_PARTS = 1024, 255, 32

_COMPRESSIONS: dict[bytes, Callable[..., Any]] = {
    b'\x1f\x8b': gzip.open,
    b'BZh': bz2.open,
    b'\xfd7zXZ\0': lzma.open,
}
# Raised for truncated or damaged files (gzip.BadGzipFile is an OSError).
_DAMAGE = (EOFError, OSError, zlib.error, lzma.LZMAError, tarfile.TarError, ValueError)
# Absolute, with a part '..', or with a character that not all file systems allow.
_BAD_NAME = re.compile(r'/|(?:.*/)?\.\.(?:/|\Z)|.*[\\:\x00-\x1f\x7f\ud800-\udfff]', re.DOTALL)
# Where members would go as far as Python's filter is concerned. Nothing is there: releases of 2025 and later
# fail for members below a file.
_NOWHERE = os.path.abspath(f'{os.sep}nowhere')
CACHE_FORMAT = 1


class UnsafeArchiveError(InputError):
    """An archive that could do harm; the message names archive, member and rule."""


@dataclass(frozen=True)
class ArchiveListing:
    """Images of an archive.

    Attributes:
        names: Names of the images that can be read, in the order of the archive, with ``/`` and without a
            leading ``./``.
        problem: What is wrong with the archive; empty if nothing is.
    """

    names: tuple[str, ...]
    problem: str = ''


def list_images(path: Path, cache_dir: Path | None = None) -> ArchiveListing:
    """List the images of an archive.

    Args:
        path: A tar archive, plain or compressed with gzip, bzip2 or xz, whatever its suffix.
        cache_dir: Folder in which listings are kept for the next time; None keeps none. A kept listing is
            used while path, size and modification time of the archive are the same; a damaged one is ignored.

    Returns:
        The images; hidden files and files of other kinds are left out.

    Raises:
        FileNotFoundError: If there is no such file.
        UnsafeArchiveError: If it is refused.
        InputError: If it is not a tar archive, or damaged before the first image.
    """
    if cache_dir is None:
        return _read_listing(path)
    state = path.stat()
    place = str(path.resolve())
    stamp = [CACHE_FORMAT, place, state.st_size, state.st_mtime_ns]
    cache = cache_dir / f'{hashlib.sha256(os.fsencode(place)).hexdigest()[:24]}.json'
    listing = _read_cache(cache, stamp)
    if listing is None:
        listing = _read_listing(path)
        write_json(cache, {'archive': stamp, 'problem': listing.problem, 'names': listing.names})
    return listing


def unpack_images(path: Path, folder: Path) -> ArchiveListing:
    """Unpack the images of an archive.

    Args:
        path: A tar archive; see :func:`list_images`.
        folder: Where the images are written, under their names. It must be missing or empty. If the archive
            cannot be unpacked, the folder stays as it was.

    Returns:
        The images that were unpacked, the same as :func:`list_images` lists.

    Raises:
        FileNotFoundError: If there is no such file.
        UnsafeArchiveError: If it is refused.
        InputError: If it is not a tar archive, is damaged before the first image, or ``folder`` is not empty.
        OSError: If the disk is full or ``folder`` cannot be written.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(
            f'folder={str(folder)!r} must not exist or be empty; the images would mix with its files'
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f'.{folder.name}.', dir=folder.parent))
    try:
        names = []
        with _open(path) as archive:
            for name, data in archive.images(read=True):
                _write(scratch / name, data, path)
                names.append(name)
        listing = archive.listing(names)
        if folder.is_dir():
            folder.rmdir()
        scratch.chmod(0o755)
        scratch.rename(folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return listing


def _read_listing(path: Path) -> ArchiveListing:
    with _open(path) as archive:
        return archive.listing([name for name, _ in archive.images(read=False)])


def _read_cache(cache: Path, stamp: list[Any]) -> ArchiveListing | None:
    """A kept listing; None without a valid one."""
    try:
        kept = read_json(cache)
        names, problem = kept['names'], kept['problem']
        if kept['archive'] != stamp or not isinstance(names, list) or not isinstance(problem, str):
            return None
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if not all(isinstance(name, str) and not _broken_name(name) for name in names):
        return None
    return ArchiveListing(tuple(names), problem)


class _Stream:
    """The uncompressed bytes of an archive, as :mod:`tarfile` and this module read them.

    Attributes:
        block: The last header that was read; shorter if the archive ends there.
    """

    def __init__(self, stream: BinaryIO, path: Path) -> None:
        self.block = b''
        self._stream = stream
        self._path = path
        self.seek, self.tell = stream.seek, stream.tell

    def read(self, size: int = -1) -> bytes:
        """Read a header, which tarfile does in one piece."""
        if not 0 <= size <= MAX_HEADER_BYTES:
            raise UnsafeArchiveError(f'archive {str(self._path)!r} is refused: a header of {size} bytes')
        data = self._stream.read(size)
        if size == tarfile.BLOCKSIZE:
            self.block = data
        return data

    def read_data(self, member: tarfile.TarInfo) -> bytes:
        """Read a file of at most :data:`MAX_IMAGE_BYTES`."""
        self._stream.seek(member.offset_data)
        data = self._stream.read(member.size)
        if len(data) < member.size:
            raise EOFError('end of file')
        return data


class _Archive:
    """One pass over the members of an archive."""

    def __init__(self, path: Path, stream: _Stream, size: int, *, compressed: bool) -> None:
        self.path = path
        self.problem = ''
        self._stream = stream
        self._tar = tarfile.open(fileobj=cast(IO[bytes], stream), mode='r:')  # noqa: SIM115
        self._size = size
        self._compressed = compressed

    def listing(self, names: list[str]) -> ArchiveListing:
        """The result, after all images were read; InputError if there is none because of damage."""
        if self.problem and not names:
            raise InputError(f'archive {str(self.path)!r}: no image can be read ({self.problem})')
        return ArchiveListing(tuple(names), self.problem)

    def images(self, *, read: bool) -> Iterator[tuple[str, bytes]]:
        """Yield name and data of each image up to the first damage; no data if it need not be read."""
        total = 0
        is_file: dict[str, bool] = {}
        for count, member in enumerate(self._members(), 1):
            total += max(member.size, 0)
            rule = _broken_rule(member) or self._exceeded_limit(count, total)
            name = posixpath.normpath(member.name)
            if name in is_file and (is_file[name] or member.isreg()):
                rule = rule or 'two members have this name'
            if rule:
                raise self._refuse(rule, member.name)
            is_file[name] = member.isreg()
            if not member.isreg() or not _is_image(name):
                continue
            data = self._data(member, read=read)
            if data is None:
                break
            yield name, data
        for name in is_file:
            parent = posixpath.dirname(name)
            while parent and not is_file.get(parent):
                parent = posixpath.dirname(parent)
            if parent:
                raise self._refuse(f'{parent!r} is a file and a folder', name)

    def _members(self) -> Iterator[tarfile.TarInfo]:
        while True:
            try:
                member = self._tar.next()
            except UnsafeArchiveError:
                raise
            except RecursionError as error:
                raise self._refuse('too many headers for one member') from error
            except _DAMAGE as error:
                self.problem = f'damaged or cut off: {error}'
                return
            # The list that tarfile keeps would grow with the archive.
            self._tar.members = []  # type: ignore[attr-defined]
            if member is None:
                self._check_end()
                return
            yield member

    def _data(self, member: tarfile.TarInfo, *, read: bool) -> bytes | None:
        """The data of a member; None if it is not complete."""
        if not self._compressed and member.offset_data + member.size > self._size:
            self.problem = f'cut off in {member.name!r}'
            return None
        # Whether compressed data are complete is known only after reading them.
        if not read and not self._compressed:
            return b''
        try:
            return self._stream.read_data(member)
        except _DAMAGE as error:
            self.problem = f'damaged or cut off in {member.name!r}: {error}'
            return None

    def _exceeded_limit(self, count: int, total: int) -> str:
        """Which limit the members so far exceed; empty if none."""
        if count > MAX_MEMBERS:
            return f'more than {MAX_MEMBERS} members'
        if total > MAX_TOTAL_BYTES:
            return f'the members add up to more than {MAX_TOTAL_BYTES} bytes'
        if total > max(RATIO_FREE_BYTES, MAX_RATIO * self._size):
            return f'the members add up to more than {MAX_RATIO} times the size of the archive'
        return ''

    def _refuse(self, rule: str, member: str = '') -> UnsafeArchiveError:
        where = f' at member {member!r}' if member else ''
        return UnsafeArchiveError(f'archive {str(self.path)!r} is refused{where}: {rule}')

    def _check_end(self) -> None:
        """Note a problem if the members do not end with a block of zeros or a checksum is wrong."""
        block = self._stream.block
        if len(block) < tarfile.BLOCKSIZE:
            self.problem = 'no end mark: it may be cut off'
        elif any(block):
            self.problem = 'damaged: what follows the last member read is no header'
        elif self._compressed:
            # The checksum of a compressed stream is at its end; sound archives have little padding before it.
            try:
                for _ in range(RATIO_FREE_BYTES // MAX_HEADER_BYTES):
                    if not self._stream.read(MAX_HEADER_BYTES):
                        return
            except _DAMAGE as error:
                self.problem = f'damaged: {error}'


@contextmanager
def _open(path: Path) -> Iterator[_Archive]:
    """Open an archive; InputError if it is not one."""
    if not path.is_file():
        raise FileNotFoundError(f'archive {str(path)!r} is missing')
    if not hasattr(tarfile, 'data_filter'):
        raise InputError(
            f'archive {str(path)!r}: this release of Python has no safe way to unpack archives; update it to '
            '3.10.12, 3.11.4 or later, or unpack the archive yourself'
        )
    with path.open('rb') as file:
        start = file.read(8)
        file.seek(0)
        size = os.fstat(file.fileno()).st_size
        opener = next((opener for magic, opener in _COMPRESSIONS.items() if start.startswith(magic)), None)
        with closing(opener(file) if opener else file) as stream:
            try:
                archive = _Archive(path, _Stream(stream, path), size, compressed=opener is not None)
            except UnsafeArchiveError:
                raise
            except (*_DAMAGE, RecursionError) as error:
                raise InputError(
                    f'archive {str(path)!r} cannot be read as a tar archive ({error}); download it again'
                ) from error
            yield archive


def _broken_rule(member: tarfile.TarInfo) -> str:
    """The rule that a member of an archive breaks; empty if none."""
    # The filter accepts links inside of the archive, which no dataset needs.
    if not (member.isreg() or member.isdir()) or member.issparse():
        return 'a link, a device, a sparse file or another special file'
    if member.size < 0 or (member.size > MAX_IMAGE_BYTES and _is_image(member.name)):
        return f'an image of {member.size} bytes; the limit is {MAX_IMAGE_BYTES}'
    if rule := _broken_name(member.name):
        return rule
    try:
        tarfile.data_filter(member, _NOWHERE)
    except tarfile.FilterError as error:
        return f"Python's filter for archives refuses it ({type(error).__name__})"
    return ''


def _broken_name(name: str) -> str:
    """The rule that a name breaks; empty if none."""
    if _BAD_NAME.match(name):
        return 'a name that is absolute, has ".." in it or a character that file systems do not share'
    parts = os.fsencode(name).split(b'/')
    if len(os.fsencode(name)) > MAX_NAME_BYTES or max(map(len, parts)) > MAX_PART_BYTES:
        return f'a name of more than {MAX_NAME_BYTES} bytes, or {MAX_PART_BYTES} in one part'
    if len(parts) > MAX_PARTS:
        return f'a name of more than {MAX_PARTS} parts'
    return ''


def _is_image(name: str) -> bool:
    parts = [part for part in name.split('/') if part not in ('', '.')]
    return name.lower().endswith(IMAGE_SUFFIXES) and not any(map(is_system_file, parts))


def _write(target: Path, data: bytes, path: Path) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open('xb') as file:
            file.write(data)
    except (FileExistsError, NotADirectoryError) as error:
        # Also where the file system takes two names for one, for example because it ignores case.
        raise UnsafeArchiveError(
            f'archive {str(path)!r} is refused: two members have the name {target.name!r} here'
        ) from error
