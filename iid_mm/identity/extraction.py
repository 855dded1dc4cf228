# SPDX-License-Identifier: Apache-2.0
"""Features of all faces of prepared sets, stored in parts, so that an interrupted run can resume."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope

from iid_mm.datasets.functional.geometry import hull_mask
from iid_mm.datasets.index import SPLITS, read_index
from iid_mm.datasets.on_index import dataset_on_index
from iid_mm.errors import InputError
from iid_mm.identity.features import FeatureExtractor
from iid_mm.registry import DATASETS, SCOPE
from iid_mm.utils.config import insert_step
from iid_mm.utils.files import replacing, sha256
from iid_mm.utils.parquet import read_parquet
from iid_mm.utils.typing import PointsArray, Results

VERSION = 3
PART_ROWS = 512
"""Faces of one stored part; memory needed at once is that of one part and one batch."""
FIELDS = {
    **dict.fromkeys(('video_key', 'method', 'target_id', 'source_id', 'recording'), pa.string()),
    **dict.fromkeys(('frame', 'label', 'take'), pa.int64()),
}
_PREFIX = 'feature:'

FILL = 127
"""Gray of hidden faces: their mean color would reveal that of the skin."""
_CENTER, _AXES = (0.5, 0.6), (0.38, 0.5)
_DILATION = 0.04


@dataclass(frozen=True)
class FaceTable:
    """Features of N faces.

    Attributes:
        table: One row a face: :data:`FIELDS` (``take`` is the number of its index, ``recording`` the genuine
            recording that it shows; a fake has that of its target) and a fixed-size list
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
        chunks = self.table[_PREFIX + name].chunks
        return np.concatenate([chunk.flatten().to_numpy().reshape(len(chunk), -1) for chunk in chunks])

    def column(self, name: str) -> np.ndarray:
        """Another column, (N,) object or int."""
        return np.asarray(self.table[name].to_pylist(), dtype=object)


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
        hide_face: Paint the faces gray.
        genuine_only: Leave out all fakes.

    Returns:
        Number of the index and dataset, one for each index and split in it.

    Raises:
        InputError: An index is given twice, or no face is left.
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
                'split would let a probe recognize images; give other clips of these people'
            )
        digests[digest] = path
        for name in SPLITS:
            if name in there and split in (name, 'all'):
                settings = dataset_on_index(cfg, path, split=name, frames_per_video=frames)
                if hide_face:
                    settings.pipeline = insert_step(settings.pipeline, HideFace(), after='AlignFace')
                dataset = DATASETS.build(settings)
                if genuine_only:
                    chosen = [i for i in range(len(dataset)) if dataset.get_data_info(i)['gt_label'] == 0]
                    if not chosen:
                        continue
                    dataset.get_subset_(chosen)
                found.append((take, dataset))
    if not found:
        raise InputError(f'--split {split}: no face of it in {", ".join(map(str, paths))}')
    return found


def face_region(landmarks: PointsArray, size: tuple[int, int]) -> np.ndarray:
    """Region of a face: dilated landmark hull with forehead, and an ellipse that is the same for all faces.

    The ellipse covers most hulls of aligned faces, so that the outline does not reveal the shape of the face.

    Args:
        landmarks: (K, 2) x and y in pixels of the image; the first 68 are iBUG's.
        size: Width and height in pixels.

    Returns:
        (h, w) uint8, 1 where the face is.
    """
    # Without forehead points: the brows, moved up by the length of the nose.
    up = landmarks[27] - landmarks[33]
    forehead = landmarks[17:27] + 1.2 * up
    mask = hull_mask(np.concatenate([landmarks, forehead]).astype(np.float32), size)
    kernel = 2 * max(1, round(_DILATION * min(size))) + 1
    mask = cv2.dilate(mask, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (kernel, kernel)))
    center = (round(_CENTER[0] * size[0]), round(_CENTER[1] * size[1]))
    axes = (round(_AXES[0] * size[0]), round(_AXES[1] * size[1]))
    filled: np.ndarray = cv2.ellipse(mask, center, axes, 0, 0, 360, 1, -1)
    return filled


class HideFace:
    """Pipeline step after ``AlignFace`` that paints the face gray."""

    def __call__(self, results: Results) -> Results:
        """Paint over ``img`` by ``landmarks``."""
        image = results['img'].copy()
        image[face_region(results['landmarks'], (image.shape[1], image.shape[0])) > 0] = FILL
        results['img'] = image
        return results

    def __repr__(self) -> str:
        return 'HideFace()'


def recording_of(info: dict[str, Any]) -> str:
    """Name the genuine recording that a face shows.

    Fakes of all manipulations of one video show the same head, scene and frames as that video, so they are
    one clip. A fake without a known pair counts as a recording of its own.
    """
    return os.path.dirname(info.get('source_img_path') or info['img_path'])


def extraction_key(model: Any, datasets: Sequence[tuple[int, Any]], names: Sequence[str]) -> str:
    """Hash of everything that features depend on: weights, pipeline, indices, selection, names."""
    digest = hashlib.sha256(f'{VERSION}/{PART_ROWS}/{",".join(names)}/{torch.__version__}'.encode())
    for name, value in model.state_dict().items():
        digest.update(f'{name}{tuple(value.shape)}{value.dtype}'.encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    digest.update(str(model).encode())
    for take, dataset in datasets:
        selection = [take, dataset.split, dataset.methods, dataset.frames_per_video, len(dataset)]
        digest.update(json.dumps([*selection, repr(dataset.pipeline)]).encode())
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
    """Compute the features of all faces, or read those that an earlier run has stored.

    Args:
        model: The detector.
        datasets: From :func:`face_datasets`.
        names: Features to keep.
        store: Folder; each extraction has a subfolder, see :func:`extraction_key`.
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
    """A stored part; None if it is missing or damaged."""
    try:
        part = read_parquet(path)
    except InputError:
        return None
    return part if part.num_rows == rows else None


def _compute(
    extractor: FeatureExtractor, places: Sequence[Any], names: Sequence[str], batch_size: int
) -> pa.Table:
    values: dict[str, list[np.ndarray]] = {name: [] for name in names}
    for start in range(0, len(places), batch_size):
        inputs = [dataset[i]['inputs'] for _, dataset, i in places[start : start + batch_size]]
        found = extractor(torch.stack(inputs))
        for name in names:
            values[name].append(found[name].numpy())
    rows = []
    for take, dataset, i in places:
        info = dataset.get_data_info(i)
        rows.append({**info, 'label': info['gt_label'], 'take': take, 'recording': recording_of(info)})
    table = pa.table({name: pa.array([row[name] for row in rows], kind) for name, kind in FIELDS.items()})
    for name in names:
        joined = np.concatenate(values[name])
        column = pa.FixedSizeListArray.from_arrays(joined.ravel(), joined.shape[1])
        table = table.append_column(_PREFIX + name, column)
    return table
