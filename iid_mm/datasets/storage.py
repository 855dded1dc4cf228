# SPDX-License-Identifier: Apache-2.0
"""Reading stored crops and masks, from files or from one LMDB database for each index."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from iid_mm.errors import InputError, MissingExtraError
from iid_mm.utils.files import read_limited, reason_of, sha256
from iid_mm.utils.typing import ImageArray

PACKING_TOOL = 'tools/dataset_tools/pack_lmdb.py'
DATABASE_NAME = 'images.lmdb'
"""Folder of the database that the tool makes beside an index."""
NOTE_KEY = '\0iid_mm'
"""Key under which a database says what it was packed from (JSON); no path of an index can have this name."""

BackendArgs = Mapping[str, Any]

_PLACEHOLDERS = ('{root}', '{name}')
# LMDB refuses to open a database twice in one process, and an open one must not be carried into a child.
_OPEN: dict[str, Any] = {}
# What a whole file ends with. OpenCV decodes the rest of a cut PNG or JPEG file without an error.
_TAILS = {b'\x89PNG': b'IEND', b'\xff\xd8\xff': b'\xff\xd9'}


class LmdbStorage:
    """Images of one index in an LMDB database. The key of an image is its path in the index.

    All storages of a process share one environment for each database. It is opened at the first read, and
    closed before the process forks, so that no child inherits it. Nothing is locked and nothing written: any
    number of processes on any number of machines may read one database.

    Args:
        backend_args: ``backend='lmdb'``, and optional:

            * ``db_path``: folder of the database, or its single file; ``{root}`` stands for the folder of the
              index and ``{name}`` for the name of that folder. Default: ``{root}/images.lmdb``.
            * ``readahead``: let the system read ahead (default: no); only good where samples are read in the
              order of their keys.
            * further arguments of ``lmdb.open``.
        root: Folder of the index.

    Raises:
        MissingExtraError: lmdb is not installed.
        InputError: ``backend_args`` are of another backend or ask to write, or there is no database.
    """

    def __init__(self, backend_args: BackendArgs, root: str) -> None:
        if not isinstance(backend_args, Mapping) or backend_args.get('backend') != 'lmdb':
            raise InputError(
                f"backend_args={backend_args!r}: give dict(backend='lmdb', db_path=...), or None for files"
            )
        if find_spec('lmdb') is None:
            raise MissingExtraError.of('lmdb', 'lmdb')
        self.backend_args = dict(backend_args)
        self.root = root
        options = {'db_path': f'{{root}}/{DATABASE_NAME}', 'readahead': False, **backend_args}
        if not options.pop('readonly', True) or options.pop('lock', False):
            raise self._error('datasets only read; leave readonly and lock out')
        text = os.fspath(options.pop('db_path'))
        path = Path(text.replace('{root}', root or '.').replace('{name}', Path(root).resolve().name))
        if path.name == 'data.mdb':
            # The same database must not be opened under two names.
            path = path.parent
        self._file = path / 'data.mdb' if path.is_dir() else path
        if not self._file.is_file():
            raise self._error(f'db_path {str(path)!r} is neither a folder with a data.mdb nor a database')
        self.path = os.path.realpath(path)
        del options['backend']
        self._options = dict(options, subdir=path.is_dir())

    def read(self, path: str) -> bytes:
        """Read an image.

        Args:
            path: Its path, below the folder of the index.

        Raises:
            InputError: It is not there, or the database cannot be opened.
        """
        key = path.removeprefix(os.path.join(self.root, ''))
        if (data := self._get(key)) is None:
            raise self._error(f'there is no {key!r}')
        return data

    def is_packed_from(self, index: str | os.PathLike[str]) -> bool | None:
        """Whether the database says that it was packed from this index; None: it says nothing."""
        note = self._get(NOTE_KEY)
        if note is None:
            return None
        try:
            return bool(json.loads(note)['index_sha256'] == sha256(index))
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise self._error(
                f'the note of the database on its content is not JSON with index_sha256 ({reason_of(error)})'
            ) from error

    def _get(self, key: str) -> bytes | None:
        if self.path not in _OPEN:
            _OPEN[self.path] = self._open()
        with _OPEN[self.path].begin() as transaction:
            value: bytes | None = transaction.get(key.encode())
        return value

    def _open(self) -> Any:
        import lmdb

        try:
            environment = lmdb.open(self.path, readonly=True, lock=False, **self._options)
        except (lmdb.Error, TypeError) as error:
            raise self._error(reason_of(error)) from error
        if (size := self._file.stat().st_size) < (needed := whole_size(environment)):
            environment.close()
            raise self._error(f'{self._file} has {size} of {needed} bytes: it is truncated; copy it anew')
        return environment

    def _error(self, problem: str) -> InputError:
        return InputError(
            f'backend_args={dict(self.backend_args)}: {problem}; pack the set with {PACKING_TOOL}, or name '
            'the LMDB database of this set'
        )


def whole_size(environment: Any) -> int:
    """Bytes that the file of an open database must have: reading past its end would kill the process."""
    return int((environment.info()['last_pgno'] + 1) * environment.stat()['psize'])


def close_databases() -> None:
    """Close all databases of this process; the next read opens them again."""
    while _OPEN:
        _OPEN.popitem()[1].close()


os.register_at_fork(before=close_databases)


def make_storages(
    backend_args: BackendArgs | Sequence[BackendArgs | None] | None, indices: Sequence[str]
) -> list[LmdbStorage | None]:
    """Make the storages of the indices of a dataset.

    Args:
        backend_args: Of all indices, or a list with those of each; None: files.
        indices: Paths of the indices.

    Returns:
        One for each index; None: files.

    Raises:
        InputError: The list has another length than the indices, one database is named for several folders,
            or a database cannot be used.
        MissingExtraError: lmdb is not installed.
    """
    roots = [os.path.dirname(index) for index in indices]
    if backend_args is None or isinstance(backend_args, Mapping):
        if not _fits_any_index(backend_args) and len({os.path.realpath(root) for root in roots}) > 1:
            raise InputError(
                f'backend_args={backend_args!r} name one database for several sets; write {{root}} for the '
                "folder of an index (db_path='{root}/images.lmdb') or {name} for the name of that folder "
                "(db_path='/scratch/{name}.lmdb'), or give a list with one entry for each ann_file"
            )
        backend_args = [backend_args] * len(indices)
    if isinstance(backend_args, str) or len(backend_args) != len(indices):
        raise InputError(
            f'backend_args={backend_args!r}: give a dictionary, or a list with one for each of the '
            f'{len(indices)} ann_files (None: files)'
        )
    return [
        None if args is None else LmdbStorage(args, root)
        for args, root in zip(backend_args, roots, strict=True)
    ]


def backend_args_for(dataset: Mapping[str, Any], indices: Sequence[str | os.PathLike[str]]) -> Any:
    """Choose the ``backend_args`` for a dataset of a config that is to read other indices.

    Args:
        dataset: Config of the dataset.
        indices: The indices.

    Returns:
        Those of the config if they fit any index or the indices are the config's own, else None: files.
    """
    given = dataset.get('backend_args')
    if _fits_any_index(given):
        return given
    files = dataset['ann_file']
    files = [files] if isinstance(files, (str, os.PathLike)) else list(files)
    own = [os.path.realpath(os.path.join(dataset.get('data_root') or '', file)) for file in files]
    wanted = [os.path.realpath(index) for index in indices]
    if not set(wanted) <= set(own):
        return None
    return [given[own.index(index)] for index in wanted] if isinstance(given, Sequence) else given


def _fits_any_index(backend_args: Any) -> bool:
    """Whether ``backend_args`` read files, or name the database relative to the folder of the index."""
    if not isinstance(backend_args, Mapping):
        return backend_args is None
    place = str(backend_args.get('db_path', '{root}'))
    return any(mark in place for mark in _PLACEHOLDERS)


def read_bytes(path: str, storage: LmdbStorage | None = None) -> bytes:
    """Read the file of a crop, from a storage or (None) from the disk."""
    return read_limited(path) if storage is None else storage.read(path)


def read_crop(
    path: str,
    *,
    kind: str = 'image',
    flags: int = cv2.IMREAD_COLOR,
    remedy: str = 'prepare the set again',
    storage: LmdbStorage | None = None,
) -> ImageArray:
    """Read a stored crop.

    Args:
        path: Its path.
        kind: What messages call it.
        flags: How OpenCV decodes it.
        remedy: What messages advise.
        storage: Database to read it from; None reads files.

    Returns:
        (H, W, 3) uint8 BGR, or (H, W) with ``flags=cv2.IMREAD_GRAYSCALE``.

    Raises:
        FileNotFoundError: If the file is missing.
        InputError: If it cannot be decoded as a whole, or is not in the database.
    """
    try:
        data = read_bytes(path, storage)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f'{kind} {path!r}, which the index lists, does not exist; {remedy}'
        ) from error
    image = None
    if _is_whole(data):
        image = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), flags)
    if image is None:
        place = repr(path) if storage is None else f'{path!r} of LMDB {storage.path!r}'
        raise InputError(
            f'{kind} {place} cannot be decoded ({len(data)} bytes): it is truncated or not an image; '
            f'{remedy} or copy it anew'
        )
    return np.asarray(image, np.uint8)


def _is_whole(data: bytes) -> bool:
    """Whether a PNG or JPEG file has its end; the decoder refuses cut files of other formats itself."""
    if not data:
        return False
    for head, tail in _TAILS.items():
        if data.startswith(head):
            return data.rfind(tail, len(data) // 2) >= 0
    return True
