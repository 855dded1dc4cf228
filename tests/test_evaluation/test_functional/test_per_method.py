# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from iid_mm.errors import InputError
from iid_mm.evaluation.functional.inputs import OneClassError, factorize
from iid_mm.evaluation.functional.per_method import flat_metrics, format_table, per_method, scored_set

# One frame a video. Genuine .2 and .6; method A .1 and .7, method B .9.
SCORES = [0.2, 0.6, 0.1, 0.7, 0.9]
LABELS = [0, 0, 1, 1, 1]
KEYS = ['g/0', 'g/1', 'A/0', 'A/1', 'B/0']
METHODS = ['youtube', 'youtube', 'A', 'A', 'B']


def test_every_manipulation_meets_all_genuine_videos() -> None:
    rows = per_method(scored_set(SCORES, LABELS, KEYS, METHODS))
    assert [row.subset.name for row in rows] == ['A', 'B', 'overall']
    # A: .1 beats none, .7 beats both of 2: 2/4. B beats both: 1. All: 4 of 6 pairs.
    assert [row.video_auc for row in rows] == pytest.approx([0.5, 1.0, 4 / 6], abs=1e-12)
    # At 0.5: .2 right, .6 wrong; .1 wrong, .7 right; .9 right.
    assert [row.video_acc for row in rows] == pytest.approx([2 / 4, 2 / 3, 3 / 5], abs=1e-12)
    assert [(row.num_videos, row.num_fake_videos) for row in rows] == [(4, 2), (3, 1), (5, 3)]


def test_datasets_do_not_share_their_genuine_videos() -> None:
    rows = per_method(
        scored_set(
            [0.1, 0.9, 0.5, 0.4],
            [0, 1, 0, 1],
            ['x/g', 'x/f', 'y/g', 'y/f'],
            ['real', 'A', 'real', 'A'],
            ['x', 'x', 'y', 'y'],
        )
    )
    metrics = flat_metrics(rows)
    assert [row.subset.name for row in rows] == ['x/A', 'x', 'y/A', 'y', 'overall']
    assert metrics['video_auc/x/A'] == 1.0
    assert metrics['video_auc/y/A'] == 0.0
    # Pooled: .9 beats .1 and .5, .4 beats .1.
    assert metrics['video_auc'] == 0.75


def test_a_dataset_without_genuine_videos_is_named() -> None:
    with pytest.raises(OneClassError, match="manipulation 'A' of set 'y': all 1 frames are fake"):
        per_method(
            scored_set(
                [0.1, 0.9, 0.4],
                [0, 1, 1],
                ['x/g', 'x/f', 'y/f'],
                ['real', 'A', 'A'],
                ['x', 'x', 'y'],
            )
        )


def test_equal_names_under_four_manipulations_stay_four_videos() -> None:
    manipulations = ['Deepfakes', 'Face2Face', 'FaceSwap', 'NeuralTextures']
    methods = np.repeat([*manipulations, 'youtube'], 4)
    videos = ['000_003'] * 16 + ['000'] * 4
    keys = [f'ffpp/{method}/c23/{video}' for method, video in zip(methods, videos, strict=True)]
    labels = (methods != 'youtube').astype(int)
    rows = per_method(scored_set(np.linspace(1, 0, 20), labels, keys, methods))
    assert rows[-1].num_videos == 5
    assert rows[-1].num_fake_videos == 4
    assert [row.num_videos for row in rows[:-1]] == [2, 2, 2, 2]


def test_frame_and_video_metrics_agree_with_scikit_learn() -> None:
    generator = np.random.default_rng(3)
    video = np.repeat(np.arange(40), generator.integers(1, 9, 40))
    labels = (video % 4 > 0).astype(int)
    scores = generator.normal(size=video.size) + labels
    methods = np.array(['g', 'A', 'B', 'C'])[video % 4]
    keys = [f'{method}/{number}' for method, number in zip(methods, video, strict=True)]
    metrics = flat_metrics(per_method(scored_set(scores, labels, keys, methods)))
    means = np.array([scores[video == number].mean() for number in range(40)])
    truth = np.arange(40) % 4
    assert metrics['frame_auc'] == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
    assert metrics['video_auc'] == pytest.approx(roc_auc_score(truth > 0, means), abs=1e-12)
    chosen = np.isin(truth, (0, 2))
    assert metrics['video_auc/B'] == pytest.approx(roc_auc_score(truth[chosen] > 0, means[chosen]), abs=1e-12)


def test_the_table_is_in_percent_with_two_decimals() -> None:
    table = format_table(per_method(scored_set(SCORES, LABELS, KEYS, METHODS)))
    lines = table.splitlines()
    assert [cell.strip() for cell in lines[0].strip('|').split('|')] == [
        *('fakes', 'frame AUC', 'video AUC', 'video EER', 'video AP'),
        *('frame acc', 'video acc', 'videos (fake)'),
    ]
    cells = [[cell.strip() for cell in line.strip('|').split('|')] for line in lines[2:]]
    assert [row[0] for row in cells] == ['A', 'B', 'overall']
    assert cells[2][2] == '66.67'
    assert cells[0][7] == '4 (2)'
    assert len({len(line) for line in lines}) == 1


def test_top_k_and_what_else_is_known_of_a_video() -> None:
    scored = scored_set(
        [0.9, 0.1, 0.2, 0.6],
        [1, 1, 0, 0],
        ['v/b', 'v/b', 'v/a', 'v/a'],
        ['A', 'A', 'g', 'g'],
        how='topk',
        k=1,
    )
    assert scored.keys.tolist() == ['v/a', 'v/b']
    assert scored.first.tolist() == [2, 0]
    assert scored.videos.scores.tolist() == [0.6, 0.9]
    assert scored.videos.datasets.tolist() == ['test', 'test']
    assert scored.videos.methods.tolist() == ['g', 'A']
    assert scored.videos.mask(scored.subsets[0]).tolist() == [True, True]
    assert scored.frames.select(scored.subsets[0])[0].tolist() == [0.9, 0.1, 0.2, 0.6]


def test_names_may_be_codes() -> None:
    plain = scored_set(SCORES, LABELS, KEYS, METHODS, ['x'] * 5)
    coded = scored_set(SCORES, LABELS, *(factorize(names) for names in (KEYS, METHODS, ['x'] * 5)))
    assert per_method(coded) == per_method(plain)
    with pytest.raises(InputError, match=r'methods of shape \(2,\) for 5 scores'):
        scored_set(SCORES, LABELS, KEYS, ['A', 'B'])
