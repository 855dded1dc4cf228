# SPDX-License-Identifier: Apache-2.0
"""The matrix of a cross-manipulation protocol: trained on x tested on, over seeds."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from cross_manipulation.train_sets import TrainSet
from iid_mm.errors import InputError
from iid_mm.evaluation.scores import read_scores

METRICS = ('video_auc', 'frame_auc', 'video_eer', 'frame_eer')
TITLES = {
    'video_auc': 'video AUC',
    'frame_auc': 'frame AUC',
    'video_eer': 'video EER',
    'frame_eer': 'frame EER',
}
Outcome = Literal['finished', 'failed', 'pending']
Metrics = Mapping[str, Mapping[str, float]]
"""Metric by metric and column, fractions of 1."""


@dataclass(frozen=True)
class Column:
    """One column of the matrix.

    Attributes:
        name: The manipulation, with its dataset if the test split has several.
        method: The manipulation.
    """

    name: str
    method: str


@dataclass(frozen=True)
class Summary:
    """One metric over seeds.

    Attributes:
        values: One a seed, as fractions of 1; None where the run is not finished.
    """

    values: tuple[float | None, ...]

    @property
    def known(self) -> tuple[float, ...]:
        """Values of the finished runs."""
        return tuple(value for value in self.values if value is not None)

    @property
    def mean(self) -> float | None:
        """Mean over the finished runs; None without any."""
        return float(np.mean(self.known)) if self.known else None

    @property
    def std(self) -> float | None:
        """Standard deviation of the sample (divisor n - 1); None for fewer than two runs."""
        return float(np.std(self.known, ddof=1)) if len(self.known) > 1 else None


@dataclass(frozen=True)
class Row:
    """One training set of one config.

    Attributes:
        train_set: The training set.
        outcomes: State of its runs, one a seed.
        seen: Whether the runs were trained on a column's manipulation.
        cells: By metric, one summary a column.
        unseen: By metric, the mean over unseen columns, of each seed first; values are None where no
            column is unseen.
        trained: By metric, the mean over seen columns.
    """

    train_set: TrainSet
    outcomes: tuple[Outcome, ...]
    seen: tuple[bool, ...]
    cells: Mapping[str, tuple[Summary, ...]]
    unseen: Mapping[str, Summary]
    trained: Mapping[str, Summary]


@dataclass(frozen=True)
class Section:
    """The matrix of one config.

    Attributes:
        name: Name of the config.
        rows: One a training set.
        average: By metric, the mean of the rows' ``unseen``, of each seed first; only of seeds all of whose
            runs are finished, so that all averages are over the same rows.
    """

    name: str
    rows: tuple[Row, ...]
    average: Mapping[str, Summary]


@dataclass(frozen=True)
class Matrix:
    """Matrices of all configs, with common rows, columns and seeds."""

    columns: tuple[Column, ...]
    seeds: tuple[int, ...]
    sections: tuple[Section, ...]


@dataclass(frozen=True)
class Result:
    """What became of a run; ``metrics`` only where it is finished."""

    outcome: Outcome
    metrics: Metrics | None = None


def run_metrics(path: str | os.PathLike[str], columns: Sequence[Column], how: str = 'mean') -> Metrics:
    """Compute the metrics of a run from the scores of its test.

    Every manipulation is compared with all genuine videos of its dataset.

    Args:
        path: Scores file.
        columns: The manipulations.
        how: How the frames of a video make its score.

    Returns:
        The metrics.

    Raises:
        FileNotFoundError: There is no such file.
        InputError: The file lacks a manipulation, or a metric is not defined.
    """
    scored = read_scores(Path(path)).by_video(how)
    subsets = {subset.name: subset for subset in scored.manipulations}
    if missing := [column.name for column in columns if column.name not in subsets]:
        raise InputError(
            f'{path} has no scores of {", ".join(missing)}; it has {", ".join(subsets) or "none"}. '
            'The test has used other data than the protocol was made for'
        )
    metrics: dict[str, dict[str, float]] = {metric: {} for metric in METRICS}
    for column in columns:
        for unit, level in (('video', scored.videos), ('frame', scored.frames)):
            curve = level.roc(subsets[column.name])
            metrics[f'{unit}_auc'][column.name] = curve.auc
            metrics[f'{unit}_eer'][column.name] = curve.eer
    return metrics


def build_matrix(
    sections: Sequence[str],
    train_sets: Sequence[TrainSet],
    columns: Sequence[Column],
    seeds: Sequence[int],
    results: Mapping[tuple[str, str, int], Result],
) -> Matrix:
    """Put the metrics of all runs together.

    Args:
        sections: Names of the configs.
        train_sets: The rows.
        columns: The columns.
        seeds: The seeds.
        results: By config, slug of the training set and seed; what is missing is pending.

    Returns:
        The matrix.
    """
    parts = []
    for name in sections:
        rows = tuple(
            _row(
                train_set,
                columns,
                [results.get((name, train_set.slug, seed), Result('pending')) for seed in seeds],
            )
            for train_set in train_sets
        )
        average = {metric: _mean_of([row.unseen[metric] for row in rows], len(seeds)) for metric in METRICS}
        parts.append(Section(name, rows, average))
    return Matrix(tuple(columns), tuple(seeds), tuple(parts))


def _row(train_set: TrainSet, columns: Sequence[Column], results: Sequence[Result]) -> Row:
    seen = tuple(column.method in train_set.methods for column in columns)
    cells: dict[str, tuple[Summary, ...]] = {}
    unseen: dict[str, Summary] = {}
    trained: dict[str, Summary] = {}
    for metric in METRICS:
        cells[metric] = tuple(
            Summary(tuple(None if r.metrics is None else r.metrics[metric][column.name] for r in results))
            for column in columns
        )
        for target, wanted in ((unseen, False), (trained, True)):
            chosen = [cell for cell, known in zip(cells[metric], seen, strict=True) if known is wanted]
            target[metric] = _mean_of(chosen, len(results))
    return Row(train_set, tuple(r.outcome for r in results), seen, cells, unseen, trained)


def _mean_of(summaries: Sequence[Summary], seeds: int) -> Summary:
    """Mean of several metrics for each seed; None where one of them is missing."""
    values: list[float | None] = []
    for number in range(seeds):
        of_seed = [summary.values[number] for summary in summaries]
        known = [value for value in of_seed if value is not None]
        values.append(float(np.mean(known)) if known and len(known) == len(of_seed) else None)
    return Summary(tuple(values))
