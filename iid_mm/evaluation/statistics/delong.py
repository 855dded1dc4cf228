# SPDX-License-Identifier: Apache-2.0
"""Variance of AUCs and tests of AUCs on the same samples, without resampling.

DeLong, DeLong, Clarke-Pearson (1988, Biometrics 44:837-845) treat the AUC as a mean over pairs (fake,
genuine). Its variance follows from the structural components: for a fake i, V10_i is the share of genuine
samples that it outscores (ties count half); for a genuine sample j, V01_j is the share of fakes that outscore
it. Sun and Xu (2014, IEEE Signal Processing Letters 21:1389-1393) compute both from ranks, in N log N steps
instead of one per pair. For samples in groups (videos of one identity), Obuchowski's (1997, Biometrics
53:567-578) form first sums the components over each group.
"""

from __future__ import annotations

from collections.abc import Sequence
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
from iid_mm.evaluation.statistics.intervals import Interval, newcombe_auc_interval, normal_quantile

_NO_VARIANCE = 1e-20
"""Smaller variances are rounding errors: equal components leave about 1e-34."""


@dataclass(frozen=True)
class AucCovariance:
    """AUCs of K detectors on the same samples.

    Attributes:
        aucs: (K,) areas under the ROC curves, ties counted half.
        covariance: (K, K) their covariance: NaN if a class has fewer than two independent units,
            exactly or nearly 0 if all components of a detector are equal, as at AUC 1.
        units: Number of independent units (samples, or groups) with fakes and with genuine samples.
    """

    aucs: Scores
    covariance: Scores
    units: tuple[int, int]

    def interval(self, detector: int = 0, level: float = 0.95) -> Interval:
        """Confidence interval of the AUC of a detector.

        It comes from the variance, on the scale of the log-odds of the AUC, so that it stays in [0, 1]
        (method 'delong'); if the variance is 0 or NaN, it is Newcombe's ('newcombe').
        """
        auc, variance = float(self.aucs[detector]), float(self.covariance[detector, detector])
        if not variance > _NO_VARIANCE or not 0.0 < auc < 1.0:
            return newcombe_auc_interval(auc, *self.units, level=level)
        half = normal_quantile(level) * np.sqrt(variance) / (auc * (1 - auc))
        low, high = special.expit(special.logit(auc) + np.array([-half, half]))
        return Interval(auc, float(low), float(high), 'delong')

    def contrast(self, weights: npt.ArrayLike, level: float = 0.95) -> Interval:
        """Weighted sum of the AUCs, (K,) weights, with its normal interval (NaN without a variance)."""
        factors = np.asarray(weights, dtype=np.float64)
        value, variance = float(factors @ self.aucs), float(factors @ self.covariance @ factors)
        if not variance > _NO_VARIANCE:
            return Interval(value, float('nan'), float('nan'), 'none')
        half = normal_quantile(level) * np.sqrt(variance)
        return Interval(value, float(value - half), float(value + half), 'delong')

    def p_value(self, first: int = 0, second: int = 1) -> float:
        """Two-sided p value of the hypothesis that two detectors have the same AUC.

        It holds for large samples, and is too small if samples depend on each other and ``groups`` do not say
        so. If the variance of the difference is 0 or NaN, the test says nothing (NaN), unless both AUCs
        are equal (1).
        """
        (one, shared), (_, two) = self.covariance[np.ix_((first, second), (first, second))]
        variance, value = float(one + two - 2 * shared), float(self.aucs[second]) - float(self.aucs[first])
        if variance > _NO_VARIANCE:
            return float(2 * special.ndtr(-abs(value / float(np.sqrt(variance)))))
        return 1.0 if abs(value) < 1e-12 else float('nan')


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


def delong_covariance(
    scores: Sequence[npt.ArrayLike] | Scores,
    labels: npt.ArrayLike,
    *,
    groups: Any = None,
    name: str = 'the set',
) -> AucCovariance:
    """AUCs of K detectors on the same samples, and their covariance.

    Args:
        scores: (K, N) scores of each detector, higher = more likely fake.
        labels: (N,) 0 = genuine, 1 = fake.
        groups: (N,) names of groups (identities) whose samples depend on each other; a sample with None is a
            group of its own. None: every sample is.
        name: What error messages call the set.

    Returns:
        AUCs and covariance.

    Raises:
        InputError: Shapes do not match, or scores are not finite.
        OneClassError: A class is missing.
    """
    checked: list[tuple[Scores, Labels]] = [check_scores(row, labels, name=name) for row in scores]
    if not checked:
        raise InputError(f'{name}: scores of no detector; give one row per detector')
    classes = checked[0][1]
    check_both_classes(classes, name=name)
    fake = classes == 1
    codes = group_codes(groups, classes.size, name=name)
    components = np.stack([structural_components(row, classes) for row, _ in checked])
    covariance, units = _covariance(components, fake, codes)
    return AucCovariance(components[:, fake].mean(axis=1), covariance, units)
