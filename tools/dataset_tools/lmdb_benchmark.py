# SPDX-License-Identifier: Apache-2.0
"""Measure how fast the images of a set are read from files and from LMDB."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from iid_mm.datasets.index import read_index, resolve_inside
from iid_mm.datasets.storage import LmdbStorage, close_databases, read_bytes, read_crop

Rates = dict[str, float]
Reader = Callable[[str, LmdbStorage | None], object]
ROUNDS = 3


def measure_reading(index: Path, lmdb: Path, count: int, seed: int = 0) -> dict[str, Rates]:
    """Read random images of a set in this process, in turn from files and from LMDB.

    Args:
        index: The index, or its folder.
        lmdb: The database.
        count: How many images, at least 1; fewer where the set has fewer.
        seed: Seed of the choice.

    Returns:
        For ``files`` and ``LMDB`` images per second: ``first`` (bytes, first time: from wherever the system
        has them), ``bytes`` and ``decoded`` (the best of three more rounds).

    Raises:
        InputError: An image cannot be read.
    """
    index = index / 'index.parquet' if index.is_dir() else index
    names = read_index(index, columns=['image'])['image'].to_pylist()
    chosen = np.random.default_rng(seed).permutation(len(names))[:count]
    paths = [str(resolve_inside(index.parent, names[i])) for i in chosen]
    storage = LmdbStorage({'backend': 'lmdb', 'db_path': str(lmdb)}, str(index.parent))
    found: dict[str, Rates] = {}
    sources: dict[str, LmdbStorage | None] = {'files': None, 'LMDB': storage}
    for name, source in sources.items():
        found[name] = {'first': _rate(read_bytes, paths, source)}
    readers: dict[str, Reader] = {'bytes': read_bytes, 'decoded': _decode}
    for kind, read in readers.items():
        rates: dict[str, list[float]] = {name: [] for name in sources}
        for _ in range(ROUNDS):
            for name, source in sources.items():
                rates[name].append(_rate(read, paths, source))
        for name in sources:
            found[name][kind] = max(rates[name])
    close_databases()
    return found


def _decode(path: str, storage: LmdbStorage | None) -> object:
    return read_crop(path, storage=storage)


def _rate(read: Reader, paths: Sequence[str], storage: LmdbStorage | None) -> float:
    start = time.perf_counter()
    for path in paths:
        read(path, storage)
    return len(paths) / (time.perf_counter() - start)


def reading_table(found: dict[str, Rates]) -> str:
    """Lay :func:`measure_reading` out as a Markdown table."""
    lines = ['| images/s | bytes, first time | bytes, again | decoded, again |', '|---|---|---|---|']
    for name, rates in found.items():
        lines.append(f'| {name} | {rates["first"]:.0f} | {rates["bytes"]:.0f} | {rates["decoded"]:.0f} |')
    return '\n'.join(lines)
