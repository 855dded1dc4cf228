# SPDX-License-Identifier: Apache-2.0
"""The finished groups of a prepared folder, so that a run can resume where another one stopped.

``OUT_DIR/.parts/settings.json`` holds the settings of the folder;
``OUT_DIR/.parts/<group>.parquet`` the rows of a finished group, with its report and the fingerprint
of its input in the notes of the file.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from iid_mm.datasets.index import INDEX_SCHEMA
from iid_mm.errors import InputError
from iid_mm.preparation.records import GroupResult, VideoGroup
from iid_mm.preparation.settings import Settings
from iid_mm.structures.video_record import FrameSource, ImageFiles, LandmarkValues, VideoFile
from iid_mm.utils.files import read_json, write_bytes

PARTS = '.parts'
STORED = ('frames', 'masks', 'whole_frames')
_OWN_FILES = ('index.parquet', 'report.json')
_OWN_FOLDERS = (*STORED, PARTS)
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
        self.folder = out_dir / PARTS

    def check(self, overwrite: bool = False) -> None:
        """Check that the folder can be used, without touching it.

        Args:
            overwrite: Whether what an earlier run left there may be deleted.

        Raises:
            InputError: If the folder holds something else, or was prepared with other settings.
        """
        file = self.folder / 'settings.json'
        if self.out_dir.exists() and not self.out_dir.is_dir():
            raise InputError(f'out_dir={str(self.out_dir)!r} is a file; give a folder')
        entries = [path.name for path in self.out_dir.iterdir()] if self.out_dir.is_dir() else []
        # Another shard may be making the folder at this moment.
        if set(entries) - {PARTS} and not file.is_file():
            raise InputError(
                f'out_dir={str(self.out_dir)!r} is not empty and was not made by prepare_data; '
                'give another folder'
            )
        if file.is_file() and not overwrite and (changed := self._changes(file)):
            raise InputError(
                f'out_dir={str(self.out_dir)!r} was prepared with other settings ({changed}); '
                'give another folder, or --overwrite to delete what was prepared there'
            )

    def scratch(self, shard: str = '') -> Path:
        """Where archives are unpacked; shards, which may share the prepared folder, have their own."""
        return self.folder / 'unpacked' / shard

    def open(self, overwrite: bool = False, shard: str = '') -> None:
        """Make the folder ready for this run; see :meth:`check`.

        Args:
            overwrite: Whether what an earlier run left there is deleted.
            shard: Name of the shard that starts, if there are several: others may be at work.
        """
        self.check(overwrite)
        if overwrite:
            self._clear()
        shutil.rmtree(self.scratch(shard), ignore_errors=True)
        text = (self.settings.to_json() + '\n').encode()
        file = self.folder / 'settings.json'
        if not file.is_file() or file.read_bytes() != text:
            write_bytes(file, text)

    def _clear(self) -> None:
        for name in _OWN_FILES:
            (self.out_dir / name).unlink(missing_ok=True)
        # `.parts` goes last: a kill in between must not leave a folder that nobody owns.
        for name in _OWN_FOLDERS:
            if (self.out_dir / name).is_dir():
                shutil.rmtree(self.out_dir / name)

    def _changes(self, file: Path) -> str:
        try:
            old = read_json(file)
        except ValueError:
            old = None
        if not isinstance(old, dict):
            return 'the record of them is unreadable'
        new = json.loads(self.settings.to_json())
        changed = [name for name in sorted({*old, *new}) if old.get(name) != new.get(name)]
        return ', '.join(f'{name}: {old.get(name)!r} there, {new.get(name)!r} now' for name in changed)

    def path(self, name: str) -> Path:
        """Where the rows of a group are kept."""
        # Names of videos may be longer than a file system allows once they are joined.
        digest = hashlib.sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()[:24]
        return self.folder / f'{digest}.parquet'

    def is_done(self, name: str, fingerprint: str) -> bool:
        """Whether a group is finished."""
        try:
            notes = pq.read_metadata(self.path(name)).metadata or {}
        except (pa.ArrowException, OSError):
            return False
        return notes.get(_FINGERPRINT) == fingerprint.encode() and _REPORT in notes

    def load(self, name: str) -> tuple[pa.Table, dict[str, Any]]:
        """Rows and report of a finished group."""
        table = pq.read_table(self.path(name))
        return table.replace_schema_metadata(None), json.loads(table.schema.metadata[_REPORT])

    def load_report(self, name: str) -> dict[str, Any]:
        """Report of a finished group, without reading its rows."""
        report: dict[str, Any] = json.loads(pq.read_metadata(self.path(name)).metadata[_REPORT])
        return report

    def save(self, fingerprint: str, result: GroupResult) -> None:
        """Keep the rows and the report of a finished group, atomically."""
        notes = {_FINGERPRINT: fingerprint.encode(), _REPORT: json.dumps(result.report()).encode()}
        table = pa.Table.from_pylist(result.rows, schema=INDEX_SCHEMA)
        sink = pa.BufferOutputStream()
        pq.write_table(table.replace_schema_metadata(notes), sink, compression='zstd')
        write_bytes(self.path(result.name), sink.getvalue().to_pybytes())


def fingerprint_group(group: VideoGroup, settings: Settings, side_files: Iterable[Path]) -> str:
    """Fingerprint of everything that the rows of a group depend on.

    Args:
        group: The videos.
        settings: What is written.
        side_files: Other input files.

    Returns:
        Hexadecimal digest; it changes when a file of the input is added, removed or written again.
        Of images in a folder only the folder is looked at, which knows of images that come and go.
    """
    digest = hashlib.sha256(_settings_text(settings))
    for record in group.records:
        fields = {k: v for k, v in vars(record).items() if k not in ('source', 'mask', 'landmarks')}
        digest.update(json.dumps(fields, sort_keys=True).encode())
        for source in (record.source, record.mask):
            digest.update(_stamp_source(source) if source else b'-')
        if isinstance(record.landmarks, LandmarkValues):
            # Of numbers, so the same in every process; a digest of their text would take minutes.
            digest.update(str(hash(record.landmarks.points)).encode())
    for path in side_files:
        digest.update(_stamp(path))
    return digest.hexdigest()


@lru_cache(maxsize=1)
def _settings_text(settings: Settings) -> bytes:
    """The same for each of 100 000 groups."""
    return settings.to_json().encode()


def _stamp_source(source: FrameSource) -> bytes:
    if isinstance(source, VideoFile):
        return _stamp(source.path)
    listed = json.dumps([source.names, source.numbers]).encode()
    return _stamp(source.folder if isinstance(source, ImageFiles) else source.path) + listed


def _stamp(path: Path) -> bytes:
    try:
        status = path.stat()
    except OSError:
        return b'missing;'
    # Names are bytes, which need not be UTF-8.
    return os.fsencode(path.name) + f':{status.st_size}:{status.st_mtime_ns};'.encode()
