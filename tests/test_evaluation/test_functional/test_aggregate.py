# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math
import statistics

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iid_mm.errors import InputError
from iid_mm.evaluation.functional.aggregate import AGGREGATIONS, video_scores
from iid_mm.evaluation.functional.inputs import factorize
from iid_mm.evaluation.functional.roc import area_under_roc

SCORES = [0.5, 0.25, 1.0, 0.75, 0.0, 0.25]
LABELS = [1, 0, 1, 1, 0, 0]
KEYS = ['v/b', 'v/a', 'v/b', 'v/b', 'v/c', 'v/a']


def logit_mean(values: list[float]) -> float:
    clipped = [min(max(value, 1e-6), 1 - 1e-6) for value in values]
    mean = statistics.fmean(math.log(value / (1 - value)) for value in clipped)
    return 1 / (1 + math.exp(-mean))


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
    oracle = {
        'mean': statistics.fmean,
        'median': statistics.median,
        'max': max,
        'topk': lambda values: statistics.fmean(sorted(values)[-3:]),
        'logit_mean': logit_mean,
    }[how]
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


def test_top_k_takes_all_frames_where_there_are_fewer() -> None:
    scores = [0.9, 0.1, 0.5, 0.7, 0.2, 0.4]
    keys = ['a', 'a', 'a', 'a', 'b', 'c']
    for k, expected in ((1, 0.9), (2, 0.8), (3, 0.7), (9, 0.55)):
        videos = video_scores(scores, [1, 1, 1, 1, 0, 0], keys, 'topk', k=k)
        assert videos.scores.tolist() == pytest.approx([expected, 0.2, 0.4], abs=1e-15)
    with pytest.raises(InputError, match='k=0: the mean of the k highest scores needs k >= 1'):
        video_scores(scores, [1, 1, 1, 1, 0, 0], keys, 'topk', k=0)


def test_logit_mean_is_symmetric_and_clipped() -> None:
    # Odds 9 and 1/9 cancel; odds 9 and 1 have the geometric mean 3.
    videos = video_scores([0.9, 0.1, 0.9, 0.5], [0, 0, 1, 1], ['a', 'a', 'b', 'b'], 'logit_mean')
    assert videos.scores.tolist() == pytest.approx([0.5, 0.75], abs=1e-12)
    # A frame at exactly 1 weighs as much as one at exactly 0, however far single precision goes.
    videos = video_scores([1.0, 1e-30, 0.5], [1, 1, 1], ['a'] * 3, 'logit_mean')
    assert videos.scores[0] == pytest.approx(0.5, abs=1e-9)
    with pytest.raises(InputError, match=r"how='logit_mean' needs probabilities, 1 of 2 .* the first is 2"):
        video_scores([2.0, 0.5], [1, 1], ['a', 'a'], 'logit_mean')


@pytest.mark.parametrize('how', AGGREGATIONS)
def test_neither_the_order_of_frames_nor_the_form_of_keys_matters(how: str) -> None:
    generator = np.random.default_rng(5)
    number = np.repeat(np.arange(50), generator.integers(1, 9, 50))
    scores, labels = generator.random(number.size), number % 3 > 0
    keys = np.array([f'x/{value:03d}' for value in number], dtype=object)
    expected = video_scores(scores, labels, keys, how)
    mixed = generator.permutation(number.size)
    for form in (
        keys[mixed],
        number[mixed],
        factorize(keys[mixed]),
        keys[mixed].astype(str),
        list(keys[mixed]),
    ):
        videos = video_scores(scores[mixed], labels[mixed], form, how)
        np.testing.assert_allclose(videos.scores, expected.scores, atol=1e-15)
        assert videos.labels.tolist() == expected.labels.tolist()
        assert videos.frames.tolist() == expected.frames.tolist()
        assert np.asarray(form)[videos.first].tolist() == videos.keys.tolist()
