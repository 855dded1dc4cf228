# SPDX-License-Identifier: Apache-2.0
"""Calibration: does a probability of fake match the share of fakes?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from iid_mm.errors import InputError
from iid_mm.evaluation.functional.inputs import Scores, check_probabilities, check_scores


@dataclass(frozen=True)
class ReliabilityCurve:
    """Probabilities sorted into B bins of equal width; bins without samples are left out.

    Attributes:
        predicted: (B,) mean probability of fake of the bin's samples.
        observed: (B,) share of fakes among them.
        counts: (B,) int64, samples in the bin.
    """

    predicted: Scores
    observed: Scores
    counts: npt.NDArray[np.int64]

    @property
    def expected_error(self) -> float:
        """Expected calibration error: sum over bins of (n_b / N) * |observed - predicted|.

        This is the two-class form (Naeini, Cooper, Hauskrecht 2015): it compares the probability of fake over
        the whole of [0, 1], not, as the many-class form of Guo et al. (2017), the probability of the
        predicted class over [0.5, 1]. It depends on the share of fakes in the set, and small sets bias it
        upwards: the probabilities of a calibrated detector in 15 bins of 10 samples each give about 0.1.
        """
        gap = np.abs(self.observed - self.predicted)
        return float(np.sum(self.counts * gap) / np.sum(self.counts))


def reliability_curve(
    scores: npt.ArrayLike, labels: npt.ArrayLike, *, bins: int = 15, name: str = 'the set'
) -> ReliabilityCurve:
    """Compare, bin by bin, the predicted probability of fake with the share of fakes.

    Args:
        scores: (N,) probabilities of fake.
        labels: (N,) 0 = genuine, 1 = fake; one class is enough.
        bins: Number of bins of equal width, at least 1; each contains its upper edge.
        name: What error messages call the set.

    Returns:
        The curve.

    Raises:
        InputError: A score lies outside [0, 1], or ``bins`` is below 1.
    """
    if bins < 1:
        raise InputError(f'bins={bins}: give at least 1')
    checked, classes = check_scores(scores, labels, name=name)
    check_probabilities(checked, name=name, metric='calibration')
    member = _bin_of(checked, bins)
    counts = np.bincount(member, minlength=bins)
    filled = counts > 0
    totals = [np.bincount(member, weights=values, minlength=bins) for values in (checked, classes)]
    predicted, observed = (total[filled] / counts[filled] for total in totals)
    return ReliabilityCurve(predicted, observed, counts[filled])


def _bin_of(scores: Scores, bins: int) -> npt.NDArray[np.intp]:
    """Number of each score's bin: closed on the right, the lowest on both sides, as published."""
    return np.searchsorted(np.linspace(0.0, 1.0, bins + 1)[1:-1], scores, side='left')


def balanced_calibration_error(scores: npt.ArrayLike, labels: npt.ArrayLike, *, bins: int = 15) -> float:
    """Expected calibration error with both classes weighted equally.

    That of a set in which samples of the rarer class are repeated until both classes are equally large, see
    :attr:`ReliabilityCurve.expected_error`.

    Args:
        scores: (N,) probabilities of fake.
        labels: (N,) 0 = genuine, 1 = fake; both are present.
        bins: Number of bins of equal width.
    """
    values, classes = np.asarray(scores, dtype=np.float64), np.asarray(labels)
    share = np.where(classes == 1, 0.5 / classes.sum(), 0.5 / (1 - classes).sum())
    gap = np.bincount(_bin_of(values, bins), weights=share * (classes - values), minlength=bins)
    return float(np.abs(gap).sum())
