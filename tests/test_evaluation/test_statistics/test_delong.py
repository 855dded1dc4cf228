# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from iid_mm.errors import InputError
from iid_mm.evaluation.functional.inputs import OneClassError
from iid_mm.evaluation.statistics.delong import delong_covariance

# The example of DeLong, DeLong, Clarke-Pearson (1988): albumin, total protein and K-G score of patients with
# ovarian cancer, and whether surgery was of no (0) or of some (1) benefit; the 43 complete records.
# fmt: off
ALBUMIN = np.array(
    [
        3.0, 3.2, 3.9, 2.8, 3.2, 0.9, 2.5, 1.6, 3.8, 3.7, 3.2, 3.8, 4.1, 3.6, 4.3, 3.6, 2.3, 4.2,
        4.0, 3.5, 3.8, 3.0, 4.5, 3.7, 3.1, 4.1, 4.3, 4.3, 3.2, 2.6, 3.3, 1.7, 3.7, 3.3, 4.2, 3.5,
        2.9, 2.1, 2.8, 4.0, 3.3, 3.7, 3.6
    ]
)
PROTEIN = np.array(
    [
        5.8, 6.3, 6.8, 4.8, 5.8, 4.0, 5.7, 5.6, 5.7, 6.7, 5.4, 6.6, 6.6, 5.7, 7.0, 6.7, 4.4, 7.6,
        6.6, 5.8, 6.8, 4.7, 7.4, 7.4, 6.6, 8.2, 7.0, 6.5, 5.1, 4.7, 6.8, 4.0, 6.1, 6.3, 7.7, 6.2,
        5.7, 4.8, 6.2, 7.0, 5.7, 6.9, 6.6
    ]
)
KG = 10 - np.array(
    [
        10, 5, 3, 6, 3, 5, 8, 5, 5, 6, 4, 6, 5, 5, 4, 4, 6, 4, 6, 6, 7, 8, 5, 5, 6, 6, 5, 4, 5, 6,
        6, 7, 5, 7, 6, 5, 9, 7, 8, 7, 6, 5, 5
    ]
)
BENEFIT = np.array(
    [
        0, 1, 1, 0, 1, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 0, 1, 0, 0, 1, 1, 0, 1, 1, 1, 1, 1, 1, 1, 1, 0,
        0, 1, 1, 1, 1, 0, 1, 0, 1, 1, 1, 1
    ]
)
# fmt: on

pairs_of_scores = st.lists(
    st.tuples(st.integers(0, 5), st.integers(0, 5), st.integers(0, 1)), min_size=4, max_size=30
).filter(lambda rows: min(np.bincount([row[2] for row in rows], minlength=2)) >= 2)


def brute_force(scores: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """AUCs and covariance of K rows of scores by the definition of 1988, over all pairs."""
    kernels = [
        (row[labels == 1][:, None] > row[labels == 0]) + 0.5 * (row[labels == 1][:, None] == row[labels == 0])
        for row in scores
    ]
    by_fake = np.cov([kernel.mean(axis=1) for kernel in kernels])
    by_genuine = np.cov([kernel.mean(axis=0) for kernel in kernels])
    covariance = by_fake / np.sum(labels == 1) + by_genuine / np.sum(labels == 0)
    return np.array([kernel.mean() for kernel in kernels]), covariance


def brute_force_groups(scores: np.ndarray, labels: np.ndarray, groups: np.ndarray) -> float:
    """Variance of one AUC by Obuchowski's formulas, group by group."""
    fake, genuine = scores[labels == 1], scores[labels == 0]
    kernel = (fake[:, None] > genuine) + 0.5 * (fake[:, None] == genuine)
    auc, m, n = kernel.mean(), fake.size, genuine.size
    names = np.unique(groups)
    ten = {g: kernel.mean(axis=1)[groups[labels == 1] == g] for g in names}
    one = {g: kernel.mean(axis=0)[groups[labels == 0] == g] for g in names}
    with_fake = sum(ten[g].size > 0 for g in names)
    with_genuine = sum(one[g].size > 0 for g in names)
    total = len(names)
    s10 = sum((ten[g].sum() - ten[g].size * auc) ** 2 for g in names) * with_fake / ((with_fake - 1) * m)
    s01 = (
        sum((one[g].sum() - one[g].size * auc) ** 2 for g in names) * with_genuine / ((with_genuine - 1) * n)
    )
    s11 = sum((ten[g].sum() - ten[g].size * auc) * (one[g].sum() - one[g].size * auc) for g in names)
    return float(s10 / m + s01 / n + 2 * s11 * total / ((total - 1) * m * n))


def test_the_published_example() -> None:
    # As SAS/STAT's documentation of PROC LOGISTIC prints it for these data, to four decimals.
    both = delong_covariance([ALBUMIN, KG, PROTEIN], BENEFIT)
    assert both.aucs == pytest.approx([0.7366, 0.7258, 0.6478], abs=5e-5)
    assert np.diag(both.covariance) ** 0.5 == pytest.approx([0.0927, 0.1028, 0.1000], abs=5e-5)
    for detector, contrast, (value, low, high, p) in (
        (0, [1, -1, 0], (0.0108, -0.1761, 0.1976, 0.9102)),
        (2, [0, -1, 1], (-0.0780, -0.2830, 0.1271, 0.4561)),
    ):
        assert both.contrast(contrast)[:3] == pytest.approx((value, low, high), abs=5e-5)
        assert both.p_value(1, detector) == pytest.approx(p, abs=5e-5)
    # All three against each other: chi-square with 2 degrees of freedom.
    contrast = np.array([[1, -1, 0], [0, -1, 1]])
    change = contrast @ both.aucs
    chi_square = change @ np.linalg.solve(contrast @ both.covariance @ contrast.T, change)
    assert chi_square == pytest.approx(2.5340, abs=5e-5)


def variance_of(scores: np.ndarray, labels: np.ndarray, groups: object = None) -> float:
    return float(delong_covariance([scores], labels, groups=groups).covariance[0, 0])


@settings(deadline=None, max_examples=80)
@given(pairs_of_scores)
def test_agrees_with_brute_force(rows: list[tuple[int, int, int]]) -> None:
    a, b, labels = np.array(rows).T
    both = delong_covariance([a, b], labels)
    aucs, covariance = brute_force(np.stack([a, b]), labels)
    np.testing.assert_allclose(both.aucs, aucs, atol=1e-12)
    np.testing.assert_allclose(both.covariance, covariance, atol=1e-12)
    assert both.aucs[0] == pytest.approx(roc_auc_score(labels, a), abs=1e-12)


@settings(deadline=None, max_examples=80)
@given(pairs_of_scores, st.randoms(use_true_random=False))
def test_groups_agree_with_brute_force(rows: list[tuple[int, int, int]], random: object) -> None:
    scores, _, labels = np.array(rows).T
    groups = np.array([random.randrange(5) for _ in rows])  # type: ignore[attr-defined]
    found = variance_of(scores, labels, groups)
    if min(len(set(groups[labels == label])) for label in (0, 1)) < 2:
        assert np.isnan(found)
    else:
        assert found == pytest.approx(brute_force_groups(scores, labels, groups), abs=1e-12)


def test_groups_of_one_are_no_groups() -> None:
    names = np.array([f'p{i}' for i in range(BENEFIT.size)], dtype=object)
    names[::3] = None
    assert variance_of(KG, BENEFIT, names) == pytest.approx(variance_of(KG, BENEFIT), rel=1e-12)
    # Every patient twice: as groups, the information stays what it was.
    twice = np.repeat(KG, 2), np.repeat(BENEFIT, 2)
    grouped = variance_of(*twice, np.repeat(np.arange(BENEFIT.size), 2))
    assert grouped == pytest.approx(variance_of(KG, BENEFIT), rel=1e-12)
    assert variance_of(*twice) < 0.6 * grouped


@settings(deadline=None, max_examples=60)
@given(pairs_of_scores)
def test_symmetries(rows: list[tuple[int, int, int]]) -> None:
    a, b, labels = np.array(rows).T
    both, turned = delong_covariance([a, b], labels), delong_covariance([-a, -b], 1 - labels)
    assert both.p_value(1, 0) == pytest.approx(both.p_value(0, 1), abs=1e-9, nan_ok=True)
    assert turned.aucs == pytest.approx(both.aucs, abs=1e-12)
    assert turned.covariance == pytest.approx(both.covariance, abs=1e-12)
    risen = delong_covariance([np.exp(a), b**3 + 2 * b], labels)
    assert risen.aucs == pytest.approx(both.aucs, abs=1e-12)
    interval = both.interval(0)
    assert 0 <= interval.low <= interval.value == both.aucs[0] <= interval.high <= 1


def test_perfect_detectors_are_not_certain() -> None:
    labels = np.repeat([0, 1], 20)
    perfect = np.arange(40)
    both = delong_covariance([perfect, perfect**2, -perfect], labels)
    one = both.interval(0)
    assert (one.value, one.high, one.method) == (1.0, 1.0, 'newcombe')
    assert both.covariance[0, 0] == pytest.approx(0, abs=1e-20)
    assert one.low == pytest.approx(0.8987, abs=1e-4)
    assert both.p_value(0, 1) == 1.0
    # One perfect, one perfectly wrong: the test has no variance to work with, and says so.
    assert np.isnan(both.p_value(0, 2))
    assert both.contrast([-1, 0, 1])[0] == -1
    assert np.isnan(both.contrast([-1, 0, 1])[1:3]).all()


def test_one_sample_of_a_class_has_no_variance() -> None:
    both = delong_covariance([[0.1, 0.2, 0.3, 0.25], [0.3, 0.2, 0.1, 0.0]], [0, 0, 0, 1])
    assert np.isnan(both.covariance).all()
    assert both.interval(0).method == 'newcombe'
    assert np.isnan(both.p_value())


def test_level_and_size_of_the_test() -> None:
    generator = np.random.default_rng(11)
    labels = np.repeat([0, 1], [60, 60])
    runs, covered, rejected, sure = 400, 0, 0, 0
    for _ in range(runs):
        shared = generator.normal(size=120)
        a, b = shared + generator.normal(size=(2, 120)) + 1.0 * labels
        found = delong_covariance([a, b, b + 2 * labels], labels)
        covered += found.interval(0).low <= 0.6914625 <= found.interval(0).high
        rejected += found.p_value(0, 1) < 0.05
        sure += found.p_value(0, 2) < 0.05
    # AUC of shift 1 at variance 2 in each class: Phi(1 / 2). Five standard errors of the simulation.
    assert covered / runs == pytest.approx(0.95, abs=5 * (0.95 * 0.05 / runs) ** 0.5)
    assert rejected / runs == pytest.approx(0.05, abs=5 * (0.95 * 0.05 / runs) ** 0.5)
    assert sure / runs > 0.99


def test_bad_input_is_refused() -> None:
    for scores, labels, groups, message in (
        ([[0.1, 0.2], [0.1, 0.2, 0.3]], [0, 1], None, r'scores of shape \(3,\) and labels of shape \(2,\)'),
        ([0.1, 0.2], [0, 1], None, r'scores of shape \(\)'),
        ([], [0, 1], None, 'give one row per detector'),
        ([[0.1, 0.2]], [0, 1], ['a', 'b', 'c'], 'groups of 3 samples for 2 scores'),
        ([[0.1, float('nan')]], [0, 1], None, '1 of 2 scores are NaN'),
    ):
        with pytest.raises(InputError, match=message):
            delong_covariance(scores, labels, groups=groups)
    with pytest.raises(OneClassError, match="set 'x': all 2 samples are fake"):
        delong_covariance([[0.1, 0.2]], [1, 1], name="set 'x'")
