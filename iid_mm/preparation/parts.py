# SPDX-License-Identifier: Apache-2.0
"""What is finished in a prepared folder, so that a run can go on where another one stopped.

``OUT_DIR/.parts/settings.json`` holds the settings of the folder;
``OUT_DIR/.parts/<group>.parquet`` the rows of a finished group, with its report and the fingerprint
of its input in the notes of the file.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from iid_mm.datasets.index import INDEX_SCHEMA
from iid_mm.errors import InputError
from iid_mm.preparation.group import GroupResult
from iid_mm.preparation.records import VideoGroup
from iid_mm.preparation.settings import Settings
from iid_mm.preparation.storage import write_bytes

_OWN_FILES = ('index.parquet', 'report.json')
_OWN_FOLDERS = ('frames', 'masks', '.parts')
_FINGERPRINT, _REPORT = b'fingerprint', b'report'


class PartStore:
    """The finished groups of a prepared folder.

    Args:
        out_dir: The prepared folder.
        settings: Settings of this run.
    """

    def __init__(self, out_dir: Path, settings: Settings) -> None:
        self.out_dir = out_dir
        self.settings = settings
        self.folder = out_dir / '.parts'

    def open(self, overwrite: bool = False) -> None:
        """Make the folder ready for this run.

        Args:
            overwrite: Delete what an earlier run left there.

        Raises:
            InputError: If the folder holds something else, or was prepared with other settings.
        """
        file = self.folder / 'settings.json'
        remedy = 'give another folder, or --overwrite to delete what was prepared there'
        if self.out_dir.exists() and not self.out_dir.is_dir():
            raise InputError(f'out_dir={str(self.out_dir)!r} is a file; give a folder')
        used = self.out_dir.is_dir() and any(self.out_dir.iterdir())
        if used and not file.is_file():
            raise InputError(
                f'out_dir={str(self.out_dir)!r} is not empty and was not made by prepare_data; '
                'give another folder'
            )
        if used and overwrite:
            self._clear()
        elif used and (changed := self._changes(file.read_text(encoding='utf-8'))):
            raise InputError(
                f'out_dir={str(self.out_dir)!r} was prepared with other settings ({changed}); {remedy}'
            )
        write_bytes((self.settings.to_json() + '\n').encode(), file)

    def _clear(self) -> None:
        for name in _OWN_FILES:
            (self.out_dir / name).unlink(missing_ok=True)
        # `.parts` goes last: a kill in between must not leave a folder that nobody owns.
        for name in _OWN_FOLDERS:
            if (self.out_dir / name).is_dir():
                shutil.rmtree(self.out_dir / name)

    def _changes(self, text: str) -> str:
        try:
            old = json.loads(text)
        except json.JSONDecodeError:
            return 'the record of them is unreadable'
        new = json.loads(self.settings.to_json())
        names = sorted({*old, *new})
        return ', '.join(
            f'{name}: {old.get(name)!r} there, {new.get(name)!r} now'
            for name in names
            if old.get(name) != new.get(name)
        )

    def path(self, group: VideoGroup) -> Path:
        """Where the rows of a group are kept."""
        # Names of videos may be longer than a file system allows once they are joined.
        digest = hashlib.sha256(group.name.encode()).hexdigest()[:24]
        return self.folder / f'{digest}.parquet'

    def load(self, group: VideoGroup, fingerprint: str) -> tuple[pa.Table, dict[str, Any]] | None:
        """Rows and report of a group, or None if it is to be prepared (again)."""
        path = self.path(group)
        if not path.is_file():
            return None
        try:
            table = pq.read_table(path)
        except (pa.ArrowException, OSError):
            return None
        notes = table.schema.metadata or {}
        if notes.get(_FINGERPRINT) != fingerprint.encode() or _REPORT not in notes:
            return None
        return table.replace_schema_metadata(None), json.loads(notes[_REPORT])

    def save(self, group: VideoGroup, fingerprint: str, result: GroupResult) -> None:
        """Keep the rows and the report of a finished group, atomically."""
        notes = {_FINGERPRINT: fingerprint.encode(), _REPORT: json.dumps(result.report()).encode()}
        table = pa.Table.from_pylist(result.rows, schema=INDEX_SCHEMA)
        sink = pa.BufferOutputStream()
        pq.write_table(table.replace_schema_metadata(notes), sink, compression='zstd')
        write_bytes(sink.getvalue().to_pybytes(), self.path(group))


def fingerprint_group(group: VideoGroup, settings: Settings, side_files: Iterable[Path]) -> str:
    """Fingerprint of everything that the rows of a group depend on.

    Args:
        group: The videos.
        settings: What is written.
        side_files: Other input files.

    Returns:
        Hexadecimal digest; it changes when a file of the input is added, removed or written again.
    """
    digest = hashlib.sha256(settings.to_json().encode())
    for record in group.records:
        fields = {k: v for k, v in asdict(record).items() if k not in ('path', 'mask')}
        digest.update(json.dumps(fields, sort_keys=True).encode())
        digest.update(_stamp(record.path) + (_stamp(record.mask) if record.mask else b'-'))
    for path in side_files:
        digest.update(_stamp(path))
    return digest.hexdigest()


def _stamp(path: Path) -> bytes:
    try:
        status = path.stat()
    except OSError:
        return b'missing;'
    return f'{path.name}:{status.st_size}:{status.st_mtime_ns};'.encode()
