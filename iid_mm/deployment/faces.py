# SPDX-License-Identifier: Apache-2.0
"""Real faces on which an exported model is checked and calibrated."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope

from iid_mm.datasets.on_index import dataset_on_index
from iid_mm.errors import InputError
from iid_mm.registry import DATASETS, SCOPE
from iid_mm.utils.sampling import evenly_spaced


@dataclass(frozen=True)
class Faces:
    """Faces of one split.

    Attributes:
        images: N tensors (3, H, W) uint8, BGR, after the test pipeline.
        labels: (N,) int64, 1 = fake.
        paths: Image file of each.
    """

    images: list[torch.Tensor]
    labels: np.ndarray
    paths: list[str]


def load_faces(
    cfg: Config,
    index: str | os.PathLike[str],
    *,
    split: str,
    count: int,
    without: Sequence[str] = (),
) -> Faces:
    """Load faces of an index by the test pipeline of a config, half of them genuine, evenly spaced.

    Args:
        cfg: The config.
        index: Index, or the folder with an ``index.parquet``.
        split: ``train``, ``val`` or ``test``.
        count: How many faces; fewer where the split has fewer.
        without: Image files to leave out.

    Returns:
        The faces.

    Raises:
        FileNotFoundError: If there is no such index.
        InputError: If the index or the split has no faces, or none are left.
    """
    if count < 2:
        raise InputError(f'{count} faces: take at least 2')
    init_default_scope(cfg.get('default_scope', SCOPE))
    dataset = DATASETS.build(dataset_on_index(cfg, index, split=split))
    left_out = set(without)
    chosen: list[int] = []
    for label in (0, 1):
        members = [
            number
            for number in range(len(dataset))
            if dataset.get_cat_ids(number)[0] == label
            and dataset.get_data_info(number)['img_path'] not in left_out
        ]
        if members:
            chosen += [members[place] for place in evenly_spaced(len(members), count // 2)]
    if not chosen:
        raise InputError(
            f'--index {index}: no face of split {split!r} is left for calibration beside those for the '
            'check; name different splits, or take fewer faces'
        )
    items = [dataset[number] for number in chosen]
    return Faces(
        images=[item['inputs'] for item in items],
        labels=np.array([int(item['data_samples'].gt_label) for item in items], dtype=np.int64),
        paths=[dataset.get_data_info(number)['img_path'] for number in chosen],
    )
