# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iid_mm.evaluation.functional.roc import (
    area_under_roc,
    average_precision,
    brier,
    log_loss,
    roc_curve,
    tpr_at_fpr,
)
from iid_mm.evaluation.functional.weighted import METRIC_NAMES, WeightedMetrics, set_metrics

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
    names = (*METRIC_NAMES, 'tpr@0.1', 'tpr@0.5')
    statistic = WeightedMetrics(scores, labels, names, threshold=0.4)
    found = {name: value[1] for name, value in statistic(np.stack([weights, weights]) * 1.0).items()}
    expected = {
        'auc': area_under_roc(*repeated),
        'eer': roc_curve(*repeated).eer,
        'ap': average_precision(*repeated),
        'accuracy': np.mean((repeated[0] >= 0.4) == repeated[1]),
        'log_loss': log_loss(*repeated),
        'brier': brier(*repeated),
    }
    for name, limit in (('tpr@0.1', 0.1), ('tpr@0.5', 0.5)):
        # Whether the rate can be measured is a matter of the set, not of the resample.
        if np.count_nonzero(labels == 0) * limit < 1 - 1e-9:
            expected[name] = float('nan')
        elif np.count_nonzero(repeated[1] == 0) * limit >= 1 - 1e-9:
            expected[name] = tpr_at_fpr(*repeated, limit)
        else:
            # No false positive is allowed: fakes above all genuine samples.
            genuine, fakes = (repeated[0][repeated[1] == label] for label in (0, 1))
            expected[name] = np.mean(fakes > genuine.max())
    assert list(found) == list(names)
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, abs=1e-12, nan_ok=True), name


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
