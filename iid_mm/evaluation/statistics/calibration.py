# SPDX-License-Identifier: Apache-2.0
"""Calibration: does a probability of fake match the share of fakes? Temperatures that make it match."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar
from scipy.special import expit, logit

from iid_mm.errors import InputError
from iid_mm.evaluation.functional.inputs import Scores, check_probabilities, check_scores

TEMPERATURES = (0.05, 20.0)
"""Smallest and largest temperature that :func:`fit_temperature` searches."""
_EDGE = 1e-6


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


def scale_probabilities(probabilities: npt.ArrayLike, temperature: float) -> Scores:
    """Divide the log-odds of probabilities by a temperature.

    For two classes this is temperature scaling of the logits (Guo et al., "On Calibration of Modern Neural
    Networks", 2017, section 4.2): softmax(z / T) = expit(log-odds / T).

    Args:
        probabilities: (N,) probabilities, clipped to [1e-6, 1 - 1e-6].
        temperature: Above 0.

    Returns:
        (N,) probabilities.
    """
    values = np.clip(np.asarray(probabilities, dtype=np.float64), _EDGE, 1 - _EDGE)
    return np.asarray(expit(logit(values) / temperature), dtype=np.float64)


@dataclass(frozen=True)
class TemperatureFit:
    """A temperature and the data it was fitted on.

    Attributes:
        temperature: Log-odds are divided by it; above 1 makes probabilities less extreme.
        samples: Number of frames or videos it was fitted on.
        fakes: Number of fakes among them.
        loss_before: Mean negative log-likelihood of the probabilities before calibration.
        loss_after: That of the calibrated ones.
        error_before: :func:`balanced_calibration_error` before calibration.
        error_after: That of the calibrated probabilities.
        genuine_videos: Number of genuine videos that the samples come from; None in checkpoints that were
            calibrated before this was counted.
        fake_videos: Number of fake videos.
    """

    temperature: float
    samples: int
    fakes: int
    loss_before: float
    loss_after: float
    error_before: float
    error_after: float
    genuine_videos: int | None = None
    fake_videos: int | None = None

    @property
    def limits(self) -> tuple[float, float] | None:
        """Smallest and largest probability that this many videos support; None if they were not counted."""
        if self.genuine_videos is None or self.fake_videos is None:
            return None
        return _supported(self.genuine_videos, self.fake_videos)

    @property
    def at_edge(self) -> bool:
        """Whether the best temperature may lie outside of :data:`TEMPERATURES`."""
        return not TEMPERATURES[0] * 1.01 < self.temperature < TEMPERATURES[1] / 1.01

    def apply(self, probabilities: npt.ArrayLike) -> Scores:
        """Calibrate (N,) probabilities of fake: divide by the temperature, clip to :attr:`limits`."""
        scaled = scale_probabilities(probabilities, self.temperature)
        return scaled if self.limits is None else np.clip(scaled, *self.limits)


def _supported(genuine: int, fakes: int) -> tuple[float, float]:
    """Range of probabilities that so many videos support, by Laplace's rule of succession.

    After n videos of a class, all classified correctly, the next one is with probability (n + 1) / (n + 2).
    The rarer class sets both ends.
    """
    rarer = min(genuine, fakes)
    return 1 / (rarer + 2), (rarer + 1) / (rarer + 2)


def fit_temperature(
    probabilities: npt.ArrayLike,
    labels: npt.ArrayLike,
    *,
    videos: tuple[int, int] | None = None,
    name: str = 'the set',
) -> TemperatureFit:
    """Find the temperature with the smallest negative log-likelihood, both classes weighted equally.

    The targets are those of Platt ("Probabilistic Outputs for Support Vector Machines", 1999, section 2.2):
    with N+ fakes and N- genuine videos (N+ + 1) / (N+ + 2) for a fake and 1 / (N- + 2) for a genuine one, so
    that a few videos that the scores separate do not make every score a certainty. The losses and errors of
    the fit are computed with the labels themselves, so on separable data they may grow.

    Args:
        probabilities: (N,) probabilities of fake.
        labels: (N,) 0 = genuine, 1 = fake; both are present.
        videos: Number of genuine and of fake videos that the samples come from, since frames of one video
            are not independent evidence. None: each sample is a video.
        name: What error messages call the set.

    Raises:
        InputError: A probability lies outside [0, 1], or a class is missing.
    """
    scores, classes = check_scores(probabilities, labels, name=name)
    check_probabilities(scores, name=name, metric='calibration')
    fakes = int(classes.sum())
    if fakes in (0, classes.size):
        raise InputError(
            f'{name} holds {"only" if fakes else "no"} fakes, and a temperature needs both classes; '
            'give data with genuine faces and fakes'
        )
    weight = np.where(classes == 1, 0.5 / fakes, 0.5 / (classes.size - fakes))
    genuine_videos, fake_videos = map(int, videos or (classes.size - fakes, fakes))
    smoothed = np.where(classes == 1, (fake_videos + 1) / (fake_videos + 2), 1 / (genuine_videos + 2))

    def loss(values: Scores, targets: npt.NDArray[Any] = classes) -> float:
        safe = np.clip(values, 1e-12, 1 - 1e-12)
        return float(-(weight * (targets * np.log(safe) + (1 - targets) * np.log1p(-safe))).sum())

    found = minimize_scalar(
        lambda log_t: loss(scale_probabilities(scores, float(np.exp(log_t))), smoothed),
        bounds=np.log(TEMPERATURES),
        method='bounded',
        options={'xatol': 1e-6},
    )
    temperature = float(np.exp(found.x))
    scaled = scale_probabilities(scores, temperature)
    calibrated = np.clip(scaled, *_supported(genuine_videos, fake_videos))
    return TemperatureFit(
        temperature,
        samples=int(classes.size),
        fakes=fakes,
        loss_before=loss(scale_probabilities(scores, 1.0)),
        loss_after=loss(calibrated),
        error_before=balanced_calibration_error(scores, classes),
        error_after=balanced_calibration_error(calibrated, classes),
        genuine_videos=genuine_videos,
        fake_videos=fake_videos,
    )
