# SPDX-License-Identifier: Apache-2.0
"""Figures of a two-class decision, on plain arrays.

N is the number of samples (frames or videos). Scores are (N,), higher = more likely fake; labels
are (N,), 0 = genuine, 1 = fake. ``name`` is what error messages call the set. Every function
raises :class:`~iid_mm.errors.InputError` for empty, unequal or non-finite input, and those that
compare the two classes raise :class:`~iid_mm.evaluation.functional.checks.OneClassError` where one
is missing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn import metrics as sk_metrics

from iid_mm.evaluation.functional.checks import Scores, check_both_classes, check_scores


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
        """Error rate where false positives and false negatives are equally frequent."""
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


def equal_error_rate(scores: npt.ArrayLike, labels: npt.ArrayLike, *, name: str = 'the set') -> float:
    """Equal error rate: FPR at the point of the ROC polyline where FPR = 1 - TPR.

    The crossing is interpolated linearly between the two neighbouring thresholds (the polyline
    itself, not its convex hull).
    """
    return roc_curve(scores, labels, name=name).eer


def average_precision(scores: npt.ArrayLike, labels: npt.ArrayLike, *, name: str = 'the set') -> float:
    """Average precision of the class fake: sum of precision times gain in recall."""
    checked, classes = check_scores(scores, labels, name=name)
    check_both_classes(classes, name=name)
    return float(sk_metrics.average_precision_score(classes, checked))


def accuracy(
    scores: npt.ArrayLike,
    labels: npt.ArrayLike,
    threshold: float = 0.5,
    *,
    name: str = 'the set',
) -> float:
    """Share of right decisions where score >= ``threshold`` means fake; one class is enough."""
    checked, classes = check_scores(scores, labels, name=name)
    return float(np.mean((checked >= threshold) == (classes == 1)))
