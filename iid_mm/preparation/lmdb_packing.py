# SPDX-License-Identifier: Apache-2.0
"""Pack the images of a prepared set into one LMDB database.

Keys are the paths of the index (UTF-8), values the bytes of the files, in the order of the keys. One more
key, ``NOTE_KEY``, says what was packed. The database grows in a temporary folder beside its destination and
is moved there when it is complete.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from iid_mm.datasets.index import read_index, resolve_inside
from iid_mm.datasets.storage import DATABASE_NAME, NOTE_KEY, whole_size
from iid_mm.errors import InputError, MissingExtraError
from iid_mm.utils.files import read_limited, reason_of, sha256
from iid_mm.utils.run_lock import RunLock

Reader = Callable[[Sequence[bytes]], Iterable[bytes]]
"""From keys to the contents of their files."""

BATCH = 256
"""Images of one transaction: as many may have to be packed again after a kill."""
MIN_MAP_SIZE = 2**30
MAX_KEY_BYTES = 511
# Room beside the images for pages that are rewritten with each transaction.
_SPARE_BYTES = 2**24
_FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True)
class PackResult:
    """A packed database.

    Attributes:
        path: Its folder.
        images: Number of images and masks.
        size: Bytes of the file.
        packed: How many of the images were packed by this run.
    """

    path: Path
    images: int
    size: int
    packed: int


def pack_index(
    index: Path,
    out: Path | None = None,
    *,
    compare: bool = False,
    overwrite: bool = False,
    num_threads: int = 8,
    progress: bool = True,
) -> PackResult:
    """Pack all images, genuine counterparts and masks that an index lists.

    After a kill, the next call goes on after the last transaction. An existing database of the same index is
    only checked.

    Args:
        index: The index, or its folder.
        out: Folder of the database; None: ``images.lmdb`` beside the index.
        compare: At the end, compare every byte of the database with the files.
        overwrite: Replace a database of another set.
        num_threads: Files read at a time.
        progress: Show a progress bar.

    Raises:
        MissingExtraError: lmdb is not installed.
        FileNotFoundError: The index or an image is missing.
        InputError: A file cannot be read, a path is too long for a key, ``out`` is taken, another process is
            packing, the disk is full, or the content of the database is wrong.
    """
    try:
        import lmdb  # noqa: F401
    except ImportError as error:
        raise MissingExtraError.of('lmdb', 'lmdb') from error
    if num_threads < 1:
        raise InputError(f'num_threads={num_threads}: at least one thread reads files')
    index = index / 'index.parquet' if index.is_dir() else index
    names = stored_names(index)
    out = out or index.parent / DATABASE_NAME
    # The database lies where a link points to.
    out = out.resolve() if out.is_symlink() else out
    note = json.dumps({'index_sha256': sha256(index), 'images': len(names), 'version': 1}).encode()
    bar = partial(_bar, len(names), progress)
    with ThreadPoolExecutor(num_threads) as pool:
        read = partial(pool.map, partial(_read_file, index))
        if _note_of(out) == note:
            _verify(out, names, read if compare else None, bar)
            return PackResult(out, len(names), (out / 'data.mdb').stat().st_size, packed=0)
        _check_replaceable(out, overwrite)
        part = out.with_name(f'{out.name}.part')
        with _locked(part):
            packed = _fill(part, names, note, read, bar)
            _verify(part, names, read if compare else None, bar)
            _check_replaceable(out, overwrite)
            if out.is_dir():
                shutil.rmtree(out)
            os.replace(part, out)
    (out / 'lock').unlink(missing_ok=True)
    return PackResult(out, len(names), (out / 'data.mdb').stat().st_size, packed)


def stored_names(index: Path) -> list[bytes]:
    """Keys of all images, genuine counterparts and masks of an index, in order, each once.

    Raises:
        FileNotFoundError: There is no such index.
        InputError: It is invalid, or a path is too long for a key.
    """
    table = read_index(index, columns=('image', 'source_image', 'mask'))
    found = {name for column in table.columns for name in column.unique().to_pylist() if name is not None}
    if not found:
        raise InputError(f'{index} lists no image; prepare the set again')
    names = sorted(name.encode() for name in found)
    if longest := [name for name in names if len(name) > MAX_KEY_BYTES]:
        raise InputError(
            f'{index}: {longest[0].decode()!r} has {len(longest[0])} bytes, and a key of LMDB holds '
            f'{MAX_KEY_BYTES}; give the videos shorter names'
        )
    return names


def _read_file(index: Path, name: bytes) -> bytes:
    path = resolve_inside(index.parent, name.decode())
    try:
        data = read_limited(path)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f'image {str(path)!r}, which {index} lists, does not exist; prepare the set again '
            '(tools/check_data.py lists all that is missing)'
        ) from error
    except OSError as error:
        raise InputError(f'image {str(path)!r} cannot be read: {reason_of(error)}') from error
    if not data:
        raise InputError(f'image {str(path)!r} is empty; prepare the set again')
    return data


def _fill(part: Path, names: Sequence[bytes], note: bytes, read: Reader, bar: Any) -> int:
    """Pack what is not packed yet; returns the number of images."""
    if _note_of(part) != note:
        # There is none yet, or the index has changed since.
        (part / 'data.mdb').unlink(missing_ok=True)
    with _environment(part, write=True) as environment:
        _put(environment, part, [(NOTE_KEY.encode(), note)], 'nothing is packed yet')
        done: int = environment.stat()['entries'] - 1
        with bar(desc='packing', initial=done) as shown:
            for start in range(done, len(names), BATCH):
                batch = names[start : start + BATCH]
                items = list(zip(batch, read(batch), strict=True))
                _put(environment, part, items, f'{start} of {len(names)} images are packed')
                shown.update(len(batch))
    return len(names) - done


def _put(environment: Any, part: Path, items: Sequence[tuple[bytes, bytes]], state: str) -> None:
    """Add items in one transaction; the map grows as needed."""
    import lmdb

    full = (
        f'the disk of {str(part)!r} is full; {state}. Free some space and start again, which goes on from '
        'there, or pack elsewhere with --out'
    )
    needed = sum(len(value) for _, value in items) + _SPARE_BYTES
    if shutil.disk_usage(part).free < needed:
        raise InputError(full)
    while True:
        try:
            with environment.begin(write=True) as transaction:
                for key, value in items:
                    transaction.put(key, value)
            return
        except lmdb.MapFullError:
            environment.set_mapsize(2 * environment.info()['map_size'])
        except lmdb.Error as error:
            # LMDB reports an incomplete write as an input/output error.
            is_full = any(os.strerror(number) in str(error) for number in _FULL)
            if is_full or shutil.disk_usage(part).free < needed:
                raise InputError(full) from error
            raise InputError(f'{str(part)!r} cannot be written: {error}; {state}') from error


def _verify(path: Path, names: Sequence[bytes], read: Reader | None, bar: Any) -> None:
    """Check that a database has all keys and no others; with ``read`` also the bytes of all values."""
    with _environment(path) as environment, environment.begin(buffers=True) as transaction:
        found = [bytes(key) for key in transaction.cursor().iternext(values=False)]
        expected = [NOTE_KEY.encode(), *names]
        if found != expected:
            wrong = min(set(found) ^ set(expected))
            what = 'is missing' if wrong in names else 'should not be there'
            raise InputError(_broken(path, f'{wrong.decode(errors="replace")!r} {what}'))
        if read is None:
            return
        with bar(desc='comparing') as shown:
            for start in range(0, len(names), BATCH):
                batch = names[start : start + BATCH]
                for name, data in zip(batch, read(batch), strict=True):
                    if transaction.get(name) != data:
                        raise InputError(_broken(path, f'{name.decode()!r} differs from its file'))
                shown.update(len(batch))


def _broken(path: Path, what: str) -> str:
    return f'LMDB {str(path)!r} differs from its index: {what}; delete the folder and pack again'


@contextmanager
def _environment(path: Path, write: bool = False) -> Iterator[Any]:
    """Open a database; without locks, which fail on network file systems."""
    import lmdb

    size = (path / 'data.mdb').stat().st_size if (path / 'data.mdb').is_file() else 0
    map_size = MIN_MAP_SIZE
    while map_size < size + _SPARE_BYTES:
        map_size *= 2
    try:
        environment = lmdb.open(str(path), map_size=map_size, lock=False, readonly=not write, create=write)
    except lmdb.Error as error:
        raise InputError(
            f'LMDB {str(path)!r} cannot be opened: {error}; if it is damaged, delete the folder and pack '
            'again'
        ) from error
    try:
        if 0 < size < whole_size(environment):
            raise InputError(_broken(path, 'the file is truncated'))
        yield environment
    finally:
        environment.close()


def _note_of(path: Path) -> bytes | None:
    """The note of the database in a folder; None: there is no database, or it has none."""
    if not (path / 'data.mdb').is_file():
        return None
    with _environment(path) as environment, environment.begin() as transaction:
        note: bytes | None = transaction.get(NOTE_KEY.encode())
    return note


def _check_replaceable(out: Path, overwrite: bool) -> None:
    if not os.path.lexists(out):
        return
    there = {entry.name for entry in out.iterdir()} if out.is_dir() else {'a file'}
    if not there <= {'data.mdb', 'lock.mdb', 'lock'}:
        raise InputError(f'--out {str(out)!r} exists and is no LMDB database; name another place')
    if there and not overwrite:
        raise InputError(
            f'{str(out)!r} holds the images of another index, or of an older state of this one; replace it '
            'with --overwrite, or name another place with --out'
        )


@contextmanager
def _locked(part: Path) -> Iterator[None]:
    """Make a folder and keep a second process from packing into it."""
    try:
        part.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f'{str(part)!r} cannot be made: {reason_of(error)}; name another place with --out'
        ) from error
    with RunLock(part / 'lock') as lock:
        try:
            is_free = lock.acquire()
        except OSError:
            # Some network file systems have no locks.
            is_free = True
        if not is_free:
            raise InputError(f'another process is packing into {str(part)!r}; wait for it')
        yield


def _bar(total: int, show: bool, **options: Any) -> Any:
    # A log file is not a terminal: a line every half minute is enough there.
    interval = 0.2 if sys.stderr.isatty() else 30.0
    return tqdm(total=total, unit='image', disable=not show, mininterval=interval, **options)
