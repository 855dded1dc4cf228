# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from iid_mm.errors import InputError
from iid_mm.evaluation.functional.inputs import OneClassError
from iid_mm.evaluation.functional.roc import (
    area_under_roc,
    average_precision,
    brier,
    choose_threshold,
    log_loss,
    roc_curve,
    tpr_at_fpr,
)

# Few distinct values, so that ties are frequent; exact in floating point.
two_classes = st.lists(st.tuples(st.integers(-8, 8), st.integers(0, 1)), min_size=2, max_size=60).filter(
    lambda pairs: len({label for _, label in pairs}) == 2
)


def split(pairs: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    scores, labels = np.array(pairs).T
    return scores / 4, labels


@pytest.mark.parametrize(
    ('scores', 'labels', 'auc', 'eer'),
    [
        pytest.param([0.1, 0.2, 0.8, 0.9], [0, 0, 1, 1], 1.0, 0.0, id='separated'),
        pytest.param([0.9, 0.8, 0.2, 0.1], [0, 0, 1, 1], 0.0, 1.0, id='reversed'),
        pytest.param([0.5] * 5, [0, 0, 1, 1, 1], 0.5, 0.5, id='all tied'),
        # Pairs (fake, genuine): .35 > .1, .35 < .4, .8 > both: 3 of 4. The ROC
        # (0,0) (0,.5) (.5,.5) (.5,1) (1,1) crosses FNR = FPR at (.5, .5).
        pytest.param([0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1], 0.75, 0.5, id='one pair swapped'),
        # The middle fake ties with a genuine one: 3.5 of 4 pairs. ROC (0,0) (0,.5) (.5,1) (1,1); on
        # the slanted segment (x, .5 + x) is FNR = .5 - x = x at x = .25.
        pytest.param([0.1, 0.4, 0.4, 0.8], [0, 0, 1, 1], 0.875, 0.25, id='tie across classes'),
        # 3 genuine, 2 fakes. ROC (0,0) (0,1/2) (1/3,1/2) (1/3,1) (1,1): FNR falls from 1/2 to 0 at
        # FPR = 1/3, so the crossing is at 1/3, between two thresholds.
        pytest.param([0.1, 0.2, 0.6, 0.5, 0.9], [0, 0, 0, 1, 1], 5 / 6, 1 / 3, id='3 against 2'),
        # All but the top fake tie: ROC (0,0) (0,1/3) (1,1); FNR = 2/3 (1 - x) = x at x = 2/5.
        pytest.param([0.5, 0.5, 0.5, 0.5, 0.7], [0, 0, 1, 1, 1], 2 / 3, 0.4, id='long tie'),
    ],
)
def test_hand_worked_auc_and_eer(scores: list[float], labels: list[int], auc: float, eer: float) -> None:
    assert area_under_roc(scores, labels) == pytest.approx(auc, abs=1e-12)
    assert roc_curve(scores, labels).eer == pytest.approx(eer, abs=1e-12)


def test_hand_worked_average_precision() -> None:
    # Fakes stand at ranks 1 and 3: (1/1 + 2/3) / 2.
    assert average_precision([0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1]) == pytest.approx(5 / 6, abs=1e-12)


@settings(deadline=None, max_examples=60)
@given(two_classes)
def test_agrees_with_scikit_learn(pairs: list[tuple[int, int]]) -> None:
    scores, labels = split(pairs)
    assert area_under_roc(scores, labels) == pytest.approx(sk.roc_auc_score(labels, scores), abs=1e-12)
    assert average_precision(scores, labels) == sk.average_precision_score(labels, scores)


@settings(deadline=None, max_examples=60)
@given(two_classes)
def test_auc_does_not_change_under_rising_maps_and_turns_with_the_labels(
    pairs: list[tuple[int, int]],
) -> None:
    scores, labels = split(pairs)
    auc = area_under_roc(scores, labels)
    assert area_under_roc(scores**3 + 5 * scores - 7, labels) == auc
    assert area_under_roc(np.exp(scores), labels) == auc
    assert area_under_roc(scores, 1 - labels) == pytest.approx(1 - auc, abs=1e-12)
    assert area_under_roc(-scores, labels) == pytest.approx(1 - auc, abs=1e-12)


@settings(deadline=None, max_examples=60)
@given(two_classes)
def test_eer_lies_on_the_polyline(pairs: list[tuple[int, int]]) -> None:
    scores, labels = split(pairs)
    curve = roc_curve(scores, labels)
    # Oracle: FPR - FNR rises along the polyline, so FPR can be read off where it is 0.
    gap = curve.fpr + curve.tpr - 1
    crossing = np.interp(0.0, gap, curve.fpr)
    assert curve.eer == pytest.approx(crossing, abs=1e-12)
    assert 0 <= curve.eer <= 1
    assert roc_curve(-scores, labels).eer == pytest.approx(1 - curve.eer, abs=1e-12)


@pytest.mark.parametrize('metric', [area_under_roc, roc_curve, average_precision])
@pytest.mark.parametrize(('label', 'present', 'absent'), [(1, 'fake', 'genuine'), (0, 'genuine', 'fake')])
def test_one_class_is_refused(metric: object, label: int, present: str, absent: str) -> None:
    with pytest.raises(OneClassError, match=f"set 'x': all 3 samples are {present}.*add {absent}"):
        metric([0.1, 0.2, 0.3], [label] * 3, name="set 'x'")  # type: ignore[operator]


def tpr_at_one_percent(scores: list[float], labels: list[int]) -> float:
    return tpr_at_fpr(scores, labels, 0.01)


@pytest.mark.parametrize(
    ('scores', 'labels', 'message'),
    [
        ([], [], 'is empty'),
        ([0.1, float('nan'), float('inf'), -float('inf')], [0, 1, 1, 0], '3 of 4 scores are NaN'),
        ([0.1, 0.2], [0, 2], r'labels \[2\] are unknown'),
        ([0.1, 0.2], [0, 1, 1], r'shape \(2,\) and labels of shape \(3,\)'),
        ([[0.1, 0.2]], [[0, 1]], r'both of shape \(N,\)'),
    ],
)
def test_bad_input_is_refused(scores: list[float], labels: list[int], message: str) -> None:
    for metric in (area_under_roc, average_precision, tpr_at_one_percent, choose_threshold, log_loss, brier):
        with pytest.raises(InputError, match=message):
            metric(scores, labels)


def brute_force_tpr(scores: np.ndarray, labels: np.ndarray, fpr: float) -> float:
    """Highest TPR of all thresholds with FPR <= fpr, by trying them all."""
    best = 0.0
    for threshold in np.unique(scores):
        called = scores >= threshold
        if np.mean(called[labels == 0]) <= fpr + 1e-12:
            best = max(best, float(np.mean(called[labels == 1])))
    return best


@settings(deadline=None, max_examples=100)
@given(two_classes, st.sampled_from([0.01, 0.1, 0.2, 0.25, 1 / 3, 0.5, 0.9, 1.0]))
def test_tpr_at_fpr_is_the_best_of_all_thresholds(pairs: list[tuple[int, int]], fpr: float) -> None:
    scores, labels = split(pairs)
    rate = tpr_at_fpr(scores, labels, fpr)
    if np.count_nonzero(labels == 0) * fpr >= 1 - 1e-9:
        assert rate == pytest.approx(brute_force_tpr(scores, labels, fpr), abs=1e-12)
        # scikit-learn's points, without those that it drops because they lie on a line.
        false, true, _ = sk.roc_curve(labels, scores, drop_intermediate=False)
        assert rate == pytest.approx(max(true[false <= fpr + 1e-12]), abs=1e-12)
    else:
        assert np.isnan(rate)
    assert tpr_at_fpr(scores**3, labels, fpr) == pytest.approx(rate, nan_ok=True), (
        'rising maps change nothing'
    )


def test_tpr_at_fpr_by_hand() -> None:
    genuine = np.arange(10) / 10  # .0 to .9
    fakes = np.array([0.95, 0.9, 0.85, 0.8, 0.75])
    scores, labels = np.concatenate([genuine, fakes]), np.repeat([0, 1], [10, 5])
    # One false positive (.9) is allowed: the threshold .85 also finds .95, .9 and .85.
    assert tpr_at_fpr(scores, labels, 0.1) == 0.6
    assert tpr_at_fpr(scores, labels, 0.19) == 0.6
    assert tpr_at_fpr(scores, labels, 0.2) == 1.0
    # Ten genuine samples cannot show a rate of 1 %.
    assert np.isnan(tpr_at_fpr(scores, labels, 0.01))
    # Two genuine samples tie at the top: one alone cannot be called fake, so only .95 is found.
    assert tpr_at_fpr(np.where(genuine == 0.8, 0.9, genuine).tolist() + fakes.tolist(), labels, 0.1) == 0.2
    for bad in (-0.1, 0.0, 1.5, float('nan')):
        with pytest.raises(InputError, match='give a rate above 0 and up to 1'):
            tpr_at_fpr(scores, labels, bad)


def test_rounding_does_not_take_a_false_positive_away() -> None:
    assert 0.29 * 100 < 29
    for hundredths in range(1, 101):
        scores = [*np.where(np.arange(100) < hundredths, 0.9, 0.1), 0.5]
        assert tpr_at_fpr(scores, [0] * 100 + [1], hundredths / 100) == 1.0


@settings(deadline=None, max_examples=100)
@given(two_classes)
def test_the_chosen_threshold_has_equal_errors(pairs: list[tuple[int, int]]) -> None:
    scores, labels = split(pairs)
    threshold = choose_threshold(scores, labels)
    assert scores.min() <= threshold <= scores.max()

    def cost(value: float) -> tuple[float, float]:
        called = scores >= value
        false, missed = np.mean(called[labels == 0]), np.mean(~called[labels == 1])
        return round(abs(false - missed), 9), round(false + missed, 9)

    costs = {value: cost(value) for value in np.unique(scores)}
    assert cost(threshold) == min(costs.values())
    lowest = scores[scores >= threshold].min()
    assert all(other > cost(threshold) for value, other in costs.items() if value > lowest)


def test_thresholds_by_hand() -> None:
    assert choose_threshold([0.1, 0.2, 0.8, 0.9], [0, 0, 1, 1]) == 0.5, 'the middle of the gap'
    # 3 genuine (.1 .2 .6), 2 fakes (.5 .9). |FPR - FNR| at .75, .55 and .35: 1/2, 1/6, 1/3.
    assert choose_threshold([0.1, 0.2, 0.6, 0.5, 0.9], [0, 0, 0, 1, 1]) == pytest.approx(0.55)
    assert choose_threshold([0.5] * 4, [0, 1, 0, 1]) == 0.5
    next_up = float(np.nextafter(0.5, 1))
    assert choose_threshold([0.5, next_up], [0, 1]) == next_up, 'between neighboring floats lies none'


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 64), st.integers(0, 1)), min_size=1, max_size=40))
def test_log_loss_and_brier_are_their_definitions(pairs: list[tuple[int, int]]) -> None:
    scores, labels = np.array(pairs).T / np.array([[64], [1]])
    clipped = np.clip(scores, 1e-7, 1 - 1e-7)
    losses = -np.where(labels == 1, np.log(clipped), np.log1p(-clipped))
    assert log_loss(scores, labels) == pytest.approx(losses.mean(), rel=1e-12)
    assert brier(scores, labels) == pytest.approx(np.mean((scores - labels) ** 2), rel=1e-12)


def test_log_loss_by_hand() -> None:
    assert log_loss([0.5, 0.5], [0, 1]) == pytest.approx(np.log(2), abs=1e-15)
    assert log_loss([0.0], [1]) == pytest.approx(7 * np.log(10)), 'a certain error is limited'
    assert log_loss([1.0], [0]) == pytest.approx(7 * np.log(10))
    assert brier([1.0, 0.25], [0, 1]) == pytest.approx((1 + 0.5625) / 2)
    for metric in (log_loss, brier):
        with pytest.raises(InputError, match='needs probabilities, 1 of 2 scores lie outside'):
            metric([0.5, 1.5], [0, 1])
