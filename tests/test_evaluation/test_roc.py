# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from iid_mm.errors import InputError
from iid_mm.evaluation.functional import (
    OneClassError,
    accuracy,
    area_under_roc,
    average_precision,
    equal_error_rate,
    roc_curve,
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
    assert equal_error_rate(scores, labels) == pytest.approx(eer, abs=1e-12)


def test_hand_worked_average_precision_and_accuracy() -> None:
    scores, labels = [0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1]
    # Fakes stand at ranks 1 and 3: (1/1 + 2/3) / 2.
    assert average_precision(scores, labels) == pytest.approx(5 / 6, abs=1e-12)
    assert accuracy(scores, labels) == 0.75
    assert accuracy(scores, labels, 0.35) == 0.75
    assert accuracy(scores, labels, 0.9) == 0.5
    assert accuracy([0.5], [1]) == 1.0, 'a score at the threshold is fake'


@settings(deadline=None, max_examples=60)
@given(two_classes)
def test_agrees_with_scikit_learn(pairs: list[tuple[int, int]]) -> None:
    scores, labels = split(pairs)
    assert area_under_roc(scores, labels) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
    assert average_precision(scores, labels) == pytest.approx(
        average_precision_score(labels, scores), abs=1e-12
    )


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
    assert equal_error_rate(-scores, labels) == pytest.approx(1 - curve.eer, abs=1e-12)


@pytest.mark.parametrize('figure', [area_under_roc, equal_error_rate, average_precision])
@pytest.mark.parametrize(('label', 'present', 'absent'), [(1, 'fake', 'genuine'), (0, 'genuine', 'fake')])
def test_one_class_is_refused(figure: object, label: int, present: str, absent: str) -> None:
    with pytest.raises(OneClassError, match=f"set 'x': all 3 samples are {present}.*add {absent}"):
        figure([0.1, 0.2, 0.3], [label] * 3, name="set 'x'")  # type: ignore[operator]


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
    for figure in (area_under_roc, equal_error_rate, average_precision, accuracy):
        with pytest.raises(InputError, match=message):
            figure(scores, labels)
