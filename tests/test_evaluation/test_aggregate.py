# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import statistics

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iid_mm.errors import InputError
from iid_mm.evaluation.functional import AGGREGATIONS, area_under_roc, video_scores

SCORES = [0.5, 0.25, 1.0, 0.75, 0.0, 0.25]
LABELS = [1, 0, 1, 1, 0, 0]
KEYS = ['v/b', 'v/a', 'v/b', 'v/b', 'v/c', 'v/a']


@pytest.mark.parametrize(
    ('how', 'expected'),
    [('mean', [0.25, 0.75, 0.0]), ('median', [0.25, 0.75, 0.0]), ('max', [0.25, 1.0, 0.0])],
)
def test_hand_worked(how: str, expected: list[float]) -> None:
    videos = video_scores(SCORES, LABELS, KEYS, how)
    assert videos.keys.tolist() == ['v/a', 'v/b', 'v/c']
    assert videos.scores.tolist() == expected
    assert videos.labels.tolist() == [0, 1, 0]
    assert videos.frames.tolist() == [2, 3, 1]
    assert videos.first.tolist() == [1, 0, 4]


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 64)), min_size=1, max_size=40),
    st.sampled_from(AGGREGATIONS),
)
def test_agrees_with_a_loop(rows: list[tuple[int, int]], how: str) -> None:
    keys = [f'video{video}' for video, _ in rows]
    scores = [score / 64 for _, score in rows]
    videos = video_scores(scores, [video % 2 for video, _ in rows], keys, how)
    oracle = {'mean': statistics.fmean, 'median': statistics.median, 'max': max}[how]
    for key, score in zip(videos.keys, videos.scores, strict=True):
        of_video = [score for score, name in zip(scores, keys, strict=True) if name == key]
        assert score == pytest.approx(oracle(of_video), abs=1e-12)


@settings(deadline=None, max_examples=30)
@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 1)), min_size=2, max_size=30).filter(
        lambda rows: len({label for _, label in rows}) == 2
    )
)
def test_videos_of_one_frame_have_the_auc_of_frames(rows: list[tuple[int, int]]) -> None:
    scores, labels = np.array(rows).T / 1.0
    videos = video_scores(scores, labels, [f'v{i}' for i in range(len(rows))])
    assert area_under_roc(videos.scores, videos.labels) == area_under_roc(scores, labels)


def test_a_video_with_two_labels_is_refused() -> None:
    with pytest.raises(InputError, match=r"1 video keys have genuine and fake frames.*'ffpp/000_003'"):
        video_scores([0.1, 0.2, 0.3], [0, 1, 0], ['ffpp/000_003', 'ffpp/000_003', 'ffpp/000'])


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(InputError, match="how='sum' is unknown; choose one of mean, median, max"):
        video_scores([0.1], [0], ['a'], 'sum')
    with pytest.raises(InputError, match=r'video_keys of shape \(1,\) for 2 scores'):
        video_scores([0.1, 0.2], [0, 1], ['a'])
