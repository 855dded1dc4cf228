# SPDX-License-Identifier: Apache-2.0
"""What the data loaders of a config would read, found out from the index before anything is run."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from mmengine.config import Config

from iid_mm.datasets.index import read_index
from iid_mm.errors import InputError
from iid_mm.utils.files import sha256

LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')
_COLUMNS = ('label', 'dataset', 'method', 'video_key', 'frame', 'split')


@dataclass(frozen=True)
class Count:
    """How much there is of something."""

    frames: int = 0
    videos: int = 0

    def __add__(self, other: Count) -> Count:
        return Count(self.frames + other.frames, self.videos + other.videos)


@dataclass(frozen=True)
class LoaderFacts:
    """Videos of the split that one data loader reads, all manipulations of the index included.

    Attributes:
        loader: Name in the config, e.g. ``val_dataloader``.
        split: The split.
        files: The indices.
        digest: SHA-256 of the indices.
        genuine: Genuine frames and videos.
        fakes: By (dataset, manipulation).
        all_methods: Manipulations of the indices, whatever the split.
        datasets: Datasets of the split.
        videos: Keys of all videos of the split.
    """

    loader: str
    split: str
    files: tuple[str, ...]
    digest: str
    genuine: Count
    fakes: Mapping[tuple[str, str], Count]
    all_methods: tuple[str, ...]
    datasets: tuple[str, ...]
    videos: frozenset[str] = field(repr=False)

    @cached_property
    def methods(self) -> tuple[str, ...]:
        """Manipulations that have videos in the split, by name."""
        return tuple(sorted({method for _, method in self.fakes}))

    def count(self, methods: Sequence[str]) -> Count:
        """Fakes of some manipulations."""
        return sum((n for (_, method), n in self.fakes.items() if method in methods), Count())

    def check(self, methods: Sequence[str], config: str) -> None:
        """Refuse a split without genuine videos or without fakes of a manipulation.

        Args:
            methods: Manipulations that are needed.
            config: What the message calls the config.

        Raises:
            InputError: Something is missing.
        """
        where = f'{config}: split {self.split!r} of {", ".join(self.files)} ({self.loader})'
        if missing := [name for name in methods if name not in self.methods]:
            raise InputError(
                f'{where} has no fakes of {", ".join(missing)}; it has {", ".join(self.methods) or "none"}. '
                'Prepare them, or leave the manipulation out with --methods'
            )
        if not self.genuine.videos:
            raise InputError(f'{where} has no genuine videos; prepare them or look at the splits')


def dataset_path(cfg: Config, loader: str) -> tuple[str, ...]:
    """Find the dataset of a data loader below its wrappers.

    Args:
        cfg: The config.
        loader: Name of the data loader.

    Returns:
        Keys that lead from the config to the dictionary of the dataset.

    Raises:
        InputError: There is no such data loader, or not one dataset that reads an index.
    """
    if not cfg.get(loader) or 'dataset' not in cfg[loader]:
        raise InputError(f'{cfg.filename} has no {loader}.dataset; a config for FF++ is needed')
    keys: tuple[str, ...] = (loader, 'dataset')
    node = cfg[loader].dataset
    while 'ann_file' not in node and isinstance(node.get('dataset'), dict):
        keys, node = (*keys, 'dataset'), node['dataset']
    if 'ann_file' not in node or 'split' not in node:
        raise InputError(
            f'{cfg.filename}: {".".join(keys)} of type {node.get("type")!r} is no ForgeryDataset; its '
            'manipulations cannot be chosen. Give several indices to one ForgeryDataset (ann_file=[...])'
        )
    return keys


def dig(cfg: Any, keys: Sequence[str]) -> Any:
    """Follow keys into a config."""
    for key in keys:
        cfg = cfg[key]
    return cfg


def loader_facts(cfg: Config, loader: str) -> LoaderFacts:
    """Read the index of a data loader.

    Args:
        cfg: The config.
        loader: Name of the data loader.

    Returns:
        The facts; the config's own choice of manipulations is ignored.

    Raises:
        FileNotFoundError: The index is missing.
        InputError: The index is invalid or the config has no such data loader.
    """
    dataset = dig(cfg, dataset_path(cfg, loader))
    ann_file = dataset['ann_file']
    names = [ann_file] if isinstance(ann_file, (str, os.PathLike)) else list(ann_file)
    files = tuple(os.path.join(dataset.get('data_root', ''), os.fspath(name)) for name in names)
    table = pa.concat_tables([_read(file) for file in files])
    all_methods = sorted(set(table.filter(pc.field('label') == 1)['method'].unique().to_pylist()))
    table = table.filter(pc.field('split') == dataset['split'])
    grouped = table.group_by(['label', 'dataset', 'method', 'video_key']).aggregate([('frame', 'count')])
    most = dataset.get('frames_per_video')
    genuine, fakes = Count(), dict[tuple[str, str], Count]()
    for row in grouped.to_pylist():
        one = Count(min(row['frame_count'], most or row['frame_count']), 1)
        if row['label']:
            key = (row['dataset'], row['method'])
            fakes[key] = fakes.get(key, Count()) + one
        else:
            genuine += one
    return LoaderFacts(
        loader=loader,
        split=dataset['split'],
        files=files,
        digest=hashlib.sha256(''.join(map(file_digest, files)).encode()).hexdigest(),
        genuine=genuine,
        fakes=dict(sorted(fakes.items())),
        all_methods=tuple(all_methods),
        datasets=tuple(sorted(set(grouped['dataset'].to_pylist()))),
        videos=frozenset(grouped['video_key'].to_pylist()),
    )


# Several configs and all three loaders of each usually read one index.
@lru_cache(maxsize=4)
def _read_once(file: str, changed: int) -> pa.Table:
    return read_index(file, columns=_COLUMNS)


def _read(file: str) -> pa.Table:
    path = Path(file)
    return _read_once(file, path.stat().st_mtime_ns if path.is_file() else 0)


def file_digest(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a file."""
    path = Path(path)
    status = path.stat()
    return _file_digest(str(path), status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=1024)
def _file_digest(path: str, changed: int, size: int) -> str:
    return sha256(path)
