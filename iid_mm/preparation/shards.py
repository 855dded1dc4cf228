# SPDX-License-Identifier: Apache-2.0
"""Work that is split over machines and merged again.

A shard works on every N-th batch and leaves ``OUT_DIR/.parts/shard-<i>-of-<N>.json`` behind, which
lists what it has finished. Shards may share one folder or have one each.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from iid_mm.errors import InputError
from iid_mm.preparation.parts import PARTS, STORED, PartStore
from iid_mm.preparation.settings import Settings
from iid_mm.preparation.writer import CropWriter
from iid_mm.utils.files import read_json, write_text

T = TypeVar('T')


@dataclass(frozen=True)
class Shard:
    """Which part of the work a run does.

    Attributes:
        index: From 0.
        total: Number of shards.
    """

    index: int = 0
    total: int = 1

    def __post_init__(self) -> None:
        if self.total < 1 or not 0 <= self.index < self.total:
            raise InputError(
                f'shard={self.index}, num_shards={self.total}: shards are numbered from 0 to num_shards - 1'
            )

    @property
    def name(self) -> str:
        """Part of the names of its files."""
        return f'{self.index}-of-{self.total}'

    def select(self, items: Sequence[T]) -> list[T]:
        """The items of this shard: every ``total``-th, so that shards take about equally long."""
        return list(items[self.index :: self.total])


@dataclass(frozen=True)
class Manifest:
    """Record of a finished shard.

    Attributes:
        index: Number of the shard.
        total: Number of shards.
        scan: Digest of the names of all groups of the dataset, those of other shards included.
        groups: Name of each finished group of this shard -> fingerprint.
        left_out: Videos that were not prepared -> reason.
        missing: Videos that a list of the dataset names but that are not on disk.
        failed: Reports of groups whose worker process died or hung, and that have no rows.
    """

    index: int
    total: int
    scan: str
    groups: dict[str, str]
    left_out: dict[str, str]
    missing: list[str]
    failed: list[dict[str, Any]] = field(default_factory=list)

    def write(self, folder: Path) -> None:
        """Write it to a prepared folder."""
        path = folder / PARTS / f'shard-{Shard(self.index, self.total).name}.json'
        write_text(path, json.dumps(asdict(self), indent=1, sort_keys=True) + '\n')


def digest_names(names: Sequence[str]) -> str:
    """Digest of the names of all groups."""
    return hashlib.sha256('\n'.join(names).encode()).hexdigest()


def read_settings(folder: Path) -> Settings:
    """Settings that a folder was prepared with.

    Raises:
        FileNotFoundError: If it is no prepared folder.
        InputError: If it was prepared by another version.
    """
    path = folder / PARTS / 'settings.json'
    if not path.is_file():
        raise FileNotFoundError(f'{str(folder)!r} is no prepared folder: no {PARTS}/settings.json in it')
    try:
        values = read_json(path)
        values['methods'] = tuple(values['methods']) if values['methods'] else None
        return Settings(**values)
    except (ValueError, TypeError, LookupError) as error:
        raise InputError(f'{path}: not the settings of this version ({error}); prepare it again') from error


def read_manifests(folders: Sequence[Path]) -> dict[Path, list[Manifest]]:
    """Manifests of finished shards, checked to be all of one run.

    Args:
        folders: Folders that shards were prepared in.

    Raises:
        FileNotFoundError: If a folder holds no finished shard, or a shard is missing.
        InputError: If a manifest is unreadable, or shards are of different runs or occur twice.
    """
    found: dict[Path, list[Manifest]] = {}
    for folder in folders:
        found[folder] = [_read_manifest(p) for p in sorted((folder / PARTS).glob('shard-*-of-*.json'))]
        if not found[folder]:
            raise FileNotFoundError(
                f'no finished shard in {str(folder)!r}; run prepare_data.py with --num-shards and --shard'
            )
    manifests = [manifest for items in found.values() for manifest in items]
    first = manifests[0]
    for manifest in manifests:
        if manifest.total != first.total:
            raise InputError(
                f'shards of {first.total} and of {manifest.total}: merge the shards of one run only'
            )
        if manifest.scan != first.scan:
            raise InputError(
                f'shards {first.index} and {manifest.index} have seen different videos: the dataset differs '
                'between the machines; make it the same and run the shards again'
            )
    numbers = [manifest.index for manifest in manifests]
    if len(set(numbers)) < len(numbers):
        raise InputError(f'a shard occurs twice among {sorted(numbers)}: name each folder once')
    if missing := sorted(set(range(first.total)) - set(numbers)):
        raise FileNotFoundError(f'shard {", ".join(map(str, missing))} of {first.total} is not finished')
    return found


def _read_manifest(path: Path) -> Manifest:
    try:
        manifest = Manifest(**read_json(path))
        kinds = {'index': int, 'total': int, 'scan': str, 'groups': dict, 'left_out': dict, 'missing': list}
        for name, kind in kinds.items():
            if not isinstance(getattr(manifest, name), kind):
                raise TypeError(f'{name} is no {kind.__name__}')
        return manifest
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f'{path} is unreadable ({error}); run this shard again') from error


def collect_shard(folder: Path, manifest: Manifest, store: PartStore) -> None:
    """Bring the files of a shard into the folder of ``store``, as links where the disk allows.

    Args:
        folder: Folder of the shard.
        manifest: What it holds.
        store: Where to bring it.

    Raises:
        FileNotFoundError: If a finished group is gone.
    """
    source = PartStore(folder, store.settings)
    for name, fingerprint in manifest.groups.items():
        if not source.is_done(name, fingerprint):
            raise FileNotFoundError(f'{source.path(name)}: the part of {name} is gone; run the shard again')
        if folder.resolve() == store.out_dir.resolve() or store.is_done(name, fingerprint):
            continue
        for video in source.load_report(name)['videos']:
            CropWriter(store.settings, store.out_dir).clear(video['key'])
            for kind in STORED:
                place = folder / kind / video['key']
                # Folders in it are those of other videos.
                for path in sorted(place.iterdir()) if place.is_dir() else ():
                    _link(path, store.out_dir / kind / video['key'] / path.name)
        # Last: a part that exists says that its crops are complete.
        _link(source.path(name), store.path(name))


def _link(source: Path, target: Path) -> None:
    """Link a file; copy it where links are impossible."""
    if source.is_file():
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        try:
            os.link(source, target)
        except OSError:
            shutil.copy2(source, target)
