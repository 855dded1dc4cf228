# SPDX-License-Identifier: Apache-2.0
"""Intervals and corrections in closed form."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import optimize, special, stats

from iid_mm.errors import InputError


class Interval(NamedTuple):
    """A metric with its confidence interval.

    Attributes:
        value: The metric on the set itself.
        low: Lower limit; NaN: not determined.
        high: Upper limit; NaN: not determined.
        method: Origin of the limits: 'percentile' or 'bca' (bootstrap), 'delong', and, where these would
            have no width, 'newcombe' (AUC), 'exact' (EER, shares), 'mover' (differences) or 'none'
            (not determined).
    """

    value: float
    low: float
    high: float
    method: str


def check_level(level: float) -> None:
    """Refuse a confidence level outside (0, 1), such as 95.

    Raises:
        InputError: ``level`` lies outside (0, 1).
    """
    if not 0.0 < level < 1.0:
        raise InputError(f'level={level}: give a confidence level between 0 and 1, such as 0.95')


def normal_quantile(level: float) -> float:
    """Half width of a two-sided normal interval in standard errors, 1.96 for 0.95."""
    return float(special.ndtri((1 + level) / 2))


def newcombe_auc_interval(auc: float, fakes: int, genuine: int, *, level: float = 0.95) -> Interval:
    """Score-type interval of an AUC from its value and the class sizes alone.

    Newcombe (2006, Statistics in Medicine 25:559-573), method 5: all values t with
    (t - auc)^2 <= z^2 V(t), where V is Hanley and McNeil's variance with both class sizes in its terms of
    overlap replaced by their mean. It has a width at AUC 0 and 1, where DeLong's variance and
    the bootstrap have none.

    Args:
        auc: The AUC.
        fakes: Number of fakes, at least 1.
        genuine: Number of genuine samples, at least 1.
        level: Confidence level.

    Returns:
        The interval.
    """
    check_level(level)
    z2 = normal_quantile(level) ** 2
    extra = (fakes + genuine) / 2 - 1

    def distance(t: float) -> float:
        variance = t * (1 - t) * (1 + extra * ((1 - t) / (2 - t) + t / (1 + t))) / (fakes * genuine)
        return (t - auc) ** 2 - z2 * variance

    def limit(end: float) -> float:
        if auc == end:
            return end
        # The variance is 0 at 0 and 1, so each side has one crossing. At an AUC of 0 or 1 the distance is 0
        # at the AUC itself, and the search for the other crossing starts beside it.
        start = auc + (end - auc) * 1e-9 if auc in (0.0, 1.0) else auc
        return float(optimize.brentq(distance, start, end, xtol=1e-12)) if distance(start) < 0 else auc

    return Interval(auc, limit(0.0), limit(1.0), 'newcombe')


def exact_share_interval(hits: int, trials: int, *, level: float = 0.95) -> Interval:
    """Clopper and Pearson's (1934) exact interval of a share ``hits / trials``; never too narrow."""
    check_level(level)
    result = stats.binomtest(hits, trials).proportion_ci(confidence_level=level, method='exact')
    return Interval(hits / trials, float(result.low), float(result.high), 'exact')


def separated_eer_bound(fakes: int, genuine: int, *, level: float = 0.95) -> float:
    """Upper limit of the equal error rate of a detector that separates a set without error.

    Let e be its true EER. If the separating threshold lies below the one of equal errors, no genuine
    sample lies above the latter, which has probability (1 - e)^genuine; otherwise no fake lies below it.
    So a separated set has a probability of at most 2 (1 - e)^min(fakes, genuine), which is set to
    (1 - level) / 2.

    Returns:
        The limit, conservative; 1 for very small sets.
    """
    check_level(level)
    return float(1 - ((1 - level) / 4) ** (1 / min(fakes, genuine)))


def difference_interval(first: Interval, second: Interval) -> Interval:
    """Interval of ``second - first`` from the intervals of both (MOVER; Zou and Donner 2008).

    It assumes that both are independent. Two detectors on the same samples are positively correlated, so the
    interval is too wide rather than too narrow.
    """
    value = second.value - first.value
    below = np.hypot(second.value - second.low, first.high - first.value)
    above = np.hypot(second.high - second.value, first.value - first.low)
    low, high = np.clip([value - below, value + above], -1.0, 1.0)
    return Interval(value, float(low), float(high), 'mover')


def holm(p_values: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Holm's (1979) correction of p values for several comparisons.

    Args:
        p_values: (M,) p values; NaN (no test was possible) stays NaN and does not count.

    Returns:
        (M,) corrected p values: the m-th smallest of M times (M - m + 1), at least as large as the
        corrected one before, at most 1.
    """
    values = np.asarray(p_values, dtype=np.float64)
    corrected = np.full(values.shape, np.nan)
    valid = np.flatnonzero(~np.isnan(values))
    order = valid[np.argsort(values[valid], kind='stable')]
    factors = np.arange(order.size, 0, -1)
    corrected[order] = np.minimum(1.0, np.maximum.accumulate(values[order] * factors))
    return corrected
