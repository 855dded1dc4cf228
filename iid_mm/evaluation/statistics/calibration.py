# SPDX-License-Identifier: Apache-2.0
"""Whether a probability of fake means what it says."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from iid_mm.errors import InputError
from iid_mm.evaluation.functional.checks import Scores, check_probabilities, check_scores

BINNINGS = ('width', 'mass')
"""Names that ``binning`` takes."""


@dataclass(frozen=True)
class ReliabilityCurve:
    """Probabilities sorted into B bins, those without samples left out.

    Attributes:
        low: (B,) lower edge of each bin, not part of it (but the lowest edge is).
        high: (B,) upper edge of each bin, part of it.
        predicted: (B,) mean probability of fake of the bin's samples.
        observed: (B,) share of fakes among them.
        counts: (B,) int64, samples in the bin.
    """

    low: Scores
    high: Scores
    predicted: Scores
    observed: Scores
    counts: npt.NDArray[np.int64]

    @property
    def expected_error(self) -> float:
        """Mean of |observed - predicted| over the bins, weighted by their samples."""
        gap = np.abs(self.observed - self.predicted)
        return float(np.sum(self.counts * gap) / np.sum(self.counts))

    @property
    def maximum_error(self) -> float:
        """Largest |observed - predicted| of all bins."""
        return float(np.max(np.abs(self.observed - self.predicted)))


def reliability_curve(
    scores: npt.ArrayLike,
    labels: npt.ArrayLike,
    *,
    bins: int = 15,
    binning: str = 'width',
    name: str = 'the set',
) -> ReliabilityCurve:
    """Compare, bin by bin, the predicted probability of fake with the share of fakes.

    Args:
        scores: (N,) probabilities of fake.
        labels: (N,) 0 = genuine, 1 = fake; one class is enough.
        bins: Number of bins, at least 1.
        binning: 'width': equal parts of [0, 1]; 'mass': edges at the quantiles of the scores, so that
            bins hold equally many samples. Equal scores stay in one bin, so that ties make bins
            larger, and others empty.
        name: What error messages call the set.

    Returns:
        The curve.

    Raises:
        InputError: A score lies outside [0, 1], ``bins`` is below 1 or ``binning`` unknown.
    """
    if binning not in BINNINGS:
        raise InputError(f'binning={binning!r} is unknown; choose one of {", ".join(BINNINGS)}')
    if bins < 1:
        raise InputError(f'bins={bins}: give at least 1')
    checked, classes = check_scores(scores, labels, name=name)
    check_probabilities(checked, name=name, metric='calibration')
    edges: Scores = np.linspace(0.0, 1.0, bins + 1, dtype=np.float64)
    if binning == 'mass':
        # The same call as in scikit-learn, so that samples on an edge fall into the same bin.
        edges = np.percentile(checked, edges * 100).astype(np.float64)
    # Bins are closed on the right, as in the sources; the lowest is closed on both sides.
    member = np.searchsorted(edges[1:-1], checked, side='left')
    counts = np.bincount(member, minlength=edges.size - 1)
    filled = counts > 0
    totals = [np.bincount(member, weights=values, minlength=counts.size) for values in (checked, classes)]
    predicted, observed = (total[filled] / counts[filled] for total in totals)
    return ReliabilityCurve(edges[:-1][filled], edges[1:][filled], predicted, observed, counts[filled])


def expected_calibration_error(
    scores: npt.ArrayLike,
    labels: npt.ArrayLike,
    *,
    bins: int = 15,
    binning: str = 'width',
    name: str = 'the set',
) -> float:
    """Expected calibration error: sum over bins of (n_b / N) * |share of fakes - mean probability|.

    This is the two-class form (Naeini, Cooper, Hauskrecht 2015): it looks at the probability of fake over
    the whole of [0, 1], not, as the many-class form of Guo et al. (2017), at the probability of the
    predicted class over [0.5, 1]. It depends on the share of fakes in the set, and small sets bias it
    upwards: the probabilities of a calibrated detector in 15 bins of 10 samples each give about 0.1.

    Args:
        scores: (N,) probabilities of fake.
        labels: (N,) labels; one class is enough.
        bins: Number of bins.
        binning: 'width' (as published) or 'mass', see :func:`reliability_curve`.
        name: What error messages call the set.

    Returns:
        The error, 0 (calibrated) to 1.

    Raises:
        InputError: See :func:`reliability_curve`.
    """
    return reliability_curve(scores, labels, bins=bins, binning=binning, name=name).expected_error
