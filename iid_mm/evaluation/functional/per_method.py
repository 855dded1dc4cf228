# SPDX-License-Identifier: Apache-2.0
"""Metrics overall and of every manipulation against all genuine videos of its dataset."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from iid_mm.errors import InputError
from iid_mm.evaluation.functional.aggregate import video_scores
from iid_mm.evaluation.functional.inputs import (
    Coded,
    Labels,
    Names,
    Scores,
    check_both_classes,
    check_scores,
    factorize,
)
from iid_mm.evaluation.functional.roc import RocCurve, roc_curve
from iid_mm.evaluation.functional.weighted import set_metrics
from iid_mm.utils.tables import markdown_table, percent

OVERALL = 'overall'
_OVERALL_KEYS = (
    *('frame_auc', 'video_auc', 'frame_ap', 'video_ap', 'frame_eer', 'video_eer'),
    *('frame_acc', 'video_acc', 'num_videos'),
)
_ROW_KEYS = ('frame_auc', 'video_auc')
_COLUMNS = {
    'frame AUC': 'frame_auc',
    'video AUC': 'video_auc',
    'video EER': 'video_eer',
    'video AP': 'video_ap',
    'frame acc': 'frame_acc',
    'video acc': 'video_acc',
}


@dataclass(frozen=True)
class Level:
    """Scores of all frames or of all videos, M members in one order.

    Attributes:
        scores: (M,) float64.
        labels: (M,) int64.
        coded_datasets: (M,) names of the datasets.
        coded_methods: (M,) manipulation of a fake, anything for genuine members.
        unit: 'frames' or 'videos'.
    """

    scores: Scores
    labels: Labels
    coded_datasets: Coded
    coded_methods: Coded
    unit: str

    @property
    def datasets(self) -> Names:
        """(M,) names of the datasets."""
        return np.asarray(self.coded_datasets)

    @property
    def methods(self) -> Names:
        """(M,) manipulation of a fake, anything for genuine members."""
        return np.asarray(self.coded_methods)

    def mask(self, subset: Subset) -> npt.NDArray[np.bool_]:
        """Members of one subset, (M,) bool: its fakes and all genuine members of its dataset."""
        chosen = np.ones(self.labels.shape, dtype=bool)
        if subset.dataset is not None:
            chosen &= self.coded_datasets.equal(subset.dataset)
        if subset.method is not None:
            chosen &= (self.labels == 0) | self.coded_methods.equal(subset.method)
        return chosen

    def select(self, subset: Subset) -> tuple[Scores, Labels]:
        """Scores and labels of one subset, see :meth:`mask`."""
        chosen = self.mask(subset)
        return self.scores[chosen], self.labels[chosen]

    def roc(self, subset: Subset) -> RocCurve:
        """ROC of one subset."""
        return roc_curve(*self.select(subset), name=subset.title, unit=self.unit)


@dataclass(frozen=True)
class Subset:
    """One row of the table: everything, one dataset, or one manipulation of a dataset.

    Attributes:
        name: Short name, which ends the names of its metrics.
        title: Name for error messages, with its datasets.
        dataset: Its dataset; None for all.
        method: Its manipulation; None for all.
    """

    name: str
    title: str
    dataset: str | None = None
    method: str | None = None


@dataclass(frozen=True)
class SubsetMetrics:
    """Metrics of one row, fractions of 1."""

    subset: Subset
    frame_auc: float
    video_auc: float
    frame_ap: float
    video_ap: float
    frame_eer: float
    video_eer: float
    frame_acc: float
    video_acc: float
    num_frames: int
    num_videos: int
    num_fake_videos: int


@dataclass(frozen=True)
class ScoredSet:
    """A whole evaluated set at both levels, with its rows in the order of the table.

    Attributes:
        frames: All frames.
        videos: All videos, in ascending order of their keys.
        subsets: The rows; the last one is the whole set.
        keys: (V,) keys of the videos.
        first: (V,) position of each video's first frame, to look up its other properties.
    """

    frames: Level
    videos: Level
    subsets: tuple[Subset, ...]
    keys: Names
    first: npt.NDArray[np.intp]

    @property
    def manipulations(self) -> tuple[Subset, ...]:
        """The rows that are one manipulation each."""
        return tuple(subset for subset in self.subsets if subset.method is not None)


def _as_names(values: Any, size: int, argument: str) -> Coded:
    names = factorize(values, argument=argument)
    if len(names) != size:
        raise InputError(f'{argument} of shape ({len(names)},) for {size} scores; give one for every frame')
    return names


def subsets(level: Level) -> Iterator[Subset]:
    """Manipulations of each dataset by name, its total after them if there are several, then everything."""
    datasets = level.coded_datasets.names.tolist()
    several = len(datasets) > 1
    for dataset in datasets:
        fakes = (level.labels == 1) & level.coded_datasets.equal(dataset)
        for method in level.coded_methods.take(fakes).names.tolist():
            name = f'{dataset}/{method}' if several else method
            yield Subset(name, f"manipulation '{method}' of set '{dataset}'", dataset, method)
        if several:
            yield Subset(dataset, f"set '{dataset}'", dataset)
    yield Subset(OVERALL, ', '.join(f"set '{dataset}'" for dataset in datasets))


def scored_set(
    scores: npt.ArrayLike,
    labels: npt.ArrayLike,
    video_keys: Any,
    methods: Any,
    datasets: Any = None,
    *,
    how: str = 'mean',
    k: int = 3,
) -> ScoredSet:
    """Prepare the scores of all frames for metrics and plots.

    Args:
        scores: (N,) one score a frame, higher = more likely fake.
        labels: (N,) 0 = genuine, 1 = fake.
        video_keys: (N,) ``dataset/method/compression/video`` of each frame.
        methods: (N,) manipulation of a fake frame; anything for a genuine one.
        datasets: (N,) dataset of each frame; None: all belong to one, called 'test'. Names are strings
            or :class:`~.inputs.Coded`, which is fastest.
        how: How frames make a video, see :func:`~.aggregate.video_scores`.
        k: Frames of ``how='topk'``.

    Returns:
        The set. A genuine video is compared with every manipulation of its dataset, whatever its
        own method (its source folder) is called.

    Raises:
        InputError: See :func:`~.aggregate.video_scores`.
    """
    checked, classes = check_scores(scores, labels)
    size = checked.size
    if datasets is None:
        datasets = Coded(np.zeros(size, dtype=np.int64), np.array(['test'], dtype=object))
    dataset_names = _as_names(datasets, size, 'datasets')
    method_names = _as_names(methods, size, 'methods')
    title = ', '.join(f"set '{dataset}'" for dataset in dataset_names.names)
    keys = _as_names(video_keys, size, 'video_keys')
    merged = video_scores(checked, classes, keys, how, k=k, name=title)
    frames = Level(checked, classes, dataset_names, method_names, 'frames')
    of_videos = (dataset_names.take(merged.first), method_names.take(merged.first))
    videos = Level(merged.scores, merged.labels, *of_videos, 'videos')
    return ScoredSet(frames, videos, tuple(subsets(videos)), merged.keys, merged.first)


def _metrics(scored: ScoredSet, subset: Subset, threshold: float) -> SubsetMetrics:
    values: dict[str, Any] = {}
    for prefix, level in (('frame', scored.frames), ('video', scored.videos)):
        scores, labels = level.select(subset)
        check_both_classes(labels, name=subset.title, unit=level.unit)
        found = set_metrics(scores, labels)
        values |= {f'{prefix}_{metric}': value for metric, value in found.items()}
        values[f'{prefix}_acc'] = float(np.mean((scores >= threshold) == (labels == 1)))
        values[f'num_{level.unit}'] = labels.size
    return SubsetMetrics(subset=subset, num_fake_videos=int(labels.sum()), **values)


def per_method(scored: ScoredSet, *, threshold: float = 0.5) -> list[SubsetMetrics]:
    """Metrics of every manipulation, of every dataset where there are several, and overall.

    Args:
        scored: The set, see :func:`scored_set`.
        threshold: A score >= this counts as fake in the accuracies.

    Returns:
        One entry a row of the table; the last one is the whole set.

    Raises:
        OneClassError: The set, or one of its datasets, has no genuine or no fake videos.
    """
    # The whole set first: its message about a missing class helps most.
    overall = _metrics(scored, scored.subsets[-1], threshold)
    return [*(_metrics(scored, subset, threshold) for subset in scored.subsets[:-1]), overall]


def flat_metrics(rows: Sequence[SubsetMetrics]) -> dict[str, float]:
    """Name every metric: the whole set's plainly, a row's as ``video_auc/<row>``.

    Args:
        rows: Output of :func:`per_method`; the last row is the whole set.

    Returns:
        The metrics, fractions of 1, and the number of videos.
    """
    metrics = {key: getattr(rows[-1], key) for key in _OVERALL_KEYS}
    for row in rows[:-1]:
        metrics |= {f'{key}/{row.subset.name}': getattr(row, key) for key in _ROW_KEYS}
    return metrics


def format_table(rows: Sequence[SubsetMetrics]) -> str:
    """Format the metrics as a Markdown table, in percent with two decimals.

    Args:
        rows: Output of :func:`per_method`.

    Returns:
        The table, ready for a log or a README.
    """
    cells = [['fakes', *_COLUMNS, 'videos (fake)']]
    for row in rows:
        values = [percent(getattr(row, key)) for key in _COLUMNS.values()]
        cells.append([row.subset.name, *values, f'{row.num_videos} ({row.num_fake_videos})'])
    return '\n'.join(markdown_table(cells, texts=1))
