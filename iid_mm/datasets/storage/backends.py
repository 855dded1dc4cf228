# SPDX-License-Identifier: Apache-2.0
"""MMEngine's LMDB and HTTP backends, made safe for the workers of a data loader."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from mmengine.fileio import BaseStorageBackend, HTTPBackend, LmdbBackend

from iid_mm.errors import InputError, MissingExtraError
from iid_mm.utils.files import MAX_SMALL

# LMDB refuses to open a database twice in one process, and an open one must not be carried into a child.
_ENVIRONMENTS: dict[str, Any] = {}


class LmdbReader(BaseStorageBackend):
    """Reads an LMDB database; takes the place of MMEngine's ``lmdb``, whose arguments it has.

    All readers of a process share one environment, which is opened at the first read. A process that forks
    closes it first, so that no child inherits it. Nothing is locked and nothing written: any number of
    processes on any number of machines may read one database.

    Args:
        db_path: Folder of the database, or its single file.
        readonly: Must be True.
        lock: Must be False: locks fail on network file systems, and readers need none.
        readahead: Let the system read ahead; only good where samples are read in the order of their keys.
        **kwargs: Further arguments of ``lmdb.open``.

    Raises:
        MissingExtraError: lmdb is not installed.
        InputError: The database is to be written to, or does not exist.
    """

    def __init__(
        self,
        db_path: str | os.PathLike[str],
        readonly: bool = True,
        lock: bool = False,
        readahead: bool = False,
        **kwargs: Any,
    ) -> None:
        if find_spec('lmdb') is None:
            raise MissingExtraError.of('lmdb', 'lmdb')
        if not readonly or lock:
            raise InputError(f'readonly={readonly}, lock={lock}: datasets only read; leave both out')
        path = Path(db_path)
        if not path.exists():
            raise InputError(f'db_path {str(path)!r} does not exist')
        if path.is_dir() and not (path / 'data.mdb').is_file():
            raise InputError(f'db_path {str(path)!r} is a folder without a data.mdb, so no LMDB database')
        if path.name == 'data.mdb':
            # The same database must not be opened under two names.
            path = path.parent
        self.db_path = os.path.realpath(path)
        self._options = dict(subdir=path.is_dir(), readahead=readahead, **kwargs)

    def get(self, filepath: str | os.PathLike[str]) -> bytes | None:
        """Read the value of a key; None: there is no such key."""
        environment = _ENVIRONMENTS.get(self.db_path)
        if environment is None:
            environment = _ENVIRONMENTS[self.db_path] = self._open()
        with environment.begin() as transaction:
            value: bytes | None = transaction.get(os.fspath(filepath).encode())
        return value

    def get_text(self, filepath: str | os.PathLike[str], encoding: str = 'utf-8') -> str | None:
        """Read a text; None: there is no such key."""
        value = self.get(filepath)
        return None if value is None else value.decode(encoding)

    def _open(self) -> Any:
        import lmdb

        file = os.path.join(self.db_path, 'data.mdb') if self._options['subdir'] else self.db_path
        if not os.path.isfile(file):
            raise InputError(f'{file} is not a regular file')
        environment = lmdb.open(self.db_path, readonly=True, lock=False, **self._options)
        needed = (environment.info()['last_pgno'] + 1) * environment.stat()['psize']
        if (size := os.path.getsize(file)) < needed:
            environment.close()
            # Reading behind the end would kill the process.
            raise InputError(f'{file} has {size} of {needed} bytes: it is truncated; copy it anew')
        return environment


def close_environments() -> None:
    """Close all databases of this process; the next read opens them again."""
    while _ENVIRONMENTS:
        _ENVIRONMENTS.popitem()[1].close()


os.register_at_fork(before=close_environments)


class TimedHTTPBackend(HTTPBackend):
    """MMEngine's ``http``, which would wait for a silent host without end.

    Args:
        timeout: Seconds without an answer after which a read fails.
    """

    def __init__(self, timeout: float = 30.0) -> None:
        if not timeout > 0:
            raise InputError(f'timeout={timeout!r}: give seconds, more than 0')
        self.timeout = timeout

    def get(self, filepath: str) -> bytes:
        """Read what is at an address."""
        with urlopen(filepath, timeout=self.timeout) as response:
            data: bytes = response.read(MAX_SMALL + 1)
        if len(data) > MAX_SMALL:
            raise InputError(f'the answer has more than {MAX_SMALL} bytes, which is too much for an image')
        return data


REPLACEMENTS: dict[type, type] = {LmdbBackend: LmdbReader, HTTPBackend: TimedHTTPBackend}
"""What is used in place of classes of MMEngine; classes that others register stay."""
