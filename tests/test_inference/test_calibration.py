# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit
from sklearn.metrics import log_loss

from iid_mm.errors import InputError
from iid_mm.evaluation.functional import expected_calibration_error
from iid_mm.inference.calibration import (
    Calibration,
    balanced_error,
    calibration_of,
    fit_temperature,
    scale_probabilities,
)


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
    fit = fit_temperature(scores, labels)
    assert fit.loss_before == pytest.approx(log_loss(labels, scores, sample_weight=[1, 1, 1, 3]))
    doubled = fit_temperature([*scores, 0.3], [*labels, 0])
    assert doubled.temperature == pytest.approx(fit.temperature, rel=1e-4)
    assert (fit.samples, fit.fakes) == (4, 3)


def test_the_temperature_is_the_best_one() -> None:
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 2, 200)
    scores = expit(rng.normal(2 * labels - 1, 2))
    fit = fit_temperature(scores, labels)
    weights = np.where(labels == 1, 0.5 / labels.sum(), 0.5 / (1 - labels).sum())
    grid = np.geomspace(0.1, 10, 400)
    losses = [log_loss(labels, scale_probabilities(scores, t), sample_weight=weights) for t in grid]
    assert fit.loss_after <= min(losses) + 1e-9
    assert fit.temperature == pytest.approx(grid[int(np.argmin(losses))], rel=0.02)


def test_balanced_error_is_that_of_repeated_samples() -> None:
    rng = np.random.default_rng(2)
    scores = rng.random(40)
    labels = np.array([1] * 30 + [0] * 10)
    repeated = np.concatenate([scores, scores[30:], scores[30:]])
    expected = expected_calibration_error(repeated, [1] * 30 + [0] * 30)
    assert balanced_error(scores, labels) == pytest.approx(expected)
    assert balanced_error([0.0, 1.0], [0, 1]) == 0


def test_round_trip() -> None:
    fit = fit_temperature([0.9, 0.2, 0.6], [1, 0, 0])
    made = Calibration(fit, fit, '3 videos')
    assert Calibration.from_dict(made.as_dict()) == made
    assert calibration_of({'calibration': made.as_dict()}) == made
    assert calibration_of({}) is None
    assert calibration_of(None) is None
    scaled = float(scale_probabilities([0.7], fit.temperature)[0])
    assert made.apply(0.7, of_video=True) == made.apply(0.7, of_video=False) == scaled


def test_bad_input() -> None:
    with pytest.raises(InputError, match='holds no fakes, and a temperature needs both classes'):
        fit_temperature([0.1, 0.2], [0, 0])
    with pytest.raises(InputError, match='holds only fakes'):
        fit_temperature([0.1, 0.2], [1, 1])
    with pytest.raises(InputError):
        fit_temperature([0.1, 1.2], [0, 1])
    with pytest.raises(InputError, match='incomplete'):
        Calibration.from_dict({'frame': {}})
    fit = fit_temperature([0.9, 0.2], [1, 0])
    content = Calibration(fit, fit, '').as_dict()
    content['video']['temperature'] = -1.0
    with pytest.raises(InputError, match=r'temperature=-1\.0'):
        Calibration.from_dict(content)
