# SPDX-License-Identifier: Apache-2.0
"""Metrics of a two-class decision, on plain arrays.

N is the number of samples (frames or videos). Scores are (N,), higher = more likely fake; labels
are (N,), 0 = genuine, 1 = fake. ``name`` is what error messages call the set. Every function
raises :class:`~iid_mm.errors.InputError` for empty, unequal or non-finite input, and those that
compare the two classes raise :class:`~iid_mm.evaluation.functional.inputs.OneClassError` if one
is missing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn import metrics as sk_metrics

from iid_mm.errors import InputError
from iid_mm.evaluation.functional.inputs import (
    Scores,
    check_both_classes,
    check_probabilities,
    check_scores,
)

PROBABILITY_CLIP = 1e-7
"""The log loss clips probabilities to this distance from 0 and 1: at most 16.1 nats per sample.

Single precision rounds probabilities closer than 6e-8 to 1. Without the clip one wrong sample with a
probability of exactly 0 or 1 would make the loss of the whole set infinite.
"""


@dataclass(frozen=True)
class RocCurve:
    """ROC as a polyline from (0, 0) to (1, 1); tied scores make one slanted segment.

    Attributes:
        fpr: (P,) false positive rates, ascending.
        tpr: (P,) true positive rates, ascending.
        thresholds: (P,) descending; a sample counts as fake where its score >= the threshold.
    """

    fpr: Scores
    tpr: Scores
    thresholds: Scores

    @property
    def auc(self) -> float:
        """Area under the polyline: P(fake > genuine) + P(fake = genuine) / 2."""
        return float(sk_metrics.auc(self.fpr, self.tpr))

    @property
    def eer(self) -> float:
        """Equal error rate: FPR where the polyline (not its convex hull) crosses FPR = 1 - TPR."""
        # FPR - FNR rises strictly from -1 to 1 along the polyline: there is exactly one crossing.
        gap = self.fpr - (1.0 - self.tpr)
        after = int(np.argmax(gap >= 0))
        if gap[after] == 0:
            return float(self.fpr[after])
        before = after - 1
        weight = -gap[before] / (gap[after] - gap[before])
        return float(self.fpr[before] + weight * (self.fpr[after] - self.fpr[before]))


def roc_curve(
    scores: npt.ArrayLike, labels: npt.ArrayLike, *, name: str = 'the set', unit: str = 'samples'
) -> RocCurve:
    """ROC of a set.

    Args:
        scores: (N,) scores.
        labels: (N,) labels.
        name: What error messages call the set.
        unit: What error messages call its members.

    Returns:
        The curve; its points on one straight line may be merged.
    """
    checked, classes = check_scores(scores, labels, name=name)
    check_both_classes(classes, name=name, unit=unit)
    return RocCurve(*sk_metrics.roc_curve(classes, checked))


def area_under_roc(scores: npt.ArrayLike, labels: npt.ArrayLike, *, name: str = 'the set') -> float:
    """Area under the ROC, ties counted half."""
    return roc_curve(scores, labels, name=name).auc


def average_precision(scores: npt.ArrayLike, labels: npt.ArrayLike, *, name: str = 'the set') -> float:
    """Average precision of the class fake: sum of precision times gain in recall."""
    checked, classes = check_scores(scores, labels, name=name)
    check_both_classes(classes, name=name)
    return float(sk_metrics.average_precision_score(classes, checked))


def tpr_at_fpr(scores: npt.ArrayLike, labels: npt.ArrayLike, fpr: float, *, name: str = 'the set') -> float:
    """True positive rate at a false positive rate: the highest TPR of all thresholds with FPR <= ``fpr``.

    It is conservative: thresholds are real ones, nothing is interpolated, and since samples of equal score
    fall on the same side of every threshold, a tie that would exceed the limit is left out as a whole.

    Args:
        scores: (N,) scores.
        labels: (N,) labels.
        fpr: The limit, in (0, 1].
        name: What error messages call the set.

    Returns:
        The rate. NaN if the set has fewer than 1 / ``fpr`` genuine samples: then no false positive is
        allowed, and the TPR above the worst genuine sample says nothing about such a small rate.

    Raises:
        InputError: ``fpr`` lies outside (0, 1].
    """
    if not 0.0 < fpr <= 1.0:
        raise InputError(f'fpr={fpr}: give a rate above 0 and up to 1, such as 0.01 for 1 %')
    checked, classes = check_scores(scores, labels, name=name)
    check_both_classes(classes, name=name)
    genuine = np.sort(checked[classes == 0])[::-1]
    # floor(fpr * genuine), whatever the rounding of the product: 0.29 of 100 are 29.
    allowed = int(np.floor(fpr * genuine.size + 1e-9 * max(1.0, fpr * genuine.size)))
    if not allowed:
        return float('nan')
    if allowed == genuine.size:
        return 1.0
    # Only scores above the best genuine sample that must not be called fake.
    return float(np.mean(checked[classes == 1] > genuine[allowed]))


def choose_threshold(scores: npt.ArrayLike, labels: npt.ArrayLike, *, name: str = 'the set') -> float:
    """Choose the threshold of equal errors, on a validation set: a score >= it is called fake.

    Candidates are the middles between neighboring distinct scores, so that the threshold keeps its
    distance from both, and the lowest score (all are called fake). The one with the least |FPR - FNR| is
    taken; of several the one with the lowest FPR + FNR; of these the highest, which calls the fewest genuine
    samples fake.

    Args:
        scores: (N,) scores.
        labels: (N,) labels.
        name: What error messages call the set.

    Returns:
        The threshold, within the range of the scores.
    """
    checked, classes = check_scores(scores, labels, name=name)
    check_both_classes(classes, name=name)
    values, code = np.unique(checked, return_inverse=True)
    # Counts of samples at or above each value, highest value first; integers, so that ties are exact.
    found = np.cumsum(np.bincount(code, weights=classes)[::-1]).astype(np.int64)
    false = np.cumsum(np.bincount(code, weights=1 - classes)[::-1]).astype(np.int64)
    fakes, genuine = int(found[-1]), int(false[-1])
    middles = (values[1:] + values[:-1]) / 2
    # The middle of two adjacent floating-point numbers rounds to one of them.
    middles = np.where(middles > values[:-1], middles, values[1:])
    thresholds = np.concatenate([middles[::-1], values[:1]])
    false_rate, missed_rate = false * fakes, (fakes - found) * genuine
    best = np.lexsort((false_rate + missed_rate, np.abs(false_rate - missed_rate)))[0]
    return float(thresholds[best])


def log_loss(scores: npt.ArrayLike, labels: npt.ArrayLike, *, name: str = 'the set') -> float:
    """Mean negative log-likelihood in nats: -log(p) of a fake, -log(1 - p) of a genuine sample.

    Args:
        scores: (N,) probabilities of fake, clipped by :data:`PROBABILITY_CLIP`.
        labels: (N,) labels; one class is enough.
        name: What error messages call the set.

    Returns:
        The loss; 0.693 is that of a constant 0.5.

    Raises:
        InputError: A score lies outside [0, 1].
    """
    checked, classes = check_scores(scores, labels, name=name)
    check_probabilities(checked, name=name, metric='the log loss')
    clipped = np.clip(checked, PROBABILITY_CLIP, 1 - PROBABILITY_CLIP)
    return float(sk_metrics.log_loss(classes, clipped, labels=[0, 1]))


def brier(scores: npt.ArrayLike, labels: npt.ArrayLike, *, name: str = 'the set') -> float:
    """Brier score (Brier 1950): mean squared difference of probability and label; one class is enough.

    Raises:
        InputError: A score lies outside [0, 1].
    """
    checked, classes = check_scores(scores, labels, name=name)
    check_probabilities(checked, name=name, metric='the Brier score')
    return float(sk_metrics.brier_score_loss(classes, checked, pos_label=1))
