# SPDX-License-Identifier: Apache-2.0
"""Features of all faces of prepared sets, stored in parts: an interrupted run goes on where it stopped."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope

from iid_mm.datasets.index import SPLITS, read_index
from iid_mm.datasets.on_index import dataset_on_index
from iid_mm.errors import InputError
from iid_mm.identity.background import HideFace
from iid_mm.identity.features import FeatureExtractor
from iid_mm.registry import DATASETS, SCOPE
from iid_mm.utils.config import insert_step
from iid_mm.utils.files import replacing, sha256

VERSION = 1
PART_ROWS = 512
"""Faces of one stored part; memory needed at once is that of one part and one batch."""
FIELDS = (
    'video_key',
    'frame',
    'label',
    'method',
    'target_id',
    'source_id',
    'dataset',
    'compression',
    'split',
)
_PREFIX = 'feature:'


@dataclass(frozen=True)
class FaceTable:
    """Features of N faces.

    Attributes:
        table: One row a face: :data:`FIELDS`, ``take`` (number of the index it is from), ``recording``
            (the genuine recording it shows; a fake has that of its target) and a fixed-size list
            ``feature:<name>`` for each feature.
    """

    table: pa.Table

    def __len__(self) -> int:
        return int(self.table.num_rows)

    @property
    def features(self) -> list[str]:
        """Names of the features."""
        return [name.removeprefix(_PREFIX) for name in self.table.column_names if name.startswith(_PREFIX)]

    def feature(self, name: str) -> np.ndarray:
        """One feature, (N, D) float32."""
        column = self.table[_PREFIX + name].combine_chunks()
        column = pa.concat_arrays(column.chunks) if isinstance(column, pa.ChunkedArray) else column
        return np.asarray(column.flatten().to_numpy(zero_copy_only=False)).reshape(len(column), -1)

    def column(self, name: str) -> np.ndarray:
        """Another column, (N,) object or int."""
        return np.asarray(self.table[name].to_pylist(), dtype=object)

    def select(self, chosen: np.ndarray) -> FaceTable:
        """The rows where ``chosen`` (N,) bool is true."""
        return FaceTable(self.table.filter(pa.array(chosen)))


def face_datasets(
    cfg: Config,
    indexes: Sequence[str | os.PathLike[str]],
    *,
    split: str = 'all',
    frames: int | None = None,
    hide_face: bool = False,
    genuine_only: bool = False,
) -> list[tuple[int, Any]]:
    """Datasets with the test pipeline of a config over prepared sets.

    Args:
        cfg: The config; its test dataset gives class and pipeline.
        indexes: Index files, or folders with an ``index.parquet``.
        split: ``train``, ``val``, ``test`` or ``all``.
        frames: Keep at most this many frames of a video; None keeps all.
        hide_face: Show the background only.
        genuine_only: Leave out all fakes.

    Returns:
        Number of the index and dataset, one for each index and split that is there.

    Raises:
        InputError: An index is given twice, or nothing is left.
        FileNotFoundError: There is no such index.
    """
    paths = [Path(index) / 'index.parquet' if Path(index).is_dir() else Path(index) for index in indexes]
    if split not in (*SPLITS, 'all'):
        raise InputError(f'--split {split}: choose one of {", ".join(SPLITS)}, all')
    init_default_scope(cfg.get('default_scope', SCOPE))
    digests: dict[str, Path] = {}
    found = []
    for take, path in enumerate(paths):
        there = set(read_index(path, columns=['split'])['split'].to_pylist())
        digest = sha256(path)
        if digest in digests:
            raise InputError(
                f'--index {path} has the content of {digests[digest]}: the same clips on both sides of a '
                'split would let a probe recognize pictures; give other clips of these people'
            )
        digests[digest] = path
        for name in SPLITS:
            if name in there and split in (name, 'all'):
                dataset = _dataset(cfg, path, name, frames, hide_face)
                if genuine_only:
                    chosen = [i for i in range(len(dataset)) if dataset.get_data_info(i)['gt_label'] == 0]
                    if not chosen:
                        continue
                    dataset.get_subset_(chosen)
                found.append((take, dataset))
    if not found:
        raise InputError(f'--split {split}: no face of it in {", ".join(map(str, paths))}')
    return found


def _dataset(cfg: Config, path: Path, split: str, frames: int | None, hide_face: bool) -> Any:
    dataset = dataset_on_index(cfg, path, split=split, frames_per_video=frames)
    if hide_face:
        dataset.pipeline = insert_step(dataset.pipeline, HideFace(), after='AlignFace')
    return DATASETS.build(dataset)


def recording_of(info: dict[str, Any]) -> str:
    """Name the genuine recording that a face shows.

    Fakes of all manipulations of one video show the same head, scene and frames as that video: for a split
    they are one clip. Without a known pair a fake counts as a recording of its own.
    """
    path = info.get('source_img_path') or info['img_path']
    return os.path.dirname(path)


def extraction_key(model: Any, datasets: Sequence[tuple[int, Any]], names: Sequence[str]) -> str:
    """Hash of all that features depend on: weights, pipeline, indices, what is kept of them, names."""
    digest = hashlib.sha256(f'{VERSION}/{PART_ROWS}/{",".join(names)}/{torch.__version__}'.encode())
    for name, value in model.state_dict().items():
        digest.update(f'{name}{tuple(value.shape)}{value.dtype}'.encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    digest.update(str(model).encode())
    for take, dataset in datasets:
        kept = [
            take,
            dataset.split,
            dataset.methods,
            dataset.frames_per_video,
            repr(dataset.pipeline),
            len(dataset),
        ]
        digest.update(json.dumps(kept).encode())
        for path in dataset.ann_files:
            digest.update(f'{path}{sha256(path)}'.encode())
    return digest.hexdigest()[:16]


def extract(
    model: Any,
    datasets: Sequence[tuple[int, Any]],
    names: Sequence[str],
    store: str | os.PathLike[str],
    *,
    batch_size: int = 64,
) -> FaceTable:
    """Compute features of all faces, or read what an earlier run has stored.

    Args:
        model: The detector.
        datasets: What :func:`face_datasets` gives.
        names: Features to keep.
        store: Folder; each extraction has a subfolder named by what it depends on.
        batch_size: Faces that go through the network at once.

    Returns:
        The features, in the order of the datasets.
    """
    folder = Path(store) / extraction_key(model, datasets, names)
    folder.mkdir(parents=True, exist_ok=True)
    extractor = FeatureExtractor(model)
    places = [(take, dataset, i) for take, dataset in datasets for i in range(len(dataset))]
    parts = []
    for number, start in enumerate(range(0, len(places), PART_ROWS)):
        wanted = places[start : start + PART_ROWS]
        path = folder / f'{number:05d}.parquet'
        part = _read_part(path, len(wanted))
        if part is None:
            part = _compute(extractor, wanted, names, batch_size)
            with replacing(path) as temporary:
                pq.write_table(part, temporary, compression='zstd')
        parts.append(part)
    return FaceTable(pa.concat_tables(parts))


def _read_part(path: Path, rows: int) -> pa.Table | None:
    """A stored part, None where there is none or it is damaged."""
    try:
        part = pq.read_table(path, partitioning=None)
    except (FileNotFoundError, pa.ArrowException, OSError):
        return None
    return part if part.num_rows == rows else None


def _compute(
    extractor: FeatureExtractor, places: Sequence[Any], names: Sequence[str], batch_size: int
) -> pa.Table:
    values: dict[str, list[np.ndarray]] = {name: [] for name in names}
    rows: list[dict[str, Any]] = []
    for batch in _batches(places, batch_size):
        found = extractor(torch.stack([dataset[i]['inputs'] for _, dataset, i in batch]))
        for name in names:
            values[name].append(found[name].numpy())
        rows += [_row(take, dataset, i) for take, dataset, i in batch]
    columns: dict[str, pa.Array] = {}
    for name in (*FIELDS, 'take', 'recording'):
        kind = pa.int64() if name in ('frame', 'label', 'take') else pa.string()
        columns[name] = pa.array([row[name] for row in rows], kind)
    for name in names:
        joined = np.concatenate(values[name])
        columns[_PREFIX + name] = pa.FixedSizeListArray.from_arrays(joined.ravel(), joined.shape[1])
    return pa.table(columns)


def _row(take: int, dataset: Any, number: int) -> dict[str, Any]:
    info = dataset.get_data_info(number)
    keys = ('video_key', 'frame', 'method', 'target_id', 'source_id', 'dataset')
    return {
        **{key: info[key] for key in keys},
        'label': info['gt_label'],
        'compression': info['video_key'].split('/')[2],
        'split': dataset.split,
        'take': take,
        'recording': recording_of(info),
    }


def _batches(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
