# SPDX-License-Identifier: Apache-2.0
"""Bootstrap intervals of metrics, and of the difference of two detectors on the same samples.

A resample draws as many samples (videos) as the set has, with replacement, fakes from fakes and genuine from
genuine ones, since a test set fixes how many of each there are. With ``groups`` (identities), whole groups
are drawn: from those with fakes only, with genuine samples only, and with both. Their samples depend on
each other, and intervals that ignore it are too narrow (Field and Welsh 2007).

The draws of resample r come from NumPy's PCG64 with the seed sequence (seed, r). They are the same on
every machine, whatever is computed from them and however they are split into chunks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import special

from iid_mm.errors import InputError
from iid_mm.evaluation.functional.inputs import (
    Labels,
    Scores,
    check_both_classes,
    check_scores,
    group_codes,
)
from iid_mm.evaluation.functional.weighted import RANK_METRICS, WeightedMetrics
from iid_mm.evaluation.statistics.delong import structural_components
from iid_mm.evaluation.statistics.intervals import (
    Interval,
    check_level,
    difference_interval,
    exact_share_interval,
    newcombe_auc_interval,
    separated_eer_bound,
)

METHODS = ('percentile', 'bca')
"""Names that ``method`` takes."""
_CHUNK = 1 << 16
"""Weights that are in memory at once; arrays of this size stay in the processor's cache."""
_JACKKNIFE = 128
"""Blocks of units per stratum that BCa leaves out, one at a time."""

Statistic = Callable[[Scores], dict[str, Scores]]
"""From weights, (R, N), to metrics by name, (R,) each."""


@dataclass(frozen=True)
class Difference:
    """A metric of two detectors on the same samples.

    Attributes:
        first: Metric of the first detector.
        second: Metric of the second one.
        interval: ``second - first`` with its interval. If no resample changes it, it is exactly 0 for
            detectors that rank all samples equally among those of the other class (for metrics of
            probabilities: that give the same scores); otherwise the limits come from those of both
            metrics (method 'mover') and are too wide rather than too narrow.
        standard_error: Standard deviation of the difference over the resamples.
        p: Two-sided bootstrap p value: twice the smaller share of resamples at or beyond 0, counting the
            set itself as one; at least 2 / (resamples + 1). NaN if a class has one sample, or group.
    """

    first: float
    second: float
    interval: Interval
    standard_error: float
    p: float


class _Plan:
    """What is drawn: units of each stratum, and the samples that belong to them."""

    def __init__(self, labels: Labels, groups: Any, name: str) -> None:
        codes = group_codes(groups, labels.size, name=name)
        total = np.bincount(codes)
        fakes = np.bincount(codes, weights=labels, minlength=total.size)
        self.independent = int(np.count_nonzero(fakes)), int(np.count_nonzero(fakes < total))
        kind = np.where(fakes == 0, 1, np.where(fakes == total, 0, 2))
        # Units are numbered stratum by stratum, so that one slice of a row is one stratum.
        place = np.empty(total.size, dtype=np.intp)
        place[np.argsort(kind, kind='stable')] = np.arange(total.size)
        self.unit = place[codes]
        self.identity = np.array_equal(self.unit, np.arange(labels.size))
        self.sizes = [int(size) for size in np.bincount(kind, minlength=3) if size]
        self.blocks = [min(size, _JACKKNIFE) for size in self.sizes]

    def _weights(self, count: int, fill: Callable[[npt.NDArray[Any], int], None]) -> Iterator[Scores]:
        """Weights of the samples in chunks of (R, N); ``fill`` sets row r of the weights of the units."""
        step = max(1, _CHUNK // self.unit.size)
        for start in range(0, count, step):
            rows = np.ones((min(step, count - start), sum(self.sizes)))
            for number, row in enumerate(rows, start):
                fill(row, number)
            yield rows if self.identity else rows.take(self.unit, axis=1)

    def resamples(self, count: int, seed: int) -> Iterator[Scores]:
        """Weights of the samples in every resample."""

        def draw(row: npt.NDArray[Any], number: int) -> None:
            bits = np.random.PCG64(np.random.SeedSequence(seed, spawn_key=(number,)))
            generator = np.random.Generator(bits)
            begin = 0
            for size in self.sizes:
                row[begin : begin + size] = np.bincount(generator.integers(0, size, size), minlength=size)
                begin += size

        return self._weights(count, draw)

    def left_out(self) -> Iterator[Scores]:
        """Weights with one block left out, stratum by stratum; the number of each one's is in ``blocks``."""
        places = [
            slice(begin + block, begin + size, blocks)
            for begin, size, blocks in zip(
                np.cumsum([0, *self.sizes[:-1]]), self.sizes, self.blocks, strict=True
            )
            for block in range(blocks)
        ]

        def leave_out(row: npt.NDArray[Any], number: int) -> None:
            row[places[number]] = 0

        return self._weights(len(places), leave_out)


def _collect(parts: Iterator[Scores], statistic: Statistic) -> dict[str, Scores]:
    values = [statistic(weights) for weights in parts]
    return {metric: np.concatenate([part[metric] for part in values]) for metric in values[0]}


def _accelerations(plan: _Plan, statistic: Statistic) -> dict[str, float]:
    """Acceleration of BCa by metric, from leaving units out (Davison and Hinkley 1997, section 5.3)."""
    if min(plan.sizes) < 2:
        return {}
    result = {}
    for metric, values in _collect(plan.left_out(), statistic).items():
        strata = np.split(values, np.cumsum(plan.blocks)[:-1])
        influences = np.concatenate([(part.mean() - part) * (part.size - 1) / part.size for part in strata])
        scale = float(np.sum(influences**2)) ** 1.5
        result[metric] = float(np.sum(influences**3)) / (6 * scale) if scale > 0 else 0.0
    return result


def _is_constant(values: Scores) -> bool:
    return bool(np.ptp(values) <= 1e-12)


class _Bootstrap:
    """A statistic of the set itself and of its resamples.

    Args:
        statistic: What is resampled.
        plan: What is drawn.
        resamples, level, method, seed: See :func:`bootstrap_metrics`.
    """

    def __init__(
        self, statistic: Statistic, plan: _Plan, *, resamples: int, level: float, method: str, seed: int
    ) -> None:
        self.plan, self.level = plan, level
        whole = statistic(np.ones((1, plan.unit.size)))
        self.own = {metric: float(value[0]) for metric, value in whole.items()}
        self.values = _collect(plan.resamples(resamples, seed), statistic)
        self.accelerations = _accelerations(plan, statistic) if method == 'bca' else {}
        # If all samples of a class are one unit, resamples do not show how such units differ.
        self.has_lone_unit = min(plan.independent) < 2

    def says_nothing(self, metric: str) -> bool:
        """Whether resamples do not change the metric, or too little for an interval."""
        return _is_constant(self.values[metric]) or self.has_lone_unit

    def interval(self, key: str, metric: str | None = None) -> Interval:
        """Interval of a value; ``metric``: which one it is if ``key`` does not say so (then without BCa)."""
        value = self.own[key]
        if np.isnan(value):
            return Interval(value, float('nan'), float('nan'), 'none')
        if self.says_nothing(key):
            return self._closed_form(metric or key, value)
        values, method = self.values[key], 'percentile'
        tails = np.array([(1 - self.level) / 2, (1 + self.level) / 2])
        acceleration = None if metric else self.accelerations.get(key)
        if acceleration is not None:
            # BCa (Efron 1987). A value outside of its distribution has no correction for bias.
            below = np.count_nonzero(values < value) + np.count_nonzero(values <= value)
            bias = special.ndtri(below / (2 * values.size))
            if np.isfinite(bias):
                shifted = bias + special.ndtri(tails)
                tails = special.ndtr(bias + shifted / (1 - acceleration * shifted))
                method = 'bca'
        low, high = np.quantile(values, tails)
        return Interval(value, float(low), float(high), method)

    def _closed_form(self, metric: str, value: float) -> Interval:
        """Interval of a metric without the resamples."""
        fakes, genuine = self.plan.independent
        if metric == 'auc':
            return newcombe_auc_interval(value, fakes, genuine, level=self.level)
        if metric == 'eer' and value == 0:
            return Interval(value, 0.0, separated_eer_bound(fakes, genuine, level=self.level), 'exact')
        trials = fakes + genuine if metric == 'accuracy' else fakes
        if (metric == 'accuracy' or metric.startswith('tpr@')) and value in (0.0, 1.0):
            return exact_share_interval(round(value * trials), trials, level=self.level)
        return Interval(value, float('nan'), float('nan'), 'none')


def _check(resamples: int, level: float, method: str) -> None:
    check_level(level)
    if resamples < 1:
        raise InputError(f'resamples={resamples}: give at least 1; 1000 and more make sense')
    if method not in METHODS:
        raise InputError(f'method={method!r} is unknown; choose one of {", ".join(METHODS)}')


def bootstrap_metrics(
    scores: npt.ArrayLike,
    labels: npt.ArrayLike,
    metrics: Sequence[str] = ('auc',),
    *,
    threshold: float = 0.5,
    groups: Any = None,
    resamples: int = 1000,
    level: float = 0.95,
    method: str = 'bca',
    seed: int = 0,
    name: str = 'the set',
) -> dict[str, Interval]:
    """Metrics of a set of videos with bootstrap intervals.

    Args:
        scores: (N,) one score per video, higher = more likely fake.
        labels: (N,) 0 = genuine, 1 = fake.
        metrics: Names: 'auc', 'eer', 'ap', 'accuracy', 'log_loss', 'brier' and 'tpr@<rate>'.
        threshold: A score >= this counts as fake in the accuracy; it is not chosen anew in resamples.
        groups: (N,) names of groups (identities) that are drawn as a whole; a video with None is a group of
            its own. None: every video is.
        resamples: Number of resamples.
        level: Confidence level.
        method: 'bca' (corrected for bias and skewness; it keeps its level better near 0 and 1 and in small
            sets) or 'percentile'.
        seed: Seed of the draws, not negative.
        name: What error messages call the set.

    Returns:
        Metric and interval by name. If no resample changes a metric (such as AUC 1), or a class has one
        sample or one group, its interval is Newcombe's (AUC), exact (accuracy and TPR of 0 or 1, EER of 0)
        or not determined (NaN), and ``Interval.method`` says so. A TPR is NaN if the set has too few genuine
        samples for its rate.

    Raises:
        InputError: An argument is out of range or a metric unknown.
        OneClassError: A class is missing.
    """
    _check(resamples, level, method)
    checked, classes = check_scores(scores, labels, name=name)
    check_both_classes(classes, name=name)
    statistic = WeightedMetrics(checked, classes, metrics, threshold=threshold, name=name)
    plan = _Plan(classes, groups, name)
    found = _Bootstrap(statistic, plan, resamples=resamples, level=level, method=method, seed=seed)
    return {metric: found.interval(metric) for metric in found.own}


def bootstrap_difference(
    first: npt.ArrayLike,
    second: npt.ArrayLike,
    labels: npt.ArrayLike,
    metrics: Sequence[str] = ('auc',),
    *,
    threshold: float = 0.5,
    groups: Any = None,
    resamples: int = 1000,
    level: float = 0.95,
    method: str = 'percentile',
    seed: int = 0,
    name: str = 'the set',
) -> dict[str, Difference]:
    """Differences of metrics of two detectors on the same videos: both see every resample (paired).

    Args:
        first: (N,) scores of the first detector.
        second: (N,) scores of the second one, of the same videos.
        labels: (N,) 0 = genuine, 1 = fake.
        metrics: See :func:`bootstrap_metrics`, as for all that follows.
        threshold: Threshold of both in the accuracy.
        groups: Groups that are drawn as a whole.
        resamples: Number of resamples.
        level: Confidence level.
        method: 'percentile' (keeps its level better here, in simulations) or 'bca'.
        seed: Seed of the draws.
        name: What error messages call the set.

    Returns:
        The differences ``second - first`` by name.

    Raises:
        InputError: An argument is out of range, a metric unknown, or the lengths differ.
        OneClassError: A class is missing.
    """
    _check(resamples, level, method)
    both = [check_scores(scores, labels, name=name) for scores in (first, second)]
    classes = both[0][1]
    check_both_classes(classes, name=name)
    one, two = (
        WeightedMetrics(scores, classes, metrics, threshold=threshold, name=name) for scores, _ in both
    )

    def statistic(weights: Scores) -> dict[str, Scores]:
        before, after = one(weights), two(weights)
        values = {metric: after[metric] - before[metric] for metric in before}
        for side, own in (('first', before), ('second', after)):
            values |= {f'{side} {metric}': value for metric, value in own.items()}
        return values

    plan = _Plan(classes, groups, name)
    found = _Bootstrap(statistic, plan, resamples=resamples, level=level, method=method, seed=seed)
    components = [structural_components(scores, classes) for scores, _ in both]
    # Metrics of ranks depend only on where each sample stands among those of the other class.
    same_ranks = np.array_equal(components[0], components[1])
    same_scores = np.array_equal(both[0][0], both[1][0])
    result = {}
    for metric in one.limits:
        changes = found.values[metric]
        sides = [found.interval(f'{side} {metric}', metric) for side in ('first', 'second')]
        unknown = bool(np.isnan(found.own[metric]))
        if unknown or not found.says_nothing(metric):
            interval = found.interval(metric)
        elif same_ranks if metric.partition('@')[0] in RANK_METRICS else same_scores:
            interval = Interval(0.0, 0.0, 0.0, method)
        else:
            interval = difference_interval(*sides)
        tail = min(np.count_nonzero(changes <= 0), np.count_nonzero(changes >= 0))
        unknown = unknown or (found.has_lone_unit and not _is_constant(changes))
        p = float('nan') if unknown else min(1.0, 2 * (1 + tail) / (resamples + 1))
        error = float(np.std(changes, ddof=1)) if resamples > 1 else float('nan')
        result[metric] = Difference(sides[0].value, sides[1].value, interval, error, p)
    return result
