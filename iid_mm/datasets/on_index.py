# SPDX-License-Identifier: Apache-2.0
"""The test dataset of a config, reading another index."""

from __future__ import annotations

import copy
import os
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict

from iid_mm.datasets.storage import backend_args_for
from iid_mm.utils.config import dataset_of


def dataset_on_index(
    cfg: Config, index: str | os.PathLike[str], *, split: str, **settings: Any
) -> ConfigDict:
    """Config of a dataset that loads the faces of an index as the test dataset of a config would.

    What the config says of manipulations and pairs does not hold for another index.

    Args:
        cfg: The config; it stays as it is.
        index: An ``index.parquet``, or the folder that it lies in.
        split: ``train``, ``val`` or ``test``.
        **settings: Other settings of the dataset, e.g. ``frames_per_video``.

    Returns:
        A config for ``DATASETS.build``.

    Raises:
        InputError: The config has no test dataset.
    """
    path = Path(index) / 'index.parquet' if Path(index).is_dir() else Path(index)
    dataset = copy.deepcopy(dataset_of(cfg))
    dataset.backend_args = backend_args_for(dataset, [path])
    dataset.update(ann_file=os.path.abspath(path), data_root='', split=split, test_mode=True)
    dataset.update(methods=None, require_pair=False, indices=None, **settings)
    return dataset
