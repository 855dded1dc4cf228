# SPDX-License-Identifier: Apache-2.0
"""Groups of samples that depend on each other, such as all videos of one person."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from iid_mm.errors import InputError
from iid_mm.evaluation.functional.coding import Coded, factorize


def group_codes(groups: Any, size: int, *, name: str = 'the set') -> npt.NDArray[np.int64]:
    """Number the groups.

    Args:
        groups: (N,) names or integers; None within it: unknown, such a sample is a group of its own.
        size: N, what ``groups`` must have.
        name: What error messages call the set.

    Returns:
        (N,) codes from 0 without gaps, in ascending order of the names, unknown ones after them.

    Raises:
        InputError: The length differs.
    """
    if not isinstance(groups, Coded | pa.Array | pa.ChunkedArray):
        groups = np.asarray(groups)
    if len(groups) != size or getattr(groups, 'ndim', 1) != 1:
        raise InputError(f'{name}: groups of {len(groups)} samples for {size} scores; give one a sample')
    if isinstance(groups, np.ndarray) and groups.dtype == object:
        unknown = np.array([group is None for group in groups], dtype=bool)
        if unknown.any():
            codes = np.empty(size, dtype=np.int64)
            known = factorize(groups[~unknown].tolist(), argument=f'{name}: groups')
            codes[~unknown] = known.codes
            codes[unknown] = known.names.size + np.arange(np.count_nonzero(unknown))
            return codes
    return factorize(groups, argument=f'{name}: groups').codes


def class_groups(labels: npt.NDArray[np.int64], codes: npt.NDArray[np.int64] | None) -> tuple[int, int]:
    """Independent units of each class: its samples, or the groups that hold some.

    Args:
        labels: (N,) 0 = genuine, 1 = fake.
        codes: (N,) what :func:`group_codes` gives; None: every sample is one.

    Returns:
        The number of fake and of genuine units.
    """
    if codes is None:
        fakes = int(np.count_nonzero(labels))
        return fakes, labels.size - fakes
    fake, genuine = (int(np.unique(codes[labels == label]).size) for label in (1, 0))
    return fake, genuine
