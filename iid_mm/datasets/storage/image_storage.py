# SPDX-License-Identifier: Apache-2.0
"""The meaning of ``backend_args``: which backend an image is read with, and under which key."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from mmengine.fileio import LocalBackend
from mmengine.fileio.backends import backends, prefix_to_backends

from iid_mm.datasets.storage import NOTE_KEY
from iid_mm.datasets.storage.backends import REPLACEMENTS, LmdbReader, TimedHTTPBackend, close_environments
from iid_mm.errors import InputError, MissingExtraError
from iid_mm.utils.files import sha256

PACKING_TOOL = 'tools/dataset_tools/pack_lmdb.py'
_PLACEHOLDERS = ('{root}', '{name}')
# Further values may be secrets.
_SHOWN = ('backend', 'db_path', 'prefix', 'timeout')


class ImageStorage:
    """Reads the images of one index through a backend of MMEngine.

    The key of an image is its path in the index, after ``prefix`` and a ``/`` where there is a prefix; for
    HTTP it is percent-encoded. The backend is built at the first read of a process: copies, e.g. those in
    worker processes, do not share connections.

    Args:
        backend_args: ``backend`` is a name that MMEngine knows (``lmdb``, ``http``, ``petrel``, ``local``, or
            what :func:`mmengine.fileio.register_backend` was given) and may be left out if ``prefix`` is a
            URL or a folder; ``prefix`` stands before the path; the others go to the backend. In all texts
            ``{root}`` is the folder of the index and ``{name}`` the name of that folder.
        root: Folder of the index, to which keys are relative; None takes paths as they are.

    Raises:
        InputError: The backend is unknown, or HTTP has no prefix.
    """

    def __init__(self, backend_args: Mapping[str, Any], root: str | None = None) -> None:
        if not isinstance(backend_args, Mapping):
            raise InputError(
                f"backend_args={backend_args!r}: give a dictionary, e.g. dict(backend='lmdb', db_path=...)"
            )
        self.backend_args = dict(backend_args)
        self.root = root
        filled = {key: _fill(value, root) for key, value in self.backend_args.items()}
        prefix = filled.pop('prefix', None)
        self.prefix = None if prefix is None else str(prefix).rstrip('/')
        self._class = self._find_class(filled.pop('backend', None))
        if self.prefix is None and root is not None and issubclass(self._class, LocalBackend):
            self.prefix = root or '.'
        self._arguments = filled
        self._backend: Any = None
        self._process = -1

    def _find_class(self, name: Any) -> type:
        scheme = (self.prefix or '').rpartition('://')[0].rpartition(':')[2]
        if name is None and not self.prefix:
            raise InputError(f'backend_args={self}: give a backend, or a prefix such as https://host/folder')
        known = prefix_to_backends if name is None else backends
        wanted = scheme if name is None else name
        if wanted not in known:
            raise InputError(
                f'backend_args={self}: there is no backend {wanted!r}; choose from '
                f'{", ".join(sorted(backends))}, or register it with mmengine.fileio.register_backend in a '
                'module that custom_imports of the config names'
            )
        found: type = REPLACEMENTS.get(known[wanted], known[wanted])
        if issubclass(found, TimedHTTPBackend) and scheme not in ('http', 'https'):
            raise InputError(f"backend_args={self}: http needs prefix='https://host/folder-of-the-index'")
        return found

    def _connect(self) -> Any:
        """The backend of this process."""
        if self._backend is None or self._process != os.getpid():
            try:
                self._backend = self._class(**self._arguments)
            except MissingExtraError:
                raise
            except Exception as error:
                # Clients of object storage raise errors of their own.
                raise InputError(f'backend_args={self}: {_text(error)}{self._remedy()}') from error
            self._process = os.getpid()
        return self._backend

    def key(self, path: str) -> str:
        """Key of an image.

        Args:
            path: Its path below the folder of the index.

        Raises:
            InputError: It lies elsewhere.
        """
        if self.root is not None:
            stem = os.path.join(self.root, '')
            if not path.startswith(stem):
                raise InputError(f'image {path!r} is not below {self.root!r}, so it has no key in {self}')
            path = path[len(stem) :]
        if self.prefix is None:
            return path
        return f'{self.prefix}/{quote(path) if issubclass(self._class, TimedHTTPBackend) else path}'

    def shown_key(self, path: str) -> str:
        """Key of an image for messages, without users and queries of URLs."""
        return _public(self.key(path))

    def read(self, path: str) -> bytes:
        """Read a file of the set.

        Args:
            path: Its path below the folder of the index.

        Raises:
            InputError: It is not there, the storage cannot be reached, or does not take its arguments.
            MissingExtraError: lmdb is needed and not installed.
        """
        key, backend = self.key(path), self._connect()
        try:
            data = backend.get(key)
        except Exception as error:
            # Clients of object storage raise errors of their own.
            raise InputError(
                f'backend_args={self}: {self.shown_key(path)!r} cannot be read: {_text(error)}'
                f'{self._remedy()}'
            ) from error
        if data is None:
            raise InputError(f'backend_args={self}: there is no {self.shown_key(path)!r}{self._remedy()}')
        return data if isinstance(data, bytes) else bytes(data)

    def is_packed_from(self, index: str | os.PathLike[str]) -> bool | None:
        """Whether an LMDB database says that it was packed from this index; None: it says nothing."""
        note = self._connect().get(NOTE_KEY) if issubclass(self._class, LmdbReader) else None
        if note is None:
            return None
        try:
            return bool(json.loads(note)['index_sha256'] == sha256(index))
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise InputError(
                f'backend_args={self}: what the database says of itself is no JSON with index_sha256 '
                f'({_text(error)}){self._remedy()}'
            ) from error

    def close(self) -> None:
        """Let go of connections, before processes are forked; the next read makes new ones."""
        self._backend = None
        if issubclass(self._class, LmdbReader):
            close_environments()

    def _remedy(self) -> str:
        if issubclass(self._class, LmdbReader):
            return f'; pack the set with {PACKING_TOOL}, or name the LMDB database of this set'
        return '; check the values of backend_args: an image is looked for at <prefix>/<path in the index>'

    def __str__(self) -> str:
        return shown_backend_args(self.backend_args)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, '_backend': None}

    def __deepcopy__(self, memo: dict[int, Any]) -> ImageStorage:
        return self


def make_storages(
    backend_args: Mapping[str, Any] | Sequence[Mapping[str, Any] | None] | None, indices: Sequence[str]
) -> list[ImageStorage | None]:
    """Make the storages of the indices of a dataset.

    Args:
        backend_args: Of all indices, or a list with those of each; None: files.
        indices: Paths of the indices.

    Returns:
        One for each index; None: files.

    Raises:
        InputError: There are not as many as indices, one place is named for several folders, or they are bad.
    """
    roots = [os.path.dirname(index) for index in indices]
    if backend_args is None:
        return [None] * len(indices)
    if isinstance(backend_args, Mapping):
        if not is_rule(backend_args) and len({os.path.realpath(root) for root in roots}) > 1:
            raise InputError(
                f'backend_args={shown_backend_args(backend_args)} name one place for several sets; '
                "write {root} for the folder of an index (db_path='{root}/images.lmdb') or {name} for the "
                "name of that folder (prefix='https://host/{name}'), or give a list with one dictionary for "
                'each ann_file'
            )
        return [ImageStorage(backend_args, root) for root in roots]
    if isinstance(backend_args, str) or len(backend_args) != len(indices):
        raise InputError(
            f'backend_args: give a dictionary, or a list with one for each of the {len(indices)} ann_files '
            '(None: files)'
        )
    return [
        None if args is None else ImageStorage(args, root)
        for args, root in zip(backend_args, roots, strict=True)
    ]


def shared_backend_args(own: Any, transforms: Sequence[Any]) -> Any:
    """Find the ``backend_args`` of a dataset: its own, or those of its loaders, as elsewhere in OpenMMLab.

    Args:
        own: Those of the dataset, or None.
        transforms: Its pipeline, built or as configs.

    Raises:
        InputError: They differ.
    """
    given = [own, *(_of_step(step) for step in transforms)]
    given = [args for args in given if args is not None]
    if any(args != given[0] for args in given):
        raise InputError(
            'backend_args of the dataset and of the loaders in its pipeline differ; give them to the data '
            'set only, whose loaders follow it'
        )
    return given[0] if given else None


def _of_step(step: Any) -> Any:
    return step.get('backend_args') if isinstance(step, Mapping) else getattr(step, 'backend_args', None)


def is_rule(backend_args: Any) -> bool:
    """Whether ``backend_args`` hold for any set, since they name its folder by a placeholder."""
    if not isinstance(backend_args, Mapping):
        return False
    texts = [value for value in backend_args.values() if isinstance(value, str)]
    return any(mark in text for text in texts for mark in _PLACEHOLDERS)


def backend_args_for(dataset: Mapping[str, Any], indices: Sequence[str | os.PathLike[str]]) -> Any:
    """Choose the ``backend_args`` for a dataset of a config that is to read other indices.

    Args:
        dataset: Config of the dataset.
        indices: The indices.

    Returns:
        Those of the config if they hold for any set or the indices are the config's own, else None: files.
    """
    given = shared_backend_args(dataset.get('backend_args'), dataset.get('pipeline') or ())
    if given is None or is_rule(given):
        return given
    files = dataset['ann_file']
    files = [files] if isinstance(files, (str, os.PathLike)) else list(files)
    own = [os.path.realpath(os.path.join(dataset.get('data_root') or '', file)) for file in files]
    wanted = [os.path.realpath(index) for index in indices]
    if not set(wanted) <= set(own):
        return None
    return given if isinstance(given, Mapping) else [given[own.index(index)] for index in wanted]


def storage_settings_for(
    dataset: Mapping[str, Any], indices: Sequence[str | os.PathLike[str]]
) -> dict[str, Any]:
    """Settings with which a dataset of a config reads other indices than its own.

    Args:
        dataset: Config of the dataset; it stays as it is.
        indices: The indices.

    Returns:
        ``backend_args``, see :func:`backend_args_for`, and a ``pipeline`` whose loaders follow them.
    """
    return {
        'backend_args': backend_args_for(dataset, indices),
        'pipeline': without_backend_args(dataset.get('pipeline') or ()),
    }


def without_backend_args(pipeline: Sequence[Any]) -> list[Any]:
    """Configs of a pipeline whose loaders follow their dataset.

    Args:
        pipeline: The configs; they stay as they are.

    Returns:
        Copies without ``backend_args``.
    """
    steps = [copy.deepcopy(step) for step in pipeline]
    for step in steps:
        if isinstance(step, dict):
            step.pop('backend_args', None)
    return steps


def shown_backend_args(backend_args: Mapping[str, Any]) -> str:
    """Write ``backend_args`` without what may be secret: unknown values, and users and queries of URLs."""
    shown = {key: value if key in _SHOWN else '...' for key, value in backend_args.items()}
    if isinstance(prefix := shown.get('prefix'), str):
        shown['prefix'] = _public(prefix)
    return str(shown)


def _public(place: str) -> str:
    """A URL without user, password and query; other texts stay."""
    if '://' not in place:
        return place
    head, query, _ = place.partition('?')
    scheme, _, rest = head.partition('://')
    host, slash, path = rest.partition('/')
    return f'{scheme}://{host.rpartition("@")[2]}{slash}{path}{"?..." if query else ""}'


def _fill(value: Any, root: str | None) -> Any:
    if not isinstance(value, str) or root is None:
        return value
    return value.replace('{root}', root or '.').replace('{name}', Path(root).resolve().name)


def _text(error: Exception) -> str:
    """An error in one line."""
    text = ' '.join(str(error).split())
    return text if isinstance(error, InputError) else f'{type(error).__name__}: {text}'
