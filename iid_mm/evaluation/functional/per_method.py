# SPDX-License-Identifier: Apache-2.0
"""Figures overall and of every manipulation against all genuine videos of its data set."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn import metrics as sk_metrics

from iid_mm.errors import InputError
from iid_mm.evaluation.functional.aggregate import video_scores
from iid_mm.evaluation.functional.checks import Labels, Scores, check_scores
from iid_mm.evaluation.functional.roc import RocCurve, accuracy, roc_curve

Names = npt.NDArray[np.object_]
OVERALL = 'overall'


@dataclass(frozen=True)
class Level:
    """Scores of all frames or of all videos, M members in one order.

    Attributes:
        scores: (M,) float64.
        labels: (M,) int64.
        datasets: (M,) names of the data sets.
        methods: (M,) manipulation of a fake; not looked at for genuine members.
        unit: 'frames' or 'videos'.
    """

    scores: Scores
    labels: Labels
    datasets: Names
    methods: Names
    unit: str

    def select(self, subset: Subset) -> tuple[Scores, Labels]:
        """Scores and labels of one subset: its fakes and all genuine members of its data set."""
        chosen = np.ones(self.labels.shape, dtype=bool)
        if subset.dataset is not None:
            chosen &= self.datasets == subset.dataset
        if subset.method is not None:
            chosen &= (self.labels == 0) | (self.methods == subset.method)
        return self.scores[chosen], self.labels[chosen]

    def roc(self, subset: Subset) -> RocCurve:
        """ROC of one subset."""
        return roc_curve(*self.select(subset), name=subset.title, unit=self.unit)


@dataclass(frozen=True)
class Subset:
    """One row of the table: everything, one data set, or one manipulation of a data set.

    Attributes:
        name: Short name, the row's name and the end of its metrics' names.
        title: Name for error messages, which names the data sets too.
        dataset: Its data set; None for all.
        method: Its manipulation; None for all.
    """

    name: str
    title: str
    dataset: str | None = None
    method: str | None = None


@dataclass(frozen=True)
class Figures:
    """The figures of one row, as fractions of 1 (not percent)."""

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
    """A whole evaluated set at both levels, with its rows in the order of the table."""

    frames: Level
    videos: Level
    subsets: tuple[Subset, ...]

    @property
    def manipulations(self) -> tuple[Subset, ...]:
        """The rows that are one manipulation each."""
        return tuple(subset for subset in self.subsets if subset.method is not None)


def _as_names(values: npt.ArrayLike, size: int, argument: str) -> Names:
    names = np.asarray(values, dtype=object)
    if names.shape != (size,):
        raise InputError(f'{argument} of shape {names.shape} for {size} scores; give one for every frame')
    return names


def _subsets(level: Level) -> Iterator[Subset]:
    """Manipulations of each data set by name, its total after them, then everything."""
    datasets = sorted(set(level.datasets.tolist()))
    several = len(datasets) > 1
    for dataset in datasets:
        fakes = (level.labels == 1) & (level.datasets == dataset)
        for method in sorted(set(level.methods[fakes].tolist())):
            name = f'{dataset}/{method}' if several else method
            yield Subset(name, f"manipulation '{method}' of set '{dataset}'", dataset, method)
        if several:
            yield Subset(dataset, f"set '{dataset}'", dataset)
    yield Subset(OVERALL, ', '.join(f"set '{dataset}'" for dataset in datasets))


def scored_set(
    scores: npt.ArrayLike,
    labels: npt.ArrayLike,
    video_keys: npt.ArrayLike,
    methods: npt.ArrayLike,
    datasets: npt.ArrayLike | None = None,
    *,
    how: str = 'mean',
) -> ScoredSet:
    """Bring the scores of all frames into the form that the figures and the pictures are made from.

    Args:
        scores: (N,) one score a frame, higher = more likely fake.
        labels: (N,) 0 = genuine, 1 = fake.
        video_keys: (N,) ``dataset/method/compression/video`` of each frame.
        methods: (N,) manipulation of a fake frame; anything for a genuine one.
        datasets: (N,) data set of each frame; None: all belong to one, called 'test'.
        how: How frames make a video, see :func:`~.aggregate.video_scores`.

    Returns:
        The set. A genuine video is compared with every manipulation of its data set, whatever its
        own method (its source folder) is called.

    Raises:
        InputError: See :func:`~.aggregate.video_scores`.
    """
    checked, classes = check_scores(scores, labels)
    size = checked.size
    dataset_names = _as_names(['test'] * size if datasets is None else datasets, size, 'datasets')
    method_names = _as_names(methods, size, 'methods')
    title = ', '.join(f"set '{dataset}'" for dataset in sorted(set(dataset_names.tolist())))
    keys = _as_names(video_keys, size, 'video_keys')
    merged = video_scores(checked, classes, keys, how, name=title)
    frames = Level(checked, classes, dataset_names, method_names, 'frames')
    videos = Level(
        merged.scores,
        merged.labels,
        dataset_names[merged.first],
        method_names[merged.first],
        'videos',
    )
    return ScoredSet(frames, videos, tuple(_subsets(videos)))


def _figures(scored: ScoredSet, subset: Subset, threshold: float) -> Figures:
    values: dict[str, float] = {}
    for prefix, level in (('frame', scored.frames), ('video', scored.videos)):
        scores, labels = level.select(subset)
        curve = roc_curve(scores, labels, name=subset.title, unit=level.unit)
        values[f'{prefix}_auc'] = curve.auc
        values[f'{prefix}_eer'] = curve.eer
        values[f'{prefix}_ap'] = float(sk_metrics.average_precision_score(labels, scores))
        values[f'{prefix}_acc'] = accuracy(scores, labels, threshold)
    return Figures(
        subset=subset,
        num_frames=scored.frames.select(subset)[1].size,
        num_videos=labels.size,
        num_fake_videos=int(labels.sum()),
        **values,
    )


def per_method(scored: ScoredSet, *, threshold: float = 0.5) -> list[Figures]:
    """Figures of every manipulation, of every data set where there are several, and overall.

    Args:
        scored: The set, see :func:`scored_set`.
        threshold: A score >= this counts as fake in the accuracies.

    Returns:
        One entry a row of the table; the last one is the whole set.

    Raises:
        OneClassError: The set, or one of its data sets, has no genuine or no fake videos.
    """
    # The whole set first: of all messages about a missing class, its message helps most.
    overall = _figures(scored, scored.subsets[-1], threshold)
    return [*(_figures(scored, subset, threshold) for subset in scored.subsets[:-1]), overall]
