# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from iid_mm.errors import InputError
from iid_mm.evaluation.functional.inputs import OneClassError
from iid_mm.evaluation.functional.roc import (
    area_under_roc,
    average_precision,
    roc_curve,
)
from iid_mm.evaluation.functional.weighted import WeightedMetrics
from iid_mm.evaluation.statistics import bootstrap
from iid_mm.evaluation.statistics.bootstrap import bootstrap_difference, bootstrap_metrics
from iid_mm.evaluation.statistics.delong import delong_covariance

ALL = ('auc', 'eer', 'ap')

samples = st.lists(st.tuples(st.integers(0, 8), st.integers(0, 1)), min_size=2, max_size=25).filter(
    lambda rows: len({label for _, label in rows}) == 2
)


def normal_scores(fakes: int, genuine: int, shift: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    labels = np.repeat([1, 0], [fakes, genuine])
    return np.random.default_rng(seed).normal(size=labels.size) + shift * labels, labels


def probabilities(fakes: int, genuine: int, shift: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    scores, labels = normal_scores(fakes, genuine, shift, seed)
    return 1 / (1 + np.exp(shift / 2 - scores)), labels


def test_the_metrics_are_those_of_the_set() -> None:
    scores, labels = probabilities(30, 20, 1.5, 0)
    found = bootstrap_metrics(scores, labels, ALL, resamples=200)
    values = {name: interval.value for name, interval in found.items()}
    assert values == pytest.approx(
        {
            'auc': area_under_roc(scores, labels),
            'eer': roc_curve(scores, labels).eer,
            'ap': average_precision(scores, labels),
        },
        abs=1e-12,
    )
    assert all(interval.low < interval.value < interval.high for interval in found.values())


def test_draws_do_not_depend_on_chunks_metrics_or_other_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    scores, labels = probabilities(13, 9, 1.0, 1)
    groups = np.arange(22) % 7
    expected = bootstrap_metrics(scores, labels, ALL, resamples=50)
    grouped = bootstrap_metrics(scores, labels, ('auc',), resamples=50, groups=groups)
    paired = bootstrap_difference(scores, scores**2 + 0.1 * labels, labels, resamples=50)
    assert bootstrap_metrics(scores, labels, ('auc',), resamples=50)['auc'] == expected['auc']
    for chunk in (1, 22 * 3, 22 * 7 + 5):
        monkeypatch.setattr(bootstrap, '_CHUNK', chunk)
        assert bootstrap_metrics(scores, labels, ALL, resamples=50) == expected
        assert bootstrap_metrics(scores, labels, ('auc',), resamples=50, groups=groups) == grouped
        assert bootstrap_difference(scores, scores**2 + 0.1 * labels, labels, resamples=50) == paired
    assert bootstrap_metrics(scores, labels, ('auc',), resamples=50, seed=1)['auc'] != expected['auc']


def test_draws_are_the_same_on_all_machines() -> None:
    # Fixed once; a change means that published intervals cannot be recomputed.
    plan = bootstrap._Plan(np.array([1, 1, 1, 1, 0, 0, 0]), None, 'x')
    rows = np.concatenate(list(plan.resamples(3, seed=7)))
    assert rows.astype(int).tolist() == [[2, 1, 0, 1, 0, 2, 1], [1, 2, 1, 0, 1, 2, 0], [0, 2, 1, 1, 2, 1, 0]]


def test_every_resample_has_the_sizes_of_the_classes() -> None:
    labels = np.array([0, 1, 1, 0, 1, 0, 1, 1])
    rows = np.concatenate(list(bootstrap._Plan(labels, None, 'x').resamples(200, 0)))
    assert np.all(rows @ labels == 5)
    assert np.all(rows @ (1 - labels) == 3)
    # Each sample is drawn once on average, with the variance of a binomial (n draws of 1 / n).
    assert rows.mean(axis=0) == pytest.approx(np.ones(8), abs=0.25)
    assert rows.var(axis=0)[labels == 1].mean() == pytest.approx(0.8, abs=0.15)


def test_groups_are_drawn_whole_and_by_what_they_hold() -> None:
    labels = np.array([1, 1, 0, 0, 0, 1, 1, 0])
    groups = ['a', 'a', 'b', 'b', 'c', 'c', None, None]
    rows = np.concatenate(list(bootstrap._Plan(labels, groups, 'x').resamples(300, 0)))
    assert np.all(rows[:, 0] == rows[:, 1])
    assert np.all(rows[:, 2] == rows[:, 3])
    assert np.all(rows[:, 4] == rows[:, 5])
    # Strata: 'a' and the unknown fake; 'b' and the unknown genuine one; 'c' alone, with both.
    assert np.all(rows[:, 0] + rows[:, 6] == 2)
    assert np.all(rows[:, 2] + rows[:, 7] == 2)
    assert np.all(rows[:, 4] == 1)


def test_groups_of_one_are_no_groups_and_copies_are_no_information() -> None:
    scores, labels = normal_scores(40, 40, 1.0, 3)
    alone = bootstrap_metrics(scores, labels, ('auc', 'eer'), resamples=300)
    assert bootstrap_metrics(scores, labels, ('auc', 'eer'), resamples=300, groups=np.arange(80)) == alone
    copies = [np.tile(values, 4) for values in (scores, labels, np.arange(80))]
    grouped = bootstrap_metrics(*copies[:2], ('auc', 'eer'), resamples=300, groups=copies[2])
    assert grouped['auc'][:3] == pytest.approx(alone['auc'][:3], abs=1e-9)
    ignored = bootstrap_metrics(*copies[:2], ('auc',), resamples=300)['auc']
    assert ignored.high - ignored.low < 0.6 * (grouped['auc'].high - grouped['auc'].low)


@pytest.mark.parametrize('method', ['percentile', 'bca'])
def test_agrees_with_scipy(method: str) -> None:
    scores, labels = normal_scores(14, 11, 1.2, 2)

    def auc(fake: np.ndarray, genuine: np.ndarray, axis: int = -1) -> np.ndarray:
        return (fake[..., :, None] > genuine[..., None, :]).mean(axis=(-1, -2))

    oracle = stats.bootstrap(
        (scores[labels == 1], scores[labels == 0]),
        auc,
        n_resamples=20_000,
        vectorized=True,
        method={'percentile': 'percentile', 'bca': 'BCa'}[method],
        random_state=np.random.default_rng(0),
    ).confidence_interval
    found = bootstrap_metrics(scores, labels, resamples=20_000, method=method)['auc']
    # Quantiles of 20 000 resamples have a standard error of about 0.002 here.
    assert (found.low, found.high) == pytest.approx((oracle.low, oracle.high), abs=0.008)
    assert found.method == method


def test_leaving_out_in_blocks_finds_the_same_skewness(monkeypatch: pytest.MonkeyPatch) -> None:
    scores, labels = normal_scores(600, 600, 2.0, 5)
    statistic = WeightedMetrics(scores, labels, ('auc',))
    plan = bootstrap._Plan(labels, None, 'x')
    blocks = bootstrap._accelerations(plan, statistic)['auc']
    monkeypatch.setattr(bootstrap, '_JACKKNIFE', 10_000)
    assert blocks == pytest.approx(bootstrap._accelerations(plan, statistic)['auc'], abs=0.02)


def test_widths_agree_with_delong() -> None:
    scores, labels = normal_scores(150, 120, 1.0, 8)
    variance = float(delong_covariance([scores], labels).covariance[0, 0])
    found = bootstrap_metrics(scores, labels, resamples=2000)['auc']
    assert found.high - found.low == pytest.approx(2 * 1.96 * variance**0.5, rel=0.08)


def test_coverage_by_simulation() -> None:
    # AUC of shift d is Phi(d / sqrt 2), EER Phi(-d / 2).
    shift, runs = 1.5, 200
    truth = {'auc': stats.norm.cdf(shift / 2**0.5), 'eer': stats.norm.cdf(-shift / 2)}
    covered = dict.fromkeys(truth, 0)
    for run in range(runs):
        scores, labels = normal_scores(50, 40, shift, 1000 + run)
        found = bootstrap_metrics(scores, labels, tuple(truth), resamples=250, seed=run)
        for name, value in truth.items():
            covered[name] += found[name].low <= value <= found[name].high
    for name in truth:
        assert 0.90 <= covered[name] / runs <= 0.99, (name, covered[name])


def test_coverage_over_groups_by_simulation() -> None:
    # 25 persons with 4 genuine and 4 fake videos, whose scores share a strong part.
    labels = np.tile(np.repeat([0, 1], 4), 25)
    person = np.repeat(np.arange(25), 8)
    shift, runs = 1.5, 120
    truth = stats.norm.cdf(shift / (2 * 2) ** 0.5)  # variance 1 + 1 within each class
    covered = {'videos': 0, 'persons': 0}
    for run in range(runs):
        generator = np.random.default_rng(run)
        # The shared part is drawn apart for each class, so that it does not cancel.
        shared = generator.normal(size=(25, 2))[person, labels]
        scores = shared + generator.normal(size=200) + shift * labels
        for name, groups in (('videos', None), ('persons', person)):
            found = bootstrap_metrics(scores, labels, resamples=200, seed=run, groups=groups)['auc']
            covered[name] += found.low <= truth <= found.high
    assert 0.86 <= covered['persons'] / runs <= 1.0, covered
    assert covered['videos'] / runs < 0.85, 'what the groups are for'


def test_constant_metrics_get_an_honest_interval() -> None:
    scores, labels = np.linspace(0, 1, 40), np.repeat([0, 1], 20)
    found = bootstrap_metrics(scores, labels, ALL, resamples=100)
    assert found['auc'].value == found['auc'].high == 1.0
    assert (found['auc'].low, found['auc'].method) == (pytest.approx(0.8987, abs=1e-4), 'newcombe')
    assert (found['eer'].value, found['eer'].low, found['eer'].method) == (0.0, 0.0, 'exact')
    assert found['eer'].high == pytest.approx(1 - 0.0125 ** (1 / 20))
    assert np.isnan(found['ap'].low)
    assert found['ap'].method == 'none'
    # Four persons are four units, however many videos they have.
    persons = bootstrap_metrics(scores, labels, resamples=100, groups=np.arange(40) // 10)['auc']
    assert persons.low < 0.6


def test_one_unit_of_a_class_says_nothing_on_how_units_differ() -> None:
    scores, labels = probabilities(30, 1, 1.0, 2)
    found = bootstrap_metrics(scores, labels, ('auc', 'ap'), resamples=200)
    newcombe = delong_covariance([scores], labels).interval()
    assert newcombe.method == 'newcombe'
    assert found['auc'][1:3] == pytest.approx(newcombe[1:3])
    assert found['auc'].method == 'newcombe'
    assert found['auc'].high - found['auc'].low > 0.5
    assert found['ap'].method == 'none'
    # Ten genuine videos of one person are one unit; of ten persons, ten.
    scores, labels = probabilities(10, 10, 1.0, 2)
    alone = bootstrap_metrics(scores, labels, resamples=200, groups=[*range(10), *[99] * 10])['auc']
    several = bootstrap_metrics(scores, labels, resamples=200, groups=[*range(20)])['auc']
    assert (alone.method, several.method) == ('newcombe', 'bca')
    change = bootstrap_difference(
        scores, scores[::-1], labels, resamples=200, groups=[*range(10), *[99] * 10]
    )
    assert change.interval.method == 'mover'


def test_differences_are_paired() -> None:
    generator = np.random.default_rng(4)
    scores, labels = normal_scores(60, 60, 1.0, 4)
    better = scores + 0.3 * labels + 0.1 * generator.normal(size=120)
    found = bootstrap_difference(scores, better, labels, resamples=500)
    assert found.first == area_under_roc(scores, labels)
    assert found.second == area_under_roc(better, labels)
    assert found.interval.value == pytest.approx(found.second - found.first)
    assert found.interval.low > 0
    # Much narrower than both intervals by themselves would say.
    alone = bootstrap_metrics(scores, labels, resamples=500)['auc']
    assert found.interval.high - found.interval.low < 0.5 * (alone.high - alone.low)
    back = bootstrap_difference(better, scores, labels, resamples=500)
    assert back.interval.low == pytest.approx(-found.interval.high, abs=1e-12)


def test_differences_that_no_resample_changes() -> None:
    scores, labels = probabilities(20, 20, 1.0, 0)
    assert bootstrap_difference(scores, scores**2, labels, resamples=50).interval[:3] == (0.0, 0.0, 0.0)
    perfect = np.arange(40) / 40, np.repeat([0, 1], 20)
    found = bootstrap_difference(perfect[0], -perfect[0], perfect[1], resamples=50)
    assert found.interval.value == -1.0
    assert found.interval.method == 'mover'
    assert found.interval.high > -1.0


@settings(deadline=None, max_examples=25)
@given(samples, st.integers(0, 3))
def test_rising_maps_change_no_interval(rows: list[tuple[int, int]], seed: int) -> None:
    scores, labels = np.array(rows).T
    found = bootstrap_metrics(scores, labels, ('auc', 'eer', 'ap'), resamples=20, seed=seed)
    risen = bootstrap_metrics(np.exp(scores), labels, ('auc', 'eer', 'ap'), resamples=20, seed=seed)
    assert str(risen) == str(found)
    for interval in found.values():
        assert 0 <= interval.value <= 1


def test_bad_arguments_are_refused() -> None:
    scores, labels = normal_scores(5, 5, 1.0, 0)
    for arguments, message in (
        ({'metrics': ('f1',)}, "metric 'f1' is unknown; choose among auc, eer"),
        ({'resamples': 0}, 'resamples=0: give at least 1'),
        ({'level': 95}, 'level=95: give a confidence level between 0 and 1'),
        ({'method': 'normal'}, "method='normal' is unknown; choose one of percentile, bca"),
        ({'groups': [1, 2]}, 'groups of 2 samples for 10 scores'),
    ):
        with pytest.raises(InputError, match=message):
            bootstrap_metrics(scores, labels, **arguments)  # type: ignore[arg-type]
    with pytest.raises(OneClassError, match='all 5 samples are fake'):
        bootstrap_metrics(scores[:5], labels[:5])
    with pytest.raises(InputError, match='give one score and one label'):
        bootstrap_difference(scores, scores[:5], labels)
