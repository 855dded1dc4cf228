# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from iid_mm.errors import InputError
from iid_mm.evaluation.statistics.intervals import (
    Interval,
    difference_interval,
    exact_share_interval,
    holm,
    newcombe_auc_interval,
    normal_quantile,
    separated_eer_bound,
)


@settings(deadline=None, max_examples=100)
@given(
    st.floats(0, 1).filter(lambda auc: auc in (0.0, 1.0) or 1e-6 < auc < 1 - 1e-6),
    st.integers(1, 500),
    st.integers(1, 500),
    st.sampled_from([0.8, 0.95, 0.99]),
)
def test_newcombe_limits_solve_his_equation(auc: float, fakes: int, genuine: int, level: float) -> None:
    found = newcombe_auc_interval(auc, fakes, genuine, level=level)
    assert 0 <= found.low <= auc <= found.high <= 1
    assert found.low < found.high
    for limit in (found.low, found.high):
        if limit not in (0.0, 1.0):
            extra = ((fakes + genuine) / 2 - 1) * ((1 - limit) / (2 - limit) + limit / (1 + limit))
            variance = limit * (1 - limit) * (1 + extra) / (fakes * genuine)
            assert abs(auc - limit) == pytest.approx(normal_quantile(level) * variance**0.5, abs=1e-6)
    mirrored = newcombe_auc_interval(1 - auc, genuine, fakes, level=level)
    assert (mirrored.low, mirrored.high) == pytest.approx((1 - found.high, 1 - found.low), abs=1e-6)


def test_newcombe_of_one_pair_is_wilsons_interval() -> None:
    wilson = stats.binomtest(1, 1).proportion_ci(method='wilson')
    found = newcombe_auc_interval(1.0, 1, 1)
    assert (found.low, found.high) == pytest.approx((wilson.low, wilson.high), abs=1e-9)
    assert found.method == 'newcombe'


def test_exact_interval_of_a_share() -> None:
    # With no failure in n: low = (alpha / 2) ^ (1 / n).
    found = exact_share_interval(20, 20)
    assert (found.value, found.high) == (1.0, 1.0)
    assert found.low == pytest.approx(0.025 ** (1 / 20))
    found = exact_share_interval(3, 10, level=0.9)
    assert found.low == pytest.approx(stats.beta.ppf(0.05, 3, 8))
    assert found.high == pytest.approx(stats.beta.ppf(0.95, 4, 7))


def test_bound_of_the_eer_of_a_separated_set() -> None:
    bound = separated_eer_bound(100, 50)
    assert 2 * (1 - bound) ** 50 == pytest.approx(0.025)
    assert separated_eer_bound(50, 100) == bound
    assert separated_eer_bound(1, 1) < 1
    # Sets of a detector whose true EER is the bound are separated in 2.5 % of cases at most.
    generator = np.random.default_rng(0)
    bound = separated_eer_bound(12, 12)
    shift = -2 * stats.norm.ppf(bound)
    genuine, fake = generator.normal(size=(2, 20_000, 12))
    assert np.mean(genuine.max(axis=1) < (fake + shift).min(axis=1)) < 0.025


def test_difference_of_two_intervals() -> None:
    found = difference_interval(Interval(0.5, 0.4, 0.7, 'x'), Interval(0.8, 0.5, 0.84, 'x'))
    # Below: .3 of the second down, .2 of the first up; above: .04 up, .1 down.
    assert found.value == pytest.approx(0.3)
    assert found.low == pytest.approx(0.3 - np.hypot(0.3, 0.2))
    assert found.high == pytest.approx(0.3 + np.hypot(0.04, 0.1))
    assert found.method == 'mover'
    unknown = difference_interval(
        Interval(1.0, float('nan'), float('nan'), 'none'), Interval(1.0, 1.0, 1.0, 'x')
    )
    assert np.isnan(unknown.low)
    assert np.isnan(unknown.high)


def test_holm_by_hand() -> None:
    # Sorted: .01 * 4, .02 * 3, .03 * 2 (raised to .06), .04 * 1 (raised to .06).
    assert holm([0.04, 0.01, 0.03, 0.02]).tolist() == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.5, 0.9]).tolist() == [1.0, 1.0]
    corrected = holm([0.01, float('nan'), 0.02])
    assert corrected[[0, 2]].tolist() == pytest.approx([0.02, 0.02])
    assert np.isnan(corrected[1])
    assert holm([]).size == 0


@settings(deadline=None, max_examples=50)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_rejects_what_its_steps_reject(values: list[float]) -> None:
    corrected = holm(values)
    assert np.all(corrected >= values)
    # The procedure itself: go up the sorted values until one is above alpha / (those left).
    rejected = set()
    for step, place in enumerate(np.argsort(values, kind='stable')):
        if values[place] * (len(values) - step) > 0.05:
            break
        rejected.add(int(place))
    assert set(np.flatnonzero(corrected <= 0.05).tolist()) == rejected


@pytest.mark.parametrize('level', [0.0, 1.0, 95.0, float('nan')])
def test_a_level_is_a_share(level: float) -> None:
    with pytest.raises(InputError, match='give a confidence level between 0 and 1'):
        newcombe_auc_interval(0.5, 10, 10, level=level)
