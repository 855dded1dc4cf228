# SPDX-License-Identifier: Apache-2.0
"""Metrics of many resamples of one set at once: a resample is a weight for every sample.

R is the number of resamples, N of samples, U of distinct scores. scikit-learn's metrics take one vector of
weights and sort for each; here the scores are sorted once, and a resample then costs a few cumulative sums.
With weights of 1 every metric equals that of :mod:`~.roc`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from iid_mm.errors import InputError
from iid_mm.evaluation.functional.inputs import Labels, Scores


class WeightedMetrics:
    """AUC, EER and AP of one detector on resamples.

    Args:
        scores: (N,) finite scores.
        labels: (N,) 0 = genuine, 1 = fake, both present.
        metrics: Of 'auc', 'eer' and 'ap'.

    Raises:
        InputError: A metric is unknown.
    """

    def __init__(self, scores: Scores, labels: Labels, metrics: Sequence[str]) -> None:
        if unknown := [metric for metric in metrics if metric not in _OF_COUNTS]:
            raise InputError(f'metric {unknown[0]!r} is unknown; choose among {", ".join(_OF_COUNTS)}')
        self.metrics = tuple(metrics)
        self.order = np.argsort(-scores)
        ordered = scores[self.order]
        ends = np.append(np.flatnonzero(ordered[1:] != ordered[:-1]), scores.size - 1)
        self.ends = None if ends.size == scores.size else ends
        self.fake = labels[self.order].astype(np.float64)

    def __call__(self, weights: Scores) -> dict[str, Scores]:
        """Compute the metrics.

        Args:
            weights: (R, N) how often each sample is in each resample, which must hold both classes.

        Returns:
            By metric, (R,) values.
        """
        # `take` is several times faster than indexing here. Weights are integers, so that sums are exact.
        ordered = weights.take(self.order, axis=1)
        found = np.cumsum(ordered * self.fake, axis=1)
        false = np.cumsum(ordered, axis=1)
        false -= found
        if self.ends is not None:
            found, false = found.take(self.ends, axis=1), false.take(self.ends, axis=1)
        return {metric: _OF_COUNTS[metric](found, false) for metric in self.metrics}


def set_metrics(scores: Scores, labels: Labels) -> dict[str, float]:
    """AUC, EER and AP of a whole set, (N,) scores and labels, from one sort."""
    found = WeightedMetrics(scores, labels, tuple(_OF_COUNTS))(np.ones((1, scores.size)))
    return {metric: float(values[0]) for metric, values in found.items()}


def _auc(found: Scores, false: Scores) -> Scores:
    """Area under the polyline."""
    area = false[:, 0] * found[:, 0]
    area += np.einsum('ru,ru->r', np.diff(false), found[:, 1:] + found[:, :-1])
    return np.asarray(area / (2 * found[:, -1] * false[:, -1]))


def _eer(found: Scores, false: Scores) -> Scores:
    """FPR where the polyline crosses FPR = 1 - TPR, interpolated linearly."""
    fakes, genuine = found[:, -1], false[:, -1]
    # FPR - FNR times both totals: integers, so that a crossing at a corner is found exactly.
    gap = false * fakes[:, None] + found * genuine[:, None] - (fakes * genuine)[:, None]
    rows = np.arange(len(found))
    after = np.argmax(gap >= 0, axis=1)
    before = np.maximum(after - 1, 0)
    first = after == 0
    gap_after, gap_before = gap[rows, after], np.where(first, -fakes * genuine, gap[rows, before])
    false_before = np.where(first, 0.0, false[rows, before])
    weight = -gap_before / (gap_after - gap_before)
    return np.asarray((false_before + weight * (false[rows, after] - false_before)) / genuine)


def _ap(found: Scores, false: Scores) -> Scores:
    """Sum of precision times gain in recall."""
    # Above the first sample of a resample nothing is called fake and nothing gained: 0 / 1.
    precision = found / np.maximum(found + false, 1.0)
    gained = precision[:, 0] * found[:, 0]
    gained += np.einsum('ru,ru->r', precision[:, 1:], np.diff(found))
    return np.asarray(gained / found[:, -1])


_OF_COUNTS: dict[str, Callable[[Scores, Scores], Scores]] = {'auc': _auc, 'eer': _eer, 'ap': _ap}
