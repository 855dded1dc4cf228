# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit
from sklearn.metrics import log_loss

from iid_mm.errors import InputError
from iid_mm.inference.calibration import (
    Calibration,
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
    grid = np.geomspace(0.1, 10, 2000)
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
    """The demo: 18 genuine and 54 fake validation videos, all told right."""
    fit = fit_temperature(*separable(18, 54))
    assert not fit.at_edge
    assert fit.limits == pytest.approx((1 / 20, 19 / 20))
    # Scores that are hardly more than even do not become certainties either.
    assert fit_temperature([0.49] * 18 + [0.51] * 54, [0] * 18 + [1] * 54).apply([0.51]) <= 0.95
    made = Calibration(fit, fit, '72 videos')
    for of_video in (True, False):
        assert made.apply(1.0, of_video=of_video) == pytest.approx(0.95)
        assert made.apply(0.0, of_video=of_video) == pytest.approx(0.05)
        assert 0.05 < made.apply(0.4, of_video=of_video) < 0.5


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


def test_checkpoints_without_counts_still_work() -> None:
    fit = fit_temperature(*separable(18, 54))
    content = Calibration(fit, fit, 'old').as_dict()
    for part in ('frame', 'video'):
        del content[part]['genuine_videos'], content[part]['fake_videos']
    old = Calibration.from_dict(content)
    assert old.video.limits is None
    assert old.apply(1.0, of_video=True) == pytest.approx(scale_probabilities([1.0], fit.temperature)[0])
    content['video']['fake_videos'] = 0
    with pytest.raises(InputError, match='counts 0 videos'):
        Calibration.from_dict(content)


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
    endless: list[Any] = [1]
    for _ in range(60):
        # As text this has no end.
        endless = [endless, endless]
    for damaged in ('x', 5, [1], np.ones(3)):
        with pytest.raises(InputError, match='the calibration in the checkpoint is a '):
            Calibration.from_dict(damaged)  # type: ignore[arg-type]
    fit = fit_temperature([0.9, 0.2], [1, 0])
    content = Calibration(fit, fit, '').as_dict()
    for damaged in ({**content, 'data': endless}, {**content, 'frame': {'temperature': endless}}):
        with pytest.raises(InputError, match='more than numbers and text'):
            Calibration.from_dict(damaged)
    content['video']['temperature'] = -1.0
    with pytest.raises(InputError, match=r'temperature=-1\.0'):
        Calibration.from_dict(content)


@pytest.mark.parametrize('name', ['samples', 'loss_before', 'error_after'])
@pytest.mark.parametrize('value', ['x', None, math.nan, -1, 10**400])
def test_metrics_that_are_none_are_refused(name: str, value: Any) -> None:
    fit = fit_temperature([0.9, 0.2], [1, 0])
    content = Calibration(fit, fit, '').as_dict()
    content['frame'][name] = value
    with pytest.raises(InputError, match=f'{name}=.*calibrate'):
        Calibration.from_dict(content)
