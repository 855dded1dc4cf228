# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit
from sklearn.calibration import calibration_curve
from sklearn.metrics import log_loss

from iid_mm.errors import InputError
from iid_mm.evaluation.statistics.calibration import (
    balanced_calibration_error,
    fit_temperature,
    reliability_curve,
    scale_probabilities,
)


def test_by_hand() -> None:
    # Bins (0, .5] and (.5, 1]: .5 belongs to the lower one.
    curve = reliability_curve([0.0, 0.25, 0.5, 0.75, 1.0], [0, 0, 1, 1, 0], bins=2)
    assert curve.counts.tolist() == [3, 2]
    assert curve.predicted.tolist() == [0.25, 0.875]
    assert curve.observed.tolist() == pytest.approx([1 / 3, 1 / 2])
    assert curve.expected_error == pytest.approx((3 * (1 / 3 - 1 / 4) + 2 * (7 / 8 - 1 / 2)) / 5)


def error(scores: object, labels: object) -> float:
    return reliability_curve(scores, labels).expected_error


def test_certain_and_right_is_calibrated() -> None:
    assert error([0.0, 1.0, 1.0], [0, 1, 1]) == 0.0
    assert error([1.0, 0.0], [0, 1]) == 1.0
    assert error([0.7] * 10, [1] * 7 + [0] * 3) == pytest.approx(0.0, abs=1e-12)
    assert error([0.7] * 10, [1] * 10) == pytest.approx(0.3)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(st.integers(0, 40), st.integers(0, 1)), min_size=2, max_size=60).filter(
        lambda rows: len({label for _, label in rows}) == 2
    ),
    st.integers(1, 12),
)
def test_agrees_with_scikit_learn(rows: list[tuple[int, int]], bins: int) -> None:
    scores, labels = np.array(rows).T / np.array([[40], [1]])
    curve = reliability_curve(scores, labels, bins=bins)
    observed, predicted = calibration_curve(labels, scores, n_bins=bins, strategy='uniform')
    np.testing.assert_allclose(curve.observed, observed, atol=1e-12)
    np.testing.assert_allclose(curve.predicted, predicted, atol=1e-12)
    assert curve.counts.sum() == len(rows)
    assert 0 <= curve.expected_error <= max(abs(observed - predicted)) + 1e-12


def test_a_calibrated_large_set_has_a_small_error() -> None:
    generator = np.random.default_rng(0)
    scores = generator.random(200_000)
    labels = generator.random(200_000) < scores
    assert error(scores, labels) < 0.005
    assert error(scores**2, labels) > 0.1


def test_the_balanced_error_is_that_of_repeated_samples() -> None:
    scores = np.random.default_rng(2).random(40)
    labels = np.array([1] * 30 + [0] * 10)
    repeated = np.concatenate([scores, scores[30:], scores[30:]])
    expected = error(repeated, [1] * 30 + [0] * 30)
    assert balanced_calibration_error(scores, labels) == pytest.approx(expected)
    assert balanced_calibration_error([0.0, 1.0], [0, 1]) == 0


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(InputError, match='calibration needs probabilities'):
        reliability_curve([-0.5, 0.5], [0, 1])
    with pytest.raises(InputError, match='bins=0: give at least 1'):
        reliability_curve([0.5], [1], bins=0)


def test_scale_by_hand() -> None:
    # Log-odds of 0.9 are log 9; half of them are log 3, which is 0.75.
    assert scale_probabilities([0.9, 0.1, 0.5], 2.0) == pytest.approx([0.75, 0.25, 0.5])
    assert scale_probabilities([0.0, 1.0], 1.0) == pytest.approx([1e-6, 1 - 1e-6])


@given(st.lists(st.floats(0, 1), min_size=2, max_size=20), st.floats(0.1, 10))
def test_order_and_verdict_stay(values: list[float], temperature: float) -> None:
    scaled = scale_probabilities(values, temperature)
    assert (np.diff(scaled[np.argsort(values)]) >= -1e-15).all()
    assert ((scaled >= 0.5) == (np.array(values) >= 0.5)).all()


def test_finds_the_temperature_that_made_the_scores() -> None:
    """Labels drawn from calibrated log-odds; the scores are three times too sure."""
    rng = np.random.default_rng(0)
    odds = rng.normal(0, 1.5, 60_000)
    labels = rng.random(odds.size) < expit(odds)
    fit = fit_temperature(expit(3 * odds), labels.astype(int))
    assert fit.temperature == pytest.approx(3, rel=0.05)
    assert fit.loss_after < fit.loss_before
    assert fit.error_after < 0.01 < fit.error_before


def test_classes_weigh_equally() -> None:
    scores, labels = [0.9, 0.8, 0.4, 0.3], [1, 1, 1, 0]
    fit = fit_temperature(scores, labels, videos=(1, 3))
    assert fit.loss_before == pytest.approx(log_loss(labels, scores, sample_weight=[1, 1, 1, 3]))
    doubled = fit_temperature([*scores, 0.3], [*labels, 0], videos=(1, 3))
    assert doubled.temperature == pytest.approx(fit.temperature, rel=1e-4)
    assert (fit.samples, fit.fakes) == (4, 3)


def test_the_temperature_is_the_best_one() -> None:
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 2, 200)
    scores = expit(rng.normal(2 * labels - 1, 2))
    fit = fit_temperature(scores, labels)
    fakes = labels.sum()
    weights = np.where(labels == 1, 0.5 / fakes, 0.5 / (200 - fakes))
    # Platt's targets: a sample is a little of the other class, too.
    targets = np.where(labels == 1, (fakes + 1) / (fakes + 2), 1 / (200 - fakes + 2))
    grid = np.geomspace(1, 4, 500)
    losses = [
        log_loss(
            np.repeat([1, 0], 200),
            np.tile(scale_probabilities(scores, t), 2),
            sample_weight=np.concatenate([weights * targets, weights * (1 - targets)]),
        )
        for t in grid
    ]
    assert fit.temperature == pytest.approx(grid[int(np.argmin(losses))], rel=0.003)


def separable(genuine: int, fakes: int, *, inverted: bool = False) -> tuple[list[float], list[int]]:
    scores = [0.0] * genuine + [1.0] * fakes
    return [1 - s for s in scores] if inverted else scores, [0] * genuine + [1] * fakes


def test_few_videos_that_the_scores_separate_make_no_certainty() -> None:
    """The demo: 18 genuine and 54 fake validation videos, all classified correctly."""
    fit = fit_temperature(*separable(18, 54))
    assert not fit.at_edge
    assert fit.limits == pytest.approx((1 / 20, 19 / 20))
    # Scores that are hardly more than even do not become certainties either.
    assert fit_temperature([0.49] * 18 + [0.51] * 54, [0] * 18 + [1] * 54).apply([0.51]) <= 0.95
    assert fit.apply([1.0, 0.0]) == pytest.approx([0.95, 0.05])
    assert 0.05 < fit.apply([0.4]) < 0.5


@pytest.mark.parametrize(('genuine', 'fakes', 'highest'), [(1, 1, 2 / 3), (2, 500, 3 / 4), (500, 2, 3 / 4)])
def test_the_rarer_class_limits_both_ends(genuine: int, fakes: int, highest: float) -> None:
    fit = fit_temperature(*separable(genuine, fakes))
    assert fit.apply([0.0, 1.0]) == pytest.approx([1 - highest, highest])


def test_scores_the_wrong_way_round_say_nothing() -> None:
    fit = fit_temperature(*separable(40, 40, inverted=True))
    assert fit.at_edge
    assert fit.apply([0.0, 1.0]) == pytest.approx([0.5, 0.5], abs=0.18)


def test_frames_are_no_independent_evidence() -> None:
    scores, labels = separable(20 * 32, 20 * 32)
    fit = fit_temperature(scores, labels, videos=(20, 20))
    assert fit.temperature == pytest.approx(fit_temperature(*separable(20, 20)).temperature)
    assert fit.apply([1.0]) == pytest.approx([21 / 22])
    assert fit.samples == 1280


def test_temperatures_need_both_classes() -> None:
    with pytest.raises(InputError, match='holds no fakes, and a temperature needs both classes'):
        fit_temperature([0.1, 0.2], [0, 0])
    with pytest.raises(InputError, match='holds only fakes'):
        fit_temperature([0.1, 0.2], [1, 1])
    with pytest.raises(InputError):
        fit_temperature([0.1, 1.2], [0, 1])
