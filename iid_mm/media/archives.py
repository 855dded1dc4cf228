# SPDX-License-Identifier: Apache-2.0
"""Images in tar archives, plain or compressed, from sources that are not trusted.

An archive that breaks a rule of :func:`_broken_rule` or exceeds a limit below is refused as a whole. One that
is cut off or damaged gives the images before the damage, the same ones to a listing and to an unpacking.
Names of images have no ``./`` in front, so that each image has one name. Nothing is unpacked but images.
"""

from __future__ import annotations

import bz2
import gzip
import hashlib
import json
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
from iid_mm.utils.files import write_text

# Frames and face crops take up to a few MiB, even without compression.
MAX_IMAGE_BYTES = 64 * 2**20
# A whole set of tens of thousands of images fits in; more would fill the scratch disks of most machines.
MAX_TOTAL_BYTES = 64 * 2**30
# Images are compressed already: real archives stay below 10, while gzip reaches 1032 on nothing but zeros.
MAX_RATIO = 1000
# Headers of a small archive are mostly zeros and may exceed the ratio without doing any harm.
RATIO_FREE_BYTES = 2**24
# WildDeepfake holds a thousand images an archive; the names of half a million take some 50 MiB.
MAX_MEMBERS = 500_000
# Long names and extended attributes are read into memory at once; real ones take a few hundred bytes.
MAX_HEADER_BYTES = 2**20
# Limits of the usual file systems.
MAX_NAME_BYTES, MAX_PART_BYTES = 1024, 255

_CHUNK = 2**18
_COMPRESSIONS: dict[bytes, Callable[..., Any]] = {
    b'\x1f\x8b': gzip.open,
    b'BZh': bz2.open,
    b'\xfd7zXZ\0': lzma.open,
}
# What the readers of compressed files raise when they are cut off or damaged (BadGzipFile is an OSError).
_DAMAGE = (EOFError, OSError, zlib.error, lzma.LZMAError, tarfile.TarError, ValueError)
# One pattern for the common case; `_broken_rule` says what is wrong with a name that does not match.
_GOOD_NAME = re.compile(r'(?!\./|\.\./|/)(?:(?!\.{1,2}/)[^/\\:\x00-\x1f\x7f\ud800-\udfff]+/)*'
                        r'(?!\.{1,2}$)[^/\\:\x00-\x1f\x7f\ud800-\udfff]+')  # fmt: skip
CACHE_FORMAT = 1


class UnsafeArchiveError(InputError):
    """An archive that could do harm; the message names archive, member and rule."""


@dataclass(frozen=True)
class ArchiveListing:
    """Images of an archive.

    Attributes:
        names: Names of the images, in the order of the archive, with ``/`` and without ``./`` in front.
        problem: What is wrong with the archive, in words; empty if nothing. The names are those that can be
            read in spite of it.
    """

    names: tuple[str, ...]
    problem: str = ''


def list_images(path: Path) -> ArchiveListing:
    """List the images of an archive.

    Args:
        path: A tar archive, plain or compressed with gzip, bzip2 or xz, whatever its suffix says.

    Returns:
        The images; hidden files and other kinds of files are not among them.

    Raises:
        FileNotFoundError: If there is no such file.
        UnsafeArchiveError: If it is refused.
        InputError: If it is not a tar archive, or damaged before the first image.
    """
    with _open(path) as archive:
        names = tuple(name for name, _ in archive.images())
    if archive.problem and not names:
        raise InputError(f'archive {str(path)!r}: no image can be read ({archive.problem})')
    return ArchiveListing(names, archive.problem)


def unpack_images(path: Path, folder: Path) -> ArchiveListing:
    """Unpack the images of an archive.

    Args:
        path: A tar archive; see :func:`list_images`.
        folder: Where the images go, under their names. It must not exist or be empty. It ends complete, or
            as it was.

    Returns:
        What was unpacked: the same as :func:`list_images`.

    Raises:
        FileNotFoundError: If there is no such file.
        UnsafeArchiveError: If it is refused.
        InputError: If it is not a tar archive, is damaged before the first image, or ``folder`` is not empty.
        OSError: If the disk is full or ``folder`` cannot be written.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f'folder={str(folder)!r}: must not exist or be empty, the archive would mix with it')
    folder.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f'.{folder.name}.', dir=folder.parent))
    try:
        names = []
        with _open(path) as archive:
            for name, data in archive.images(scratch):
                _write(scratch / name, data, path, name)
                names.append(name)
        if archive.problem and not names:
            raise InputError(f'archive {str(path)!r}: no image can be read ({archive.problem})')
        if folder.is_dir():
            folder.rmdir()
        scratch.chmod(0o755)
        scratch.rename(folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return ArchiveListing(tuple(names), archive.problem)


def list_images_cached(path: Path, cache_dir: Path | None) -> ArchiveListing:
    """List the images of an archive, from a file that an earlier listing left where it can be.

    Args:
        path: A tar archive; see :func:`list_images`.
        cache_dir: Folder of the listings; None reads the archive. A listing is used as long as path, size
            and time of change of the archive are the same. One that is damaged is not used.

    Returns:
        The images.

    Raises:
        FileNotFoundError: If there is no such file.
        UnsafeArchiveError: If it is refused.
        InputError: If it is not a tar archive, or damaged before the first image.
    """
    if cache_dir is None:
        return list_images(path)
    state = path.stat()
    place = str(path.resolve())
    stamp = [CACHE_FORMAT, place, state.st_size, state.st_mtime_ns]
    digest = hashlib.sha256(os.fsencode(place)).hexdigest()[:24]
    cache = cache_dir / f'{digest}.json'
    listing = _read_cache(cache, stamp)
    if listing is None:
        listing = list_images(path)
        text = json.dumps({'archive': stamp, 'problem': listing.problem, 'names': listing.names})
        write_text(cache, text)
    return listing


def _read_cache(cache: Path, stamp: list[Any]) -> ArchiveListing | None:
    """A listing that was kept; None if there is none that holds."""
    try:
        data = json.loads(cache.read_text(encoding='utf-8'))
        if data['archive'] != stamp:
            return None
        names, problem = data['names'], data['problem']
        if isinstance(names, list) and all(map(_GOOD_NAME.fullmatch, names)) and isinstance(problem, str):
            return ArchiveListing(tuple(names), problem)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        pass
    return None


class _Stream:
    """Bytes of an archive; refuses what :mod:`tarfile` would read into memory at once.

    Attributes:
        block: The last header that was asked for: shorter, if the archive ends there.
    """

    def __init__(self, stream: BinaryIO, path: Path) -> None:
        self.block = b''
        self._stream = stream
        self._path = path

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= MAX_HEADER_BYTES:
            raise UnsafeArchiveError(f'archive {str(self._path)!r} is refused: a header of {size} bytes')
        data = self._stream.read(size)
        if size == tarfile.BLOCKSIZE:
            self.block = data
        return data

    def seek(self, offset: int) -> int:
        return self._stream.seek(offset)

    def tell(self) -> int:
        return self._stream.tell()


class _Archive:
    """One pass over the members of an archive."""

    def __init__(self, path: Path, stream: _Stream, size: int, *, compressed: bool) -> None:
        self.path = path
        self.problem = ''
        self._stream = stream
        self._tar = tarfile.open(fileobj=cast(IO[bytes], stream), mode='r:')  # noqa: SIM115
        self._size = size
        self._compressed = compressed

    def images(self, folder: Path | None = None) -> Iterator[tuple[str, list[bytes]]]:
        """List the images up to the first damage.

        Args:
            folder: Where they are going to be unpacked; None reads no data that need not be read.

        Yields:
            Name and chunks of data of each image, once it is known to be whole.
        """
        seen: dict[str, bool] = {}
        total = 0
        for count, member in enumerate(self._members(), 1):
            name = self._check(member, seen)
            total += max(member.size, 0)
            self._check_totals(member, count, total)
            if not member.isreg() or not _is_image(name):
                continue
            if folder and (rule := _filtered(member, folder)):
                raise self._refuse(member.name, rule)
            data = self._data(member, folder is not None)
            if data is None:
                return
            yield name, data

    def _members(self) -> Iterator[tarfile.TarInfo]:
        while True:
            try:
                member = self._tar.next()
            except UnsafeArchiveError:
                raise
            except RecursionError as error:
                raise self._refuse('', 'too many headers for one member') from error
            except _DAMAGE as error:
                self.problem = f'damaged or cut off: {error}'
                return
            # The list that tarfile keeps would grow with the archive.
            self._tar.members = []  # type: ignore[attr-defined]
            if member is None:
                self._check_end()
                return
            yield member

    def _data(self, member: tarfile.TarInfo, read: bool) -> list[bytes] | None:
        """Chunks of a member; None if it is not whole."""
        start, end = member.offset_data, member.offset_data + member.size
        if not self._compressed and end > self._size:
            self.problem = f'cut off in {member.name!r}'
            return None
        if not self._compressed and not read:
            return []
        # At most MAX_IMAGE_BYTES. Listings read compressed data, too: only then is it known to be whole.
        chunks: list[bytes] = []
        try:
            self._stream.seek(start)
            while start < end:
                chunk = self._stream.read(min(end - start, _CHUNK))
                if not chunk:
                    raise EOFError('end of file')
                chunks.append(chunk)
                start += len(chunk)
        except _DAMAGE as error:
            self.problem = f'damaged or cut off in {member.name!r}: {error}'
            return None
        return chunks

    def _check(self, member: tarfile.TarInfo, seen: dict[str, bool]) -> str:
        """Name of a member without ``./`` in front.

        Args:
            member: A member.
            seen: Names so far -> whether it is a file; the name is added.

        Raises:
            UnsafeArchiveError: If it breaks a rule.
        """
        if rule := _broken_rule(member):
            raise self._refuse(member.name, rule)
        name = _plain_name(member.name)
        if not name:
            return name
        is_file = not member.isdir()
        if name in seen and (is_file or seen[name]):
            raise self._refuse(member.name, 'two members have this name')
        seen[name] = is_file
        parent = name.rpartition('/')[0]
        while parent and parent not in seen:
            seen[parent] = False
            parent = parent.rpartition('/')[0]
        if parent and seen[parent]:
            raise self._refuse(member.name, f'{parent!r} is a file and a folder')
        return name

    def _check_totals(self, member: tarfile.TarInfo, count: int, total: int) -> None:
        if count > MAX_MEMBERS:
            raise self._refuse(member.name, f'more than {MAX_MEMBERS} members')
        if total > MAX_TOTAL_BYTES:
            raise self._refuse(member.name, f'the members add up to more than {MAX_TOTAL_BYTES} bytes')
        if total > max(RATIO_FREE_BYTES, MAX_RATIO * self._size):
            raise self._refuse(
                member.name, f'the members add up to more than {MAX_RATIO} times the size of the archive'
            )

    def _refuse(self, member: str, rule: str) -> UnsafeArchiveError:
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
            # Compressed streams keep their checksum at the end; what else follows is of no interest.
            try:
                for _ in range(RATIO_FREE_BYTES // _CHUNK):
                    if not self._stream.read(_CHUNK):
                        return
            except _DAMAGE as error:
                self.problem = f'damaged: {error}'


@contextmanager
def _open(path: Path) -> Iterator[_Archive]:
    """Open an archive; InputError if it is none."""
    if not path.is_file():
        raise FileNotFoundError(f'archive {str(path)!r} is missing')
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
    """Rule that a member breaks, in words; empty if it is harmless."""
    name = member.name
    if not (member.isreg() or member.isdir()):
        return 'a link, a device or another special file'
    if member.issparse():
        return 'a sparse file'
    if member.size < 0 or (member.size > MAX_IMAGE_BYTES and _is_image(name)):
        return f'an image of {member.size} bytes; the limit is {MAX_IMAGE_BYTES}'
    if name.startswith(('/', '\\')):
        return 'an absolute path'
    if re.match(r'[A-Za-z]:', name):
        return 'a path with a drive letter'
    if '\\' in name:
        return 'a backslash in the name'
    if '..' in name.split('/'):
        return '".." in the path'
    if (plain := _plain_name(name)) and not _GOOD_NAME.fullmatch(plain):
        return 'a character in the name that file systems do not share'
    return _too_long(name)


def _too_long(name: str) -> str:
    encoded = os.fsencode(name)
    if len(encoded) > MAX_NAME_BYTES or max(map(len, encoded.split(b'/'))) > MAX_PART_BYTES:
        return f'a name of more than {MAX_NAME_BYTES} bytes, or {MAX_PART_BYTES} in one part'
    return ''


def _filtered(member: tarfile.TarInfo, folder: Path) -> str:
    """What Python's own filter for data says, in case it knows more; early patch releases do not have it."""
    if not hasattr(tarfile, 'data_filter'):
        return ''
    try:
        tarfile.data_filter(member, str(folder))
    except tarfile.FilterError as error:
        return str(error)
    return ''


def _plain_name(name: str) -> str:
    plain = posixpath.normpath(name)
    return '' if plain == '.' else plain


def _is_image(name: str) -> bool:
    parts = [part for part in name.split('/') if part not in ('', '.')]
    return name.lower().endswith(IMAGE_SUFFIXES) and not any(map(is_system_file, parts))


def _write(target: Path, data: list[bytes], path: Path, name: str) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open('xb') as file:
            file.writelines(data)
    except (FileExistsError, NotADirectoryError) as error:
        # Only where the file system takes two names for one, e.g. because it ignores case.
        raise UnsafeArchiveError(
            f'archive {str(path)!r} is refused at member {name!r}: two members have this name here'
        ) from error
