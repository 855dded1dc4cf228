# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve

from iid_mm.errors import InputError
from iid_mm.evaluation.statistics.calibration import balanced_calibration_error, reliability_curve


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
