# SPDX-License-Identifier: Apache-2.0
"""Bootstrap intervals of metrics, and of the difference of two AUCs on the same samples.

A resample draws as many samples (videos) as the set has, with replacement, fakes from fakes and genuine from
genuine ones, since a test set fixes how many of each there are. With ``groups`` (identities), whole groups
are drawn: from those with fakes only, with genuine samples only, and with both. Their samples depend on
each other, and intervals that ignore it are too narrow (Field and Welsh 2007).

The draws of resample r come from NumPy's PCG64 with the seed sequence (seed, r). They are the same on
every machine, whatever is computed from them and however they are split into chunks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

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
from iid_mm.evaluation.functional.weighted import WeightedMetrics
from iid_mm.evaluation.statistics.delong import structural_components
from iid_mm.evaluation.statistics.intervals import (
    Interval,
    check_level,
    difference_interval,
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


class Difference(NamedTuple):
    """AUC of two detectors on the same samples.

    Attributes:
        first: AUC of the first detector.
        second: AUC of the second one.
        interval: ``second - first`` with its interval. If no resample changes it, it is exactly 0 for
            detectors that rank all samples equally among those of the other class; otherwise the limits
            come from those of both AUCs (method 'mover') and are too wide rather than too narrow.
    """

    first: float
    second: float
    interval: Interval


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
        check_level(level)
        if resamples < 1:
            raise InputError(f'resamples={resamples}: give at least 1; 1000 and more make sense')
        if method not in METHODS:
            raise InputError(f'method={method!r} is unknown; choose one of {", ".join(METHODS)}')
        self.plan, self.level = plan, level
        whole = statistic(np.ones((1, plan.unit.size)))
        self.own = {metric: float(value[0]) for metric, value in whole.items()}
        self.values = _collect(plan.resamples(resamples, seed), statistic)
        self.accelerations = _accelerations(plan, statistic) if method == 'bca' else {}
        # If all samples of a class are one unit, resamples do not show how such units differ.
        self.has_lone_unit = min(plan.independent) < 2

    def says_nothing(self, metric: str) -> bool:
        """Whether resamples do not change the metric, or too little for an interval."""
        return bool(np.ptp(self.values[metric]) <= 1e-12) or self.has_lone_unit

    def interval(self, key: str, metric: str | None = None) -> Interval:
        """Interval of a value; ``metric``: which one it is if ``key`` does not say so."""
        value = self.own[key]
        if self.says_nothing(key):
            return self._closed_form(metric or key, value)
        values, method = self.values[key], 'percentile'
        tails = np.array([(1 - self.level) / 2, (1 + self.level) / 2])
        acceleration = self.accelerations.get(key)
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
        return Interval(value, float('nan'), float('nan'), 'none')


def bootstrap_metrics(
    scores: npt.ArrayLike,
    labels: npt.ArrayLike,
    metrics: Sequence[str] = ('auc',),
    *,
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
        metrics: Of 'auc', 'eer' and 'ap'.
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
        sample or one group, its interval is Newcombe's (AUC), exact (EER of 0) or not determined (NaN), and
        ``Interval.method`` says so.

    Raises:
        InputError: An argument is out of range or a metric unknown.
        OneClassError: A class is missing.
    """
    checked, classes = check_scores(scores, labels, name=name)
    check_both_classes(classes, name=name)
    statistic = WeightedMetrics(checked, classes, metrics)
    plan = _Plan(classes, groups, name)
    found = _Bootstrap(statistic, plan, resamples=resamples, level=level, method=method, seed=seed)
    return {metric: found.interval(metric) for metric in found.own}


def bootstrap_difference(
    first: npt.ArrayLike,
    second: npt.ArrayLike,
    labels: npt.ArrayLike,
    *,
    groups: Any = None,
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
    name: str = 'the set',
) -> Difference:
    """Difference of the AUCs of two detectors on the same videos: both see every resample (paired).

    The interval is the percentile one, which keeps its level better here than BCa in simulations.

    Args:
        first: (N,) scores of the first detector.
        second: (N,) scores of the second one, of the same videos.
        labels: (N,) 0 = genuine, 1 = fake.
        groups: See :func:`bootstrap_metrics`, as for all that follows.
        resamples: Number of resamples.
        level: Confidence level.
        seed: Seed of the draws.
        name: What error messages call the set.

    Returns:
        Both AUCs and the difference ``second - first``.

    Raises:
        InputError: An argument is out of range, or the lengths differ.
        OneClassError: A class is missing.
    """
    both = [check_scores(scores, labels, name=name) for scores in (first, second)]
    classes = both[0][1]
    check_both_classes(classes, name=name)
    detectors = [WeightedMetrics(scores, classes, ('auc',)) for scores, _ in both]

    def statistic(weights: Scores) -> dict[str, Scores]:
        before, after = (detector(weights)['auc'] for detector in detectors)
        return {'first': before, 'second': after, 'change': after - before}

    plan = _Plan(classes, groups, name)
    found = _Bootstrap(statistic, plan, resamples=resamples, level=level, method='percentile', seed=seed)
    sides = [found.interval(side, 'auc') for side in ('first', 'second')]
    components = [structural_components(scores, classes) for scores, _ in both]
    if not found.says_nothing('change'):
        interval = found.interval('change')
    elif np.array_equal(components[0], components[1]):
        interval = Interval(0.0, 0.0, 0.0, 'percentile')
    else:
        interval = difference_interval(*sides)
    return Difference(sides[0].value, sides[1].value, interval)
