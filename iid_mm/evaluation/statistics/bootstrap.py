# SPDX-License-Identifier: Apache-2.0
"""Bootstrap intervals of metrics, and of the difference of two detectors on the same samples.

A resample draws as many samples (videos) as the set has, with replacement, fakes from fakes and genuine from
genuine ones, since a test set fixes how many of each there are. With ``groups`` (identities), whole groups
are drawn, from those with fakes only, genuine samples only, and both; their samples depend on
each other, and intervals that ignore it are too narrow (Field and Welsh 2007).

The draws of resample r come from NumPy's PCG64 with the seed sequence (seed, r): they are the same on
every machine, whatever is computed from them and however it is cut into parts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import special

from iid_mm.errors import InputError
from iid_mm.evaluation.functional.checks import Labels, Scores, check_both_classes, check_scores
from iid_mm.evaluation.statistics.delong import structural_components
from iid_mm.evaluation.statistics.groups import class_groups, group_codes
from iid_mm.evaluation.statistics.intervals import (
    Interval,
    check_level,
    difference_interval,
    exact_share_interval,
    newcombe_auc_interval,
    separated_eer_bound,
)
from iid_mm.evaluation.statistics.weighted import RANK_METRICS, WeightedMetrics

METHODS = ('percentile', 'bca')
"""Names that ``method`` takes."""
_CHUNK = 1 << 16
"""Weights that are in memory at once; arrays of this size stay in the processor's cache."""
_JACKKNIFE = 128
"""Units a stratum whose omission BCa looks at; more are left out in blocks."""

Distributions = dict[str, Scores]


@dataclass(frozen=True)
class Difference:
    """A metric of two detectors on the same samples.

    Attributes:
        first: Metric of the first detector.
        second: Metric of the second one.
        interval: ``second - first`` with its interval. Where no resample changes it, it is exactly 0 for
            detectors that give all samples the same place among those of the other class (for
            metrics of probabilities: the same score); otherwise the limits come from those of both
            metrics (method 'mover') and are too wide rather than too narrow.
        standard_error: Standard deviation of the difference over the resamples.
        p: Two-sided bootstrap p value: twice the smaller share of resamples at or beyond 0, counting the
            set itself as one; not below 2 / (resamples + 1). NaN where a class has one sample, or group.
    """

    first: float
    second: float
    interval: Interval
    standard_error: float
    p: float


class _Plan:
    """What is drawn: units of each stratum, and the samples that belong to them."""

    def __init__(self, labels: Labels, groups: Any, name: str) -> None:
        codes = None if groups is None else group_codes(groups, labels.size, name=name)
        self.independent = class_groups(labels, codes)
        if codes is None:
            codes = np.arange(labels.size)
        total = np.bincount(codes)
        fakes = np.bincount(codes, weights=labels, minlength=total.size)
        kind = np.where(fakes == 0, 1, np.where(fakes == total, 0, 2))
        # Units are numbered stratum by stratum, so that one slice of a row is one stratum.
        place = np.empty(total.size, dtype=np.intp)
        place[np.argsort(kind, kind='stable')] = np.arange(total.size)
        self.unit = place[codes]
        self.identity = np.array_equal(self.unit, np.arange(labels.size))
        self.sizes = [int(size) for size in np.bincount(kind, minlength=3) if size]

    @property
    def units(self) -> int:
        return sum(self.sizes)

    @property
    def has_lone_unit(self) -> bool:
        """Whether all samples of a class are one unit: resamples say nothing on how such units differ."""
        return min(self.independent) < 2

    def _weights(self, rows: Scores) -> Scores:
        return rows if self.identity else rows.take(self.unit, axis=1)

    def resamples(self, count: int, seed: int) -> Iterator[Scores]:
        """Weights of the samples in parts of (R, N)."""
        step = max(1, _CHUNK // self.unit.size)
        for start in range(0, count, step):
            rows = np.empty((min(step, count - start), self.units))
            for row, number in zip(rows, range(start, count), strict=False):
                generator = np.random.Generator(
                    np.random.PCG64(np.random.SeedSequence(seed, spawn_key=(number,)))
                )
                begin = 0
                for size in self.sizes:
                    drawn = generator.integers(0, size, size)
                    row[begin : begin + size] = np.bincount(drawn, minlength=size)
                    begin += size
            yield self._weights(rows)

    def left_out(self) -> Iterator[tuple[int, Scores]]:
        """For each stratum its number of blocks and, in parts, the weights with one block left out."""
        begin = 0
        for size in self.sizes:
            blocks = min(size, _JACKKNIFE)
            step = max(1, _CHUNK // self.unit.size)
            for start in range(0, blocks, step):
                rows = np.ones((min(step, blocks - start), self.units))
                for row, block in zip(rows, range(start, blocks), strict=False):
                    row[begin + block : begin + size : blocks] = 0
                yield blocks, self._weights(rows)
            begin += size


Statistic = Callable[[Scores], Distributions]


def _collect(parts: Iterator[Scores], statistic: Statistic) -> Distributions:
    values = [statistic(weights) for weights in parts]
    return {metric: np.concatenate([part[metric] for part in values]) for metric in values[0]}


def _accelerations(plan: _Plan, statistic: Statistic) -> dict[str, float]:
    """Acceleration of BCa by metric, from leaving units out (Davison and Hinkley 1997, section 5.3)."""
    if min(plan.sizes) < 2:
        return {}
    parts: dict[str, list[tuple[int, Scores]]] = {}
    for blocks, weights in plan.left_out():
        for metric, values in statistic(weights).items():
            parts.setdefault(metric, []).append((blocks, values))
    result = {}
    for metric, values_of in parts.items():
        flat = np.concatenate([values for _, values in values_of])
        influences, begin = [], 0
        for blocks in (min(size, _JACKKNIFE) for size in plan.sizes):
            values = flat[begin : begin + blocks]
            influences.append((values.mean() - values) * (blocks - 1) / blocks)
            begin += blocks
        joined = np.concatenate(influences)
        scale = float(np.sum(joined**2)) ** 1.5
        result[metric] = float(np.sum(joined**3)) / (6 * scale) if scale > 0 else 0.0
    return result


def _limits(values: Scores, value: float, level: float, acceleration: float | None) -> Interval:
    """Percentile limits, or BCa ones (Efron 1987) where there is an acceleration."""
    tails = np.array([(1 - level) / 2, (1 + level) / 2])
    method = 'percentile'
    if acceleration is not None:
        below = (np.count_nonzero(values < value) + np.count_nonzero(values <= value)) / (2 * values.size)
        bias = special.ndtri(below)
        # A value outside of its distribution has no correction for bias.
        if np.isfinite(bias):
            shifted = bias + special.ndtri(tails)
            tails = special.ndtr(bias + shifted / (1 - acceleration * shifted))
            method = 'bca'
    low, high = np.quantile(values, tails)
    return Interval(value, float(low), float(high), method)


def _constant(metric: str, value: float, plan: _Plan, level: float) -> Interval:
    """Interval of a metric that resamples do not move, or not enough: the bootstrap's own is too narrow."""
    fakes, genuine = plan.independent
    if metric == 'auc':
        return newcombe_auc_interval(value, fakes, genuine, level=level)
    if metric == 'eer' and value == 0:
        return Interval(value, 0.0, separated_eer_bound(fakes, genuine, level=level), 'exact')
    trials = fakes + genuine if metric == 'accuracy' else fakes
    if (metric == 'accuracy' or metric.startswith('tpr@')) and value in (0.0, 1.0):
        return exact_share_interval(round(value * trials), trials, level=level)
    return Interval(value, float('nan'), float('nan'), 'none')


def _is_constant(values: Scores) -> bool:
    return bool(np.ptp(values) <= 1e-12)


def _interval(
    metric: str, values: Scores, value: float, plan: _Plan, level: float, acceleration: float | None
) -> Interval:
    if np.isnan(value):
        return Interval(value, float('nan'), float('nan'), 'none')
    if _is_constant(values) or plan.has_lone_unit:
        return _constant(metric, value, plan, level)
    return _limits(values, value, level, acceleration)


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
        scores: (N,) one score a video, higher = more likely fake.
        labels: (N,) 0 = genuine, 1 = fake.
        metrics: Names: 'auc', 'eer', 'ap', 'accuracy', 'log_loss', 'brier' and 'tpr@<rate>'.
        threshold: A score >= this counts as fake in the accuracy; it is not chosen anew in resamples.
        groups: (N,) names of groups (identities) that are drawn as a whole; None within it: a group of
            its own. None: every video is drawn by itself.
        resamples: Number of resamples.
        level: Confidence level.
        method: 'bca' (corrected for bias and skewness; near 0 and 1 and in small sets it holds its level
            better) or 'percentile'.
        seed: Seed of the draws, not negative.
        name: What error messages call the set.

    Returns:
        Metric and interval by name. Where no resample changes a metric (AUC 1, say), its interval is
        Newcombe's (AUC), an exact one (accuracy and TPR of 0 or 1, EER of 0), or not determined (NaN),
        and ``Interval.method`` says so; likewise where a class has one sample, or one group. A TPR that the
        set has too few genuine samples for is NaN.

    Raises:
        InputError: An argument is out of range or a metric unknown.
        OneClassError: A class is missing.
    """
    _check(resamples, level, method)
    checked, classes = check_scores(scores, labels, name=name)
    check_both_classes(classes, name=name)
    plan = _Plan(classes, groups, name)
    statistic = WeightedMetrics(checked, classes, metrics, threshold=threshold, name=name)
    own = statistic(np.ones((1, classes.size)))
    values = _collect(plan.resamples(resamples, seed), statistic)
    accelerations = _accelerations(plan, statistic) if method == 'bca' else {}
    return {
        metric: _interval(
            metric, values[metric], float(own[metric][0]), plan, level, accelerations.get(metric)
        )
        for metric in own
    }


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
        method: 'percentile' (in simulations it holds its level better here) or 'bca'.
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
    plan = _Plan(classes, groups, name)
    one, two = (
        WeightedMetrics(scores, classes, metrics, threshold=threshold, name=name) for scores, _ in both
    )

    def statistic(weights: Scores) -> Distributions:
        before, after = one(weights), two(weights)
        joined = {f'first {metric}': values for metric, values in before.items()}
        joined.update({f'second {metric}': values for metric, values in after.items()})
        joined.update({metric: after[metric] - before[metric] for metric in before})
        return joined

    own = {metric: float(value[0]) for metric, value in statistic(np.ones((1, classes.size))).items()}
    values = _collect(plan.resamples(resamples, seed), statistic)
    accelerations = _accelerations(plan, statistic) if method == 'bca' else {}
    components = [structural_components(scores, classes) for scores, _ in both]
    # Metrics of ranks depend on where each sample stands among those of the other class only.
    same = {
        True: np.array_equal(components[0], components[1]),
        False: np.array_equal(both[0][0], both[1][0]),
    }
    result = {}
    for metric in one.limits:
        changes, value = values[metric], own[metric]
        sides = [
            _interval(metric, values[f'{side} {metric}'], own[f'{side} {metric}'], plan, level, None)
            for side in ('first', 'second')
        ]
        if np.isnan(value) or not (_is_constant(changes) or plan.has_lone_unit):
            interval = _interval(metric, changes, value, plan, level, accelerations.get(metric))
        elif same[metric.partition('@')[0] in RANK_METRICS]:
            interval = Interval(0.0, 0.0, 0.0, method)
        else:
            interval = difference_interval(*sides)
        tail = min(np.count_nonzero(changes <= 0), np.count_nonzero(changes >= 0))
        unknown = np.isnan(value) or (plan.has_lone_unit and not _is_constant(changes))
        p = float('nan') if unknown else min(1.0, 2 * (1 + tail) / (resamples + 1))
        error = float(np.std(changes, ddof=1)) if resamples > 1 else float('nan')
        result[metric] = Difference(sides[0].value, sides[1].value, interval, error, p)
    return result
