# SPDX-License-Identifier: Apache-2.0
"""Metrics of a two-class decision, on plain arrays.

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

from iid_mm.errors import InputError
from iid_mm.evaluation.functional.checks import (
    Scores,
    check_both_classes,
    check_probabilities,
    check_scores,
)

PROBABILITY_CLIP = 1e-7
"""Probabilities nearer to 0 or 1 count as this far away in the log loss: 16.1 nats at most a sample.

Single precision cannot tell probabilities from 1 that are nearer than 6e-8. Without a clip one sample that
a network puts at exactly 0 or 1 and that is wrong would make the loss of the whole set infinite.
"""
THRESHOLD_RULES = ('eer', 'youden', 'accuracy')
"""Names that ``rule`` takes."""


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

    The crossing is interpolated linearly between the two neighboring thresholds (the polyline
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


@dataclass(frozen=True)
class OperatingPoint:
    """What happens at one threshold.

    Attributes:
        threshold: A sample counts as fake where its score >= this; infinite: none does.
        fpr: Share of genuine samples called fake.
        tpr: Share of fakes found.
        false_positives: Genuine samples called fake.
        allowed: Genuine samples that might have been called fake at most, floor(limit * genuine).
    """

    threshold: float
    fpr: float
    tpr: float
    false_positives: int
    allowed: int


def allowed_false_positives(fpr: float, genuine: int) -> int:
    """Largest number of false positives whose rate is at most ``fpr``: floor(fpr * genuine).

    Args:
        fpr: The limit, in [0, 1].
        genuine: Number of genuine samples.

    Returns:
        The number. Rounding of the product does not count: 0.29 of 100 are 29.

    Raises:
        InputError: ``fpr`` lies outside [0, 1].
    """
    if not 0.0 <= fpr <= 1.0:
        raise InputError(f'fpr={fpr} is no rate; give a value from 0 to 1, such as 0.01 for 1 %')
    return int(np.floor(fpr * genuine + 1e-9 * max(1.0, fpr * genuine)))


def operating_point(
    scores: npt.ArrayLike, labels: npt.ArrayLike, fpr: float, *, name: str = 'the set'
) -> OperatingPoint:
    """The lowest threshold that keeps the false positive rate at or below a limit.

    Samples of equal score fall on the same side of every threshold, so a tie that would break the limit is
    left out as a whole. Nothing is interpolated: the point is one that a decision can be made with.

    Args:
        scores: (N,) scores.
        labels: (N,) labels.
        fpr: The limit, in [0, 1].
        name: What error messages call the set.

    Returns:
        The point; of all thresholds within the limit it finds most fakes.

    Raises:
        InputError: ``fpr`` lies outside [0, 1].
    """
    checked, classes = check_scores(scores, labels, name=name)
    check_both_classes(classes, name=name)
    genuine = np.sort(checked[classes == 0])[::-1]
    allowed = allowed_false_positives(fpr, genuine.size)
    if allowed < genuine.size:
        # Everything above the best genuine sample that must not be called fake.
        above = checked[checked > genuine[allowed]]
        threshold = float(above.min()) if above.size else float('inf')
    else:
        threshold = float(checked.min())
    called = checked >= threshold
    false = int(np.count_nonzero(called & (classes == 0)))
    found = int(np.count_nonzero(called & (classes == 1)))
    return OperatingPoint(
        threshold, false / genuine.size, found / (checked.size - genuine.size), false, allowed
    )


def tpr_at_fpr(scores: npt.ArrayLike, labels: npt.ArrayLike, fpr: float, *, name: str = 'the set') -> float:
    """True positive rate at a false positive rate: the highest TPR of all thresholds with FPR <= ``fpr``.

    It is conservative: thresholds are real ones, not interpolated between, and a tie that would exceed the
    limit is left out (see :func:`operating_point`).

    Args:
        scores: (N,) scores.
        labels: (N,) labels.
        fpr: The limit, in (0, 1].
        name: What error messages call the set.

    Returns:
        The rate. NaN where the set has fewer than 1 / ``fpr`` genuine samples: then no false positive at all
        is allowed, and what would be measured is the TPR at the score of the worst genuine sample,
        which says nothing on so small a rate. :func:`operating_point` gives that value where it is
        wanted.

    Raises:
        InputError: ``fpr`` lies outside (0, 1].
    """
    if fpr == 0.0:
        raise InputError(
            'fpr=0.0: no finite set measures a rate of 0; give a value above 0, or use operating_point'
        )
    point = operating_point(scores, labels, fpr, name=name)
    return point.tpr if point.allowed else float('nan')


def choose_threshold(
    scores: npt.ArrayLike, labels: npt.ArrayLike, rule: str = 'eer', *, name: str = 'the set'
) -> float:
    """Choose a threshold, on a validation set: a score >= the threshold is called fake.

    Candidates are the middles between neighboring different scores, so that the threshold keeps its
    distance from both, and the lowest score (all are called fake). The best one under the rule is taken:

    * ``eer``: least |FPR - FNR|; of several the one with the lowest FPR + FNR.
    * ``youden``: greatest TPR - FPR (Youden 1950).
    * ``accuracy``: most samples right, which depends on the share of fakes.

    Where candidates are still equal the highest is taken, which calls fewest genuine samples fake.

    Args:
        scores: (N,) scores.
        labels: (N,) labels.
        rule: One of :data:`THRESHOLD_RULES`.
        name: What error messages call the set.

    Returns:
        The threshold, within the range of the scores.

    Raises:
        InputError: ``rule`` is unknown.
    """
    if rule not in THRESHOLD_RULES:
        raise InputError(f'rule={rule!r} is unknown; choose one of {", ".join(THRESHOLD_RULES)}')
    checked, classes = check_scores(scores, labels, name=name)
    check_both_classes(classes, name=name)
    values, code = np.unique(checked, return_inverse=True)
    # Counts of samples at or above each value, highest value first; whole numbers, so ties are exact.
    found = np.cumsum(np.bincount(code, weights=classes)[::-1]).astype(np.int64)
    false = np.cumsum(np.bincount(code, weights=1 - classes)[::-1]).astype(np.int64)
    fakes, genuine = int(found[-1]), int(false[-1])
    middles = (values[1:] + values[:-1]) / 2
    # Between neighboring floating-point numbers lies none.
    middles = np.where(middles > values[:-1], middles, values[1:])
    thresholds = np.concatenate([middles[::-1], values[:1]])
    sum_of_rates = false * fakes + (fakes - found) * genuine
    if rule == 'eer':
        gap = np.abs(false * fakes - (fakes - found) * genuine)
        cost = np.where(gap == gap.min(), sum_of_rates, sum_of_rates.max() + 1)
    elif rule == 'youden':
        cost = sum_of_rates
    else:
        cost = false + (fakes - found)
    return float(thresholds[int(np.argmin(cost))])


def log_loss(
    scores: npt.ArrayLike,
    labels: npt.ArrayLike,
    *,
    clip: float = PROBABILITY_CLIP,
    name: str = 'the set',
) -> float:
    """Mean negative log-likelihood in nats: -log(p) of a fake, -log(1 - p) of a genuine sample.

    Args:
        scores: (N,) probabilities of fake.
        labels: (N,) labels; one class is enough.
        clip: Probabilities are limited to [clip, 1 - clip], see :data:`PROBABILITY_CLIP`.
        name: What error messages call the set.

    Returns:
        The loss; 0.693 is that of a constant 0.5.

    Raises:
        InputError: A score lies outside [0, 1].
    """
    checked, classes = check_scores(scores, labels, name=name)
    check_probabilities(checked, name=name, metric='the log loss')
    limited = np.clip(checked, clip, 1 - clip)
    return float(np.mean(-np.where(classes == 1, np.log(limited), np.log1p(-limited))))


def brier(scores: npt.ArrayLike, labels: npt.ArrayLike, *, name: str = 'the set') -> float:
    """Brier score (Brier 1950): mean squared difference of probability and label; one class is enough.

    Raises:
        InputError: A score lies outside [0, 1].
    """
    checked, classes = check_scores(scores, labels, name=name)
    check_probabilities(checked, name=name, metric='the Brier score')
    return float(np.mean((checked - classes) ** 2))
