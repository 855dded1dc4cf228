# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from evaluation_benchmark import generate_scores, measure_evaluation
from iid_mm.errors import InputError
from iid_mm.evaluation.functional.per_method import per_method, scored_set


def test_generated_scores_are_a_whole_test() -> None:
    scores = generate_scores(1234, 100, seed=3)
    assert len(scores) == 1234
    assert scores.coded('video_key').names.size == 100
    keys = [key.split('/') for key in scores.video_key]
    assert [parts[0] for parts in keys] == scores.dataset.tolist()
    assert [parts[1] for parts in keys] == scores.method.tolist()
    assert ((scores.method == 'genuine') == (scores.label == 0)).all()
    assert scores.score.min() > 0
    assert scores.score.max() < 1
    names = (scores.video_key, scores.method, scores.dataset)
    rows = per_method(scored_set(scores.score, scores.label, *names))
    assert [row.subset.name for row in rows[:5]] == ['first/A', 'first/B', 'first/C', 'first/D', 'first']
    assert len(rows) == 11
    assert 0.6 < rows[-1].video_auc < 1
    assert np.array_equal(generate_scores(1234, 100, seed=3).score, scores.score)
    with pytest.raises(InputError, match='give at least 10 videos, and a frame for each'):
        generate_scores(5, 20)


def test_metrics_of_a_small_run() -> None:
    found = measure_evaluation(frames=2000, videos=400, resamples=20)
    assert found['rows'] == 11
    assert set(found['seconds']) == set(found['cpu_seconds'])
    steps = ('read', 'names to codes', 'aggregate (mean)', 'metrics of all rows', 'bootstrap of all rows')
    assert found['total_seconds'] == pytest.approx(sum(found['seconds'][step] for step in steps))
    assert found['peak_mib'] >= found['start_mib'] > 0
