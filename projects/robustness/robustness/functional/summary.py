# SPDX-License-Identifier: Apache-2.0
"""Metrics of a robustness test from the scores of all its cells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from iid_mm.errors import InputError
from iid_mm.evaluation.functional.inputs import Labels, Scores
from iid_mm.evaluation.statistics.delong import delong_auc, delong_covariance
from iid_mm.evaluation.statistics.intervals import Interval, normal_quantile

# Smaller variances are rounding errors.
_NO_VARIANCE = 1e-20


@dataclass(frozen=True)
class CellMetrics:
    """Metrics of one distortion at one level, as fractions of 1.

    Attributes:
        kind: Name of the distortion.
        level: 1 to 5.
        auc: Video AUC with its interval.
        drop: AUC of the clean set minus this one, with its interval.
    """

    kind: str
    level: int
    auc: Interval
    drop: Interval


@dataclass(frozen=True)
class Summary:
    """Metrics of one set, or of one manipulation of it.

    Attributes:
        name: Name of the set or manipulation.
        num_videos, num_fake_videos: What they are made from.
        clean: Video AUC of the clean set.
        cells: Metrics by kind and level.
        kind_drops: Mean of the drops of each kind over its levels.
        mean_drop: Mean corruption drop: the mean of the drops over all kinds and levels.
    """

    name: str
    num_videos: int
    num_fake_videos: int
    clean: Interval
    cells: dict[tuple[str, int], CellMetrics]
    kind_drops: dict[str, Interval]
    mean_drop: Interval

    @property
    def kinds(self) -> list[str]:
        """The kinds in the order of the table."""
        return list(self.kind_drops)

    @property
    def levels(self) -> list[int]:
        """The levels, ascending."""
        return sorted({level for _, level in self.cells})

    def mean_auc(self, level: int) -> float:
        """Mean over the kinds of the AUC at a level, 0 for the clean set."""
        if level == 0:
            return self.clean.value
        return float(np.mean([self.cells[kind, level].auc.value for kind in self.kinds]))


def summarize(
    clean: npt.ArrayLike,
    distorted: dict[tuple[str, int], Scores],
    labels: Labels,
    *,
    groups: Any = None,
    level: float = 0.95,
    name: str = 'the set',
) -> Summary:
    """Compute the metrics of a set.

    All cells score the same videos, so that their AUCs vary together. The intervals of drops and their
    means take that into account: they come from the covariance of all AUCs (DeLong et al. 1988).

    Args:
        clean: (V,) scores of the videos without distortion.
        distorted: For each kind and level (V,) scores of the same videos; each kind at the same levels.
        labels: (V,) 0 = genuine, 1 = fake.
        groups: (V,) names of identities, whose videos depend on each other; None: videos are independent.
        level: Confidence level of the intervals.
        name: What the summary and error messages call the set.

    Returns:
        The metrics.

    Raises:
        InputError: Nothing is distorted, kinds have different levels, or lengths differ.
        OneClassError: A class is missing.
    """
    keys = list(distorted)
    kinds = list(dict.fromkeys(kind for kind, _ in keys))
    levels = sorted({number for _, number in keys})
    if not keys or len(keys) != len(kinds) * len(levels):
        raise InputError(f'{name}: {len(keys)} cells for {len(kinds)} distortions at {len(levels)} levels')
    rows = np.stack([np.asarray(clean, dtype=np.float64), *(distorted[key] for key in keys)])
    both = delong_covariance(rows, labels, groups=groups, name=name)
    aucs = [delong_auc(row, labels, groups=groups, level=level, name=name).interval for row in rows]

    def mean_drop(chosen: Sequence[tuple[str, int]]) -> Interval:
        weights = np.zeros(len(rows))
        weights[0] = 1
        for key in chosen:
            weights[1 + keys.index(key)] -= 1 / len(chosen)
        value, variance = float(weights @ both.aucs), float(weights @ both.covariance @ weights)
        if not variance > _NO_VARIANCE:
            return Interval(value, np.nan, np.nan, 'none')
        half = normal_quantile(level) * np.sqrt(variance)
        return Interval(value, float(value - half), float(value + half), 'delong')

    return Summary(
        name=name,
        num_videos=labels.size,
        num_fake_videos=int(labels.sum()),
        clean=aucs[0],
        cells={
            key: CellMetrics(*key, auc=auc, drop=mean_drop([key]))
            for key, auc in zip(keys, aucs[1:], strict=True)
        },
        kind_drops={kind: mean_drop([(kind, number) for number in levels]) for kind in kinds},
        mean_drop=mean_drop(keys),
    )
