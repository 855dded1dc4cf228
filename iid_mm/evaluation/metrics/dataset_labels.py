# SPDX-License-Identifier: Apache-2.0
"""What a dataset holds, before any of it is loaded."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from iid_mm.datasets.sample_table import SampleTable


def dataset_labels(dataset: Any) -> dict[str, npt.NDArray[np.int64]]:
    """Labels of all samples, by the names of the datasets that they come from.

    Args:
        dataset: A dataset, or MMEngine's wrappers of some.

    Returns:
        0 for genuine and 1 for fake, (N,) each; empty if the dataset does not tell them.
    """
    inner = [dataset.dataset] if hasattr(dataset, 'dataset') else getattr(dataset, 'datasets', None)
    if inner is not None:
        parts = [dataset_labels(part) for part in inner]
        names = dict.fromkeys(name for part in parts for name in part)
        return {name: np.concatenate([part[name] for part in parts if name in part]) for name in names}
    samples = getattr(dataset, 'data_list', None)
    if isinstance(samples, SampleTable):
        return samples.labels()
    if not isinstance(samples, list) or not all(
        'gt_label' in sample and 'dataset' in sample for sample in samples
    ):
        return {}
    names = dict.fromkeys(str(sample['dataset']) for sample in samples)
    return {
        name: np.array([int(sample['gt_label']) for sample in samples if sample['dataset'] == name])
        for name in names
    }
