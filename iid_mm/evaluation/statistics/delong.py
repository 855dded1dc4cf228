# SPDX-License-Identifier: Apache-2.0
"""Variance of AUCs and the test of two AUCs on the same samples, without resampling.

DeLong, DeLong, Clarke-Pearson (1988, Biometrics 44:837-845) treat the AUC as a mean over pairs (fake,
genuine). Its variance follows from the structural components: for a fake i, V10_i is the share of genuine
samples that it outscores (ties count half); for a genuine sample j, V01_j is the share of fakes that outscore
it. Sun and Xu (2014, IEEE Signal Processing Letters 21:1389-1393) compute both from ranks, in N log N steps
instead of one per pair. For samples in groups (videos of one identity), Obuchowski's (1997, Biometrics
53:567-578) form first sums the components over each group.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import special, stats

from iid_mm.errors import InputError
from iid_mm.evaluation.functional.inputs import (
    Labels,
    Scores,
    check_both_classes,
    check_scores,
    group_codes,
)
from iid_mm.evaluation.statistics.intervals import (
    Interval,
    check_level,
    difference_interval,
    newcombe_auc_interval,
    normal_quantile,
)


@dataclass(frozen=True)
class AucEstimate:
    """An AUC with its uncertainty.

    Attributes:
        auc: Area under the ROC curve, ties counted half.
        variance: DeLong's variance of it; NaN if a class has only one sample (or group).
        interval: Confidence interval: from the variance, on the scale of the log-odds of the AUC, so that
            it stays in [0, 1] (method 'delong'); Newcombe's if the variance is 0 or NaN ('newcombe').
    """

    auc: float
    variance: float
    interval: Interval


@dataclass(frozen=True)
class AucTest:
    """Comparison of two AUCs on the same samples.

    Attributes:
        first: The first AUC.
        second: The second AUC.
        difference: ``second - first`` with its interval: normal (method 'delong') or, if the variance is 0
            or NaN, from both single intervals ('mover'), which is too wide rather than too narrow.
        variance: Variance of the difference.
        covariance: Covariance of both AUCs.
        z: Difference in standard errors; NaN without a variance.
        p: Two-sided p value of equal AUCs. 1 if the variance and the difference are 0; NaN if the variance
            is 0 or NaN and the difference is not 0: then this test says nothing.
    """

    first: AucEstimate
    second: AucEstimate
    difference: Interval
    variance: float
    covariance: float
    z: float
    p: float


def structural_components(scores: Scores, labels: Labels) -> Scores:
    """Share of the other class that each sample outscores (fakes: V10) or is outscored by (genuine: V01).

    Args:
        scores: (N,) finite scores, higher = more likely fake.
        labels: (N,) 0 = genuine, 1 = fake, both present.

    Returns:
        (N,) components, ties counted half; the mean of each class is the AUC.
    """
    fake = labels == 1
    components = np.empty(scores.size)
    ranks = stats.rankdata(scores)
    fakes = int(np.count_nonzero(fake))
    components[fake] = (ranks[fake] - stats.rankdata(scores[fake])) / (scores.size - fakes)
    components[~fake] = 1 - (ranks[~fake] - stats.rankdata(scores[~fake])) / fakes
    return components


def _covariance(
    components: Scores, fake: npt.NDArray[np.bool_], groups: npt.NDArray[np.int64]
) -> tuple[Scores, tuple[int, int]]:
    """Covariance, (K, K), of K AUCs from (K, N) components; number of groups with fakes and with genuine."""
    means = components[:, fake].mean(axis=1)[:, None]
    size = int(groups.max()) + 1
    sums, present = [], []
    for member in (fake, ~fake):
        centered = (components[:, member] - means) / np.count_nonzero(member)
        sums.append(np.stack([np.bincount(groups[member], row, size) for row in centered]))
        present.append(np.bincount(groups[member], minlength=size) > 0)
    ones, zeros = (int(np.count_nonzero(some)) for some in present)
    if min(ones, zeros) < 2:
        return np.full((len(components), len(components)), np.nan), (ones, zeros)
    # Bessel's correction for the groups with fakes, with genuine samples, and for all of them.
    fakes, genuine = sums
    mixed = fakes @ genuine.T
    total = np.count_nonzero(present[0] | present[1])
    covariance = (
        fakes @ fakes.T * (ones / (ones - 1))
        + genuine @ genuine.T * (zeros / (zeros - 1))
        + (mixed + mixed.T) * (total / (total - 1))
    )
    return np.asarray(covariance), (ones, zeros)


@dataclass(frozen=True)
class AucCovariance:
    """AUCs of K detectors on the same samples.

    Attributes:
        aucs: (K,) the AUCs.
        covariance: (K, K) their covariance: NaN if a class has fewer than two independent units,
            exactly or nearly 0 if all components of a detector are equal, as at AUC 1.
        units: Number of independent units (samples, or groups) with fakes and with genuine samples.
    """

    aucs: Scores
    covariance: Scores
    units: tuple[int, int]

    def estimate(self, detector: int, level: float = 0.95) -> AucEstimate:
        """AUC of one of the detectors with an interval."""
        auc, variance = float(self.aucs[detector]), float(self.covariance[detector, detector])
        # Rounding leaves variances of about 1e-34 where all components are equal.
        if not variance > 1e-20 or not 0.0 < auc < 1.0:
            return AucEstimate(auc, variance, newcombe_auc_interval(auc, *self.units, level=level))
        half = normal_quantile(level) * np.sqrt(variance) / (auc * (1 - auc))
        low, high = special.expit(special.logit(auc) + np.array([-half, half]))
        return AucEstimate(auc, variance, Interval(auc, float(low), float(high), 'delong'))


def delong_covariance(
    scores: npt.ArrayLike, labels: npt.ArrayLike, *, groups: Any = None, name: str = 'the set'
) -> AucCovariance:
    """AUCs of K detectors on the same samples, and their covariance.

    Args:
        scores: (K, N) scores of each detector, higher = more likely fake.
        labels: (N,) 0 = genuine, 1 = fake.
        groups: (N,) names of groups (identities) whose samples depend on each other; None within it: a
            group of its own. None: all samples are independent.
        name: What error messages call the set.

    Returns:
        AUCs and covariance.

    Raises:
        InputError: Shapes do not match, or scores are not finite.
        OneClassError: A class is missing.
    """
    rows = np.asarray(scores, dtype=np.float64)
    if rows.ndim != 2 or not len(rows):
        raise InputError(f'{name}: scores of shape {rows.shape}; give one row a detector, of shape (K, N)')
    checked: list[tuple[Scores, Labels]] = [check_scores(row, labels, name=name) for row in rows]
    classes = checked[0][1]
    check_both_classes(classes, name=name)
    fake = classes == 1
    codes = group_codes(groups, classes.size, name=name)
    components = np.stack([structural_components(row, classes) for row, _ in checked])
    covariance, units = _covariance(components, fake, codes)
    return AucCovariance(components[:, fake].mean(axis=1), covariance, units)


def delong_auc(
    scores: npt.ArrayLike,
    labels: npt.ArrayLike,
    *,
    level: float = 0.95,
    groups: Any = None,
    name: str = 'the set',
) -> AucEstimate:
    """AUC of one detector with DeLong's variance and an interval.

    Args:
        scores: (N,) scores, higher = more likely fake.
        labels: (N,) 0 = genuine, 1 = fake.
        level: Confidence level of the interval.
        groups: See :func:`delong_covariance`. Newcombe's interval then counts groups instead of samples.
        name: What error messages call the set.

    Returns:
        The estimate.

    Raises:
        OneClassError: A class is missing.
    """
    check_level(level)
    return delong_covariance(np.asarray(scores)[None], labels, groups=groups, name=name).estimate(0, level)


def delong_test(
    first: npt.ArrayLike,
    second: npt.ArrayLike,
    labels: npt.ArrayLike,
    *,
    level: float = 0.95,
    groups: Any = None,
    name: str = 'the set',
) -> AucTest:
    """Test whether two detectors have the same AUC, from their scores of the same samples.

    Args:
        first: (N,) scores of the first detector.
        second: (N,) scores of the second one.
        labels: (N,) 0 = genuine, 1 = fake.
        level: Confidence level of the intervals.
        groups: See :func:`delong_covariance`.
        name: What error messages call the set.

    Returns:
        The test. Its p value holds for large samples; it is too small, and the intervals too narrow, if
        samples depend on each other without ``groups``.

    Raises:
        InputError: Shapes do not match.
        OneClassError: A class is missing.
    """
    check_level(level)
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if a.shape != b.shape:
        raise InputError(
            f'{name}: scores of shapes {a.shape} and {b.shape}; both must be of the same samples'
        )
    both = delong_covariance(np.stack([a, b]), labels, groups=groups, name=name)
    before, after = both.estimate(0, level), both.estimate(1, level)
    shared = float(both.covariance[0, 1])
    variance = float(both.covariance[0, 0] + both.covariance[1, 1] - 2 * shared)
    value = after.auc - before.auc
    if variance > 1e-20:
        error = float(np.sqrt(variance))
        z, half = value / error, normal_quantile(level) * error
        p = float(2 * special.ndtr(-abs(z)))
        interval = Interval(value, value - half, value + half, 'delong')
    else:
        z, p = np.nan, 1.0 if abs(value) < 1e-12 else np.nan
        interval = difference_interval(before.interval, after.interval)
        if np.array_equal(stats.rankdata(a), stats.rankdata(b)):
            # Equal rankings have equal AUCs; others, as at AUC 1 twice, may differ in the population.
            interval = Interval(0.0, 0.0, 0.0, 'delong')
    return AucTest(before, after, interval, variance, shared, z, p)
