# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iid_mm.evaluation.functional.roc import (
    area_under_roc,
    average_precision,
    roc_curve,
)
from iid_mm.evaluation.functional.weighted import WeightedMetrics, set_metrics

samples = st.lists(
    st.tuples(st.integers(0, 8), st.integers(0, 1), st.integers(0, 3)), min_size=2, max_size=25
).filter(lambda rows: len({label for _, label, weight in rows if weight}) == 2)
two_classes = st.lists(st.tuples(st.integers(-8, 8), st.integers(0, 1)), min_size=2, max_size=60).filter(
    lambda pairs: len({label for _, label in pairs}) == 2
)


@settings(deadline=None, max_examples=100)
@given(samples)
def test_a_weight_is_a_repetition(rows: list[tuple[int, int, int]]) -> None:
    scores, labels, weights = np.array(rows).T
    scores = scores / 8
    if len(set(labels)) < 2:
        return
    repeated = np.repeat(scores, weights), np.repeat(labels, weights)
    statistic = WeightedMetrics(scores, labels, ('eer', 'auc', 'ap'))
    found = {name: value[1] for name, value in statistic(np.stack([weights, weights]) * 1.0).items()}
    expected = {
        'eer': roc_curve(*repeated).eer,
        'auc': area_under_roc(*repeated),
        'ap': average_precision(*repeated),
    }
    assert list(found) == list(expected)
    assert found == pytest.approx(expected, abs=1e-12)


@settings(deadline=None, max_examples=60)
@given(two_classes, st.sampled_from([0.0, 8.0]))
def test_metrics_from_one_sort_are_the_same(pairs: list[tuple[int, int]], shift: float) -> None:
    scores, labels = np.array(pairs).T
    scores = scores / 16 + shift  # with and without negative scores
    found = set_metrics(scores, labels.astype(np.int64))
    assert found['auc'] == pytest.approx(area_under_roc(scores, labels), abs=1e-12)
    assert found['eer'] == pytest.approx(roc_curve(scores, labels).eer, abs=1e-12)
    assert found['ap'] == pytest.approx(average_precision(scores, labels), abs=1e-12)


def test_negative_zero_ties_with_zero() -> None:
    assert set_metrics(np.array([-0.0, 0.0, 0.0, -0.0]), np.array([0, 0, 1, 1]))['auc'] == 0.5
