# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from iid_mm.errors import InputError
from iid_mm.evaluation.scores import write_scores
from iid_mm.identity.shift import (
    identity_auc,
    intraclass_correlation,
    logit,
    measure_shift,
    scores_of_files,
    shift_table,
)
from support.scores import FrameScore, frame_scores


def test_icc_by_hand() -> None:
    # Means 2, 4, 9, of all 5: between 2 (9 + 1 + 16) = 52 of 2 degrees, within 2 + 2 + 2 = 6 of 3.
    found = intraclass_correlation([1, 3, 3, 5, 8, 10], list('aabbcc'))
    assert (found.df_between, found.df_within, found.videos_a_person) == (2, 3, 2)
    assert found.f == pytest.approx(26 / 2)
    assert found.icc.value == pytest.approx((26 - 2) / (26 + 2))
    assert found.eta_squared == pytest.approx(52 / 58)
    # Of the F distribution with 2 and 3 degrees: P(F > f) = (1 + 2 f / 3) ^ (-3 / 2).
    assert found.p == pytest.approx((1 + 26 / 3) ** -1.5)
    # Its 97.5 % point solves (1 + 2 f / 3) ^ (-3 / 2) = 0.025.
    point = 1.5 * (0.025 ** (-2 / 3) - 1)
    assert found.icc.low == pytest.approx((13 / point - 1) / (13 / point + 1))
    assert found.icc.low < found.icc.value < found.icc.high < 1


def test_shrout_and_fleiss_example() -> None:
    # Ratings of 6 targets by 4 judges, Psychological Bulletin 86 (1979), table 2; ICC(1,1) = .17 in table 4.
    ratings = [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]]
    found = intraclass_correlation(np.ravel(ratings), np.repeat(list('abcdef'), 4))
    assert found.icc.value == pytest.approx(0.17, abs=0.005)
    assert found.f == pytest.approx(11.24 / 6.26, abs=0.005)


def brute_icc(groups: list[list[float]]) -> float:
    """Straight from the definition of the expected mean squares."""
    every = [x for group in groups for x in group]
    grand = sum(every) / len(every)
    a, n = len(groups), len(every)
    between = sum(len(g) * (sum(g) / len(g) - grand) ** 2 for g in groups) / (a - 1)
    within = sum((x - sum(g) / len(g)) ** 2 for g in groups for x in g) / (n - a)
    n0 = (n - sum(len(g) ** 2 for g in groups) / n) / (a - 1)
    variance = (between - within) / n0
    return variance / (variance + within)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.lists(st.floats(-5, 5).map(lambda x: round(x, 2)), min_size=1, max_size=4), min_size=2, max_size=5
    )
)
def test_icc_of_unequal_groups_is_the_definition(groups: list[list[float]]) -> None:
    values = np.array([x for group in groups for x in group])
    within = sum(np.ptp(group) for group in groups)
    if len(values) == len(groups) or within < 0.01:
        return
    names = [number for number, group in enumerate(groups) for _ in group]
    assert intraclass_correlation(values, names).icc.value == pytest.approx(brute_icc(groups), abs=1e-6)


def test_icc_finds_the_planted_share() -> None:
    rng = np.random.default_rng(0)
    people, videos = 400, 6
    effect = np.repeat(rng.normal(size=people), videos) * np.sqrt(0.3)
    names = np.repeat(np.arange(people), videos)
    found = intraclass_correlation(effect + rng.normal(size=names.size) * np.sqrt(0.7), names)
    assert found.icc.value == pytest.approx(0.3, abs=0.05)
    assert found.icc.low < 0.3 < found.icc.high
    none = intraclass_correlation(rng.normal(size=names.size), names)
    assert none.icc.low < 0 < none.icc.high
    assert none.p > 0.05


def test_interval_has_its_level() -> None:
    rng = np.random.default_rng(1)
    names = np.repeat(np.arange(20), 3)
    hits = 0
    for _ in range(400):
        values = np.repeat(rng.normal(size=20), 3) + rng.normal(size=60)
        interval = intraclass_correlation(values, names, level=0.9).icc
        hits += interval.low <= 0.5 <= interval.high
    assert 0.86 <= hits / 400 <= 0.94


def test_icc_at_the_ends() -> None:
    one = intraclass_correlation([1, 1, 2, 2], list('aabb'))
    assert one.icc[:3] == (1, 1, 1)
    assert one.p == 0
    assert np.isnan(intraclass_correlation([3, 3, 3, 3], list('aabb')).icc.value)


def test_logit() -> None:
    np.testing.assert_allclose(logit([0.5, 0.75, 0, 1]), [0, np.log(3), -13.8155, 13.8155], atol=1e-4)


def test_auc_within_and_across_by_hand() -> None:
    # Anna: fake .9, genuine .5 and .2. Bert: fake .4, genuine .3. Scores of Anna are .2 higher.
    # Within: .9 > .5, .9 > .2, .4 > .3: 3 of 3. Across: .9 > .3; .4 < .5, .4 > .2: 2 of 3.
    found = identity_auc([0.9, 0.5, 0.2, 0.4, 0.3], [1, 0, 0, 1, 0], list('aaabb'))
    assert (found.within.value, found.across.value) == (1, pytest.approx(2 / 3))
    assert found.difference.value == pytest.approx(1 / 3)
    assert (found.pairs_within, found.pairs_across, found.identities) == (3, 3, 2)
    # A tie is half: Carl's genuine .4.
    found = identity_auc([0.9, 0.5, 0.2, 0.4, 0.3, 0.4], [1, 0, 0, 1, 0, 0], list('aaabbc'))
    assert found.across.value == pytest.approx((2 + 1 + 0.5) / 5)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000))
def test_auc_is_the_sum_over_pairs(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores, labels = rng.integers(0, 6, 30) / 5, rng.integers(0, 2, 30)
    names = rng.integers(0, 5, 30)
    sums = {True: [], False: []}
    for f in np.flatnonzero(labels == 1):
        for g in np.flatnonzero(labels == 0):
            sums[bool(names[f] == names[g])].append((scores[f] > scores[g]) + 0.5 * (scores[f] == scores[g]))
    if not sums[True] or not sums[False]:
        return
    found = identity_auc(scores, labels, names, resamples=5)
    assert found.within.value == pytest.approx(np.mean(sums[True]))
    assert found.across.value == pytest.approx(np.mean(sums[False]))


def test_auc_of_normal_scores_with_a_shift_by_person() -> None:
    rng = np.random.default_rng(2)
    people, videos = 300, 4
    names = np.tile(np.repeat(np.arange(people), videos), 2)
    labels = np.repeat([0, 1], people * videos)
    shift = rng.normal(size=people)[names]
    found = identity_auc(labels + shift + rng.normal(size=names.size), labels, names)
    # Differences of two videos have the variance 2 within and 2 + 2 across.
    assert found.within.value == pytest.approx(stats.norm.cdf(1 / np.sqrt(2)), abs=0.02)
    assert found.across.value == pytest.approx(stats.norm.cdf(1 / 2), abs=0.03)
    assert found.difference.low > 0
    no_shift = identity_auc(labels + rng.normal(size=names.size), labels, names)
    assert no_shift.difference.low < 0 < no_shift.difference.high


def test_bad_input() -> None:
    with pytest.raises(InputError, match='several genuine videos'):
        intraclass_correlation([1, 2], list('ab'))
    with pytest.raises(InputError, match='2 identities'):
        intraclass_correlation([1, 2], list('aa'))
    with pytest.raises(InputError, match='finite'):
        intraclass_correlation([1, np.nan, 1], list('aab'))
    with pytest.raises(InputError, match='0 pairs of a fake'):
        identity_auc([0.1, 0.9], [0, 1], list('ab'))
    with pytest.raises(InputError, match='0 of different'):
        identity_auc([0.1, 0.9], [0, 1], list('aa'))
    with pytest.raises(InputError, match='level'):
        identity_auc([0.1, 0.9], [0, 1], list('aa'), level=95)


def write_tiny_scores(path: Path, takes: int, *, known: bool = True) -> None:
    """Two people with one genuine and one fake video of two frames."""
    records = []
    for number, person in enumerate('ab'):
        for label, method in enumerate(('youtube', 'FaceSwap')):
            for frame in range(2):
                score = 0.2 * label + 0.5 * number + 0.05 * frame + 0.01 * takes
                key = f'ffpp/{method}/c23/{person}'
                owner = person if known else None
                records.append(FrameScore(key, frame, f'{key}{frame}', 'ffpp', method, label, score, owner))
    write_scores(frame_scores(records), path)


def test_scores_of_several_takes(tmp_path: Path) -> None:
    paths = [tmp_path / f'{take}.parquet' for take in range(2)]
    for take, path in enumerate(paths):
        write_tiny_scores(path, take)
    scores = scores_of_files(paths)
    # Means over frames: .025 and .525 genuine, + .2 fake, + .01 in the second take.
    assert sorted(scores.score) == pytest.approx([0.025, 0.035, 0.225, 0.235, 0.525, 0.535, 0.725, 0.735])
    report = measure_shift(scores)
    assert not isinstance(report.icc_probability, str)
    # Mean squares: .25 between (2 pairs, .5 apart), .00005 within.
    assert report.icc_probability.icc.value == pytest.approx((0.25 - 5e-5) / (0.25 + 5e-5))
    assert not isinstance(report.auc, str)
    assert (report.auc.within.value, report.auc.across.value) == (1, 0.5)
    assert re.search(r'\| within - across .*\| 0\.500 \(', shift_table(report))
    # One genuine video a person: no ICC, and the table says why.
    single = measure_shift(scores_of_files(paths[:1]))
    assert isinstance(single.icc_logit, str)
    assert 'several genuine videos' in shift_table(single)
    assert single.as_dict()['auc']['within']['value'] == 1


def test_scores_without_identities(tmp_path: Path) -> None:
    write_tiny_scores(tmp_path / 'x.parquet', 0, known=False)
    with pytest.raises(InputError, match='no video has a target identity'):
        scores_of_files([tmp_path / 'x.parquet'])
