# SPDX-License-Identifier: Apache-2.0
"""Video AUC and its drop by distortion and level, with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from iid_mm.errors import InputError
from iid_mm.evaluation.functional.inputs import Labels, Scores
from iid_mm.evaluation.scores import FrameScores
from iid_mm.evaluation.statistics.delong import delong_covariance
from iid_mm.evaluation.statistics.intervals import Interval
from iid_mm.reporting.metrics_table import persons
from robustness.grid import Cell


@dataclass(frozen=True)
class CellMetrics:
    """Metrics of one distortion at one level, as fractions of 1.

    Attributes:
        auc: Video AUC with its interval.
        drop: AUC of the clean set minus this one, with its interval.
    """

    auc: Interval
    drop: Interval


@dataclass(frozen=True)
class Summary:
    """Metrics of one set, or of one manipulation of it.

    Attributes:
        name: Name of the set or manipulation.
        num_videos, num_fake_videos: Videos and fakes among them.
        clean: Video AUC of the clean set.
        cells: Metrics of the distorted sets.
        kind_drops: Mean of the drops of each kind over its levels.
        mean_drop: Mean corruption drop: the mean of the drops over all kinds and levels.
    """

    name: str
    num_videos: int
    num_fake_videos: int
    clean: Interval
    cells: dict[Cell, CellMetrics]
    kind_drops: dict[str, Interval]
    mean_drop: Interval

    @property
    def kinds(self) -> list[str]:
        """The kinds in the order of the table."""
        return list(self.kind_drops)

    @property
    def levels(self) -> list[int]:
        """The levels, ascending."""
        return sorted({cell.level for cell in self.cells})

    def mean_auc(self, level: int) -> float:
        """Mean over the kinds of the AUC at a level, 0 for the clean set."""
        if level == 0:
            return self.clean.value
        return float(np.mean([self.cells[Cell(kind, level)].auc.value for kind in self.kinds]))


def summaries(
    scores: Mapping[Cell, FrameScores],
    *,
    how: str = 'mean',
    identities: bool = False,
    per_method: bool = False,
) -> list[Summary]:
    """Compute the metrics of a whole set, of every dataset in it, and of every manipulation.

    Args:
        scores: Scores of all cells, the clean one among them.
        how: How the scores of frames are aggregated, see
            :func:`~iid_mm.evaluation.functional.aggregate.video_scores`.
        identities: Whether videos of one identity (``target_id``) depend on each other in the intervals.
        per_method: Add a summary of every manipulation against the genuine videos of its dataset.

    Returns:
        The whole set first.

    Raises:
        InputError: Cells have scores of different videos, or identities are asked for and unknown.
        OneClassError: A class is missing.
    """
    sets = {cell: frames.by_video(how, name=cell.name) for cell, frames in scores.items()}
    clean = sets.pop(Cell())
    for cell, found in sets.items():
        if not np.array_equal(found.keys, clean.keys) or len(scores[cell]) != len(scores[Cell()]):
            raise InputError(
                f'the scores of {cell.name} are of other faces than those of the clean set: test it again'
            )
    groups = None
    if identities:
        names = scores[Cell()].target_id[clean.first]
        if all(name is None for name in names):
            raise InputError('intervals over identities: the index does not have them (target_id)')
        groups = persons(clean.videos.datasets, names)
    subsets = [subset for subset in clean.subsets if per_method or subset.method is None]
    summarized = []
    for subset in sorted(subsets, key=lambda subset: (subset.dataset or '', subset.method or '')):
        chosen = clean.videos.mask(subset)
        summarized.append(
            summarize(
                clean.videos.scores[chosen],
                {cell: found.videos.scores[chosen] for cell, found in sets.items()},
                clean.videos.labels[chosen],
                groups=None if groups is None else groups[chosen],
                name=subset.name,
            )
        )
    return summarized


def summarize(
    clean: npt.ArrayLike,
    distorted: Mapping[Cell, Scores],
    labels: Labels,
    *,
    groups: npt.NDArray[np.object_] | None = None,
    level: float = 0.95,
    name: str = 'the set',
) -> Summary:
    """Compute the metrics of a set.

    All cells score the same videos, so their AUCs vary together. The intervals of drops and their means take
    that into account: they come from the covariance of all AUCs (DeLong et al. 1988).

    Args:
        clean: (V,) scores of the videos without distortion.
        distorted: For each cell (V,) scores of the same videos; each kind at the same levels.
        labels: (V,) 0 = genuine, 1 = fake.
        groups: (V,) names of identities, whose videos depend on each other; None: videos are independent.
        level: Confidence level of the intervals.
        name: Name of the set in the summary and in error messages.

    Returns:
        The metrics.

    Raises:
        InputError: Nothing is distorted, kinds have different levels, or lengths differ.
        OneClassError: A class is missing.
    """
    cells = list(distorted)
    kinds = list(dict.fromkeys(cell.kind for cell in cells))
    levels = {cell.level for cell in cells}
    if not cells or len(cells) != len(kinds) * len(levels):
        raise InputError(f'{name}: {len(cells)} cells for {len(kinds)} distortions at {len(levels)} levels')
    rows = np.stack([np.asarray(clean, dtype=np.float64), *distorted.values()])
    both = delong_covariance(rows, labels, groups=groups, name=name)
    aucs = [delong_covariance([row], labels, groups=groups, name=name).interval(level=level) for row in rows]

    def mean_drop(chosen: Sequence[Cell]) -> Interval:
        weights = np.zeros(len(rows))
        weights[0] = 1
        for cell in chosen:
            weights[1 + cells.index(cell)] -= 1 / len(chosen)
        return both.contrast(weights, level)

    return Summary(
        name=name,
        num_videos=labels.size,
        num_fake_videos=int(labels.sum()),
        clean=aucs[0],
        cells={cell: CellMetrics(auc, mean_drop([cell])) for cell, auc in zip(cells, aucs[1:], strict=True)},
        kind_drops={kind: mean_drop([cell for cell in cells if cell.kind == kind]) for kind in kinds},
        mean_drop=mean_drop(cells),
    )
