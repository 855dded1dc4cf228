# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pickle
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iid_mm.datasets.balanced_sampler import BalancedSampler, RepeatedIndex
from iid_mm.datasets.forgery_dataset import ForgeryDataset
from iid_mm.errors import InputError


class Listed:
    """A dataset of nothing but facts."""

    def __init__(self, rows: list[tuple[int, str, str]]) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def get_data_info(self, index: int) -> dict[str, Any]:
        label, method, video = self.rows[index]
        return dict(gt_label=label, method=method, video_key=video, dataset='d', target_id=video)


# 2 genuine videos of 1 and 3 frames; A with 1 video of 8 frames, B with 2 videos of 2 frames.
ROWS = (
    [(0, 'real', 'r0')]
    + [(0, 'real', 'r1')] * 3
    + [(1, 'A', 'a0')] * 8
    + [(1, 'B', 'b0')] * 2
    + [(1, 'B', 'b1')] * 2
)


def counts(sampler: BalancedSampler, column: int) -> Counter[Any]:
    return Counter(ROWS[index][column] for index in sampler)


def test_equal_shares_level_by_level() -> None:
    sampler = BalancedSampler(Listed(ROWS), by=['label', 'method', 'video'], seed=1)
    assert len(sampler) == len(ROWS) == 16
    assert counts(sampler, 0) == {0: 8, 1: 8}
    assert counts(sampler, 1) == {'real': 8, 'A': 4, 'B': 4}
    assert counts(sampler, 2) == {'r0': 4, 'r1': 4, 'a0': 4, 'b0': 2, 'b1': 2}
    # All were drawn before one is drawn again.
    taken = Counter(int(index) for index in sampler)
    assert taken[0] == 4
    assert sorted(taken[index] for index in (1, 2, 3)) == [1, 1, 2]
    assert all(taken[index] == 1 for index in range(12, 16))


def test_videos_only() -> None:
    sampler = BalancedSampler(Listed(ROWS), by='video', size=10, seed=0)
    assert counts(sampler, 2) == dict.fromkeys(('r0', 'r1', 'a0', 'b0', 'b1'), 2)


def test_odd_shares_take_turns() -> None:
    sampler = BalancedSampler(Listed(ROWS), by='label', size=5, seed=0)
    seen = []
    for epoch in range(40):
        sampler.set_epoch(epoch)
        seen.append(counts(sampler, 0)[0])
    assert set(seen) == {2, 3}
    assert 10 < seen.count(2) < 30


def test_order_depends_on_seed_and_epoch_and_skips() -> None:
    first, second = (BalancedSampler(Listed(ROWS), seed=5) for _ in range(2))
    whole = list(first)
    assert whole == list(second)
    second.skip(6)
    assert list(second) == whole[6:]
    first.set_epoch(1)
    assert list(first) != whole


@pytest.mark.parametrize(('drop_last', 'share'), [(False, 4), (True, 3)])
def test_processes_share_an_epoch(monkeypatch: pytest.MonkeyPatch, drop_last: bool, share: int) -> None:
    whole = list(BalancedSampler(Listed(ROWS), size=7, seed=5))
    parts = []
    for rank in range(2):
        monkeypatch.setattr('mmengine.dataset.sampler.get_dist_info', lambda rank=rank: (rank, 2))
        sampler = BalancedSampler(Listed(ROWS), size=7, seed=5, drop_last=drop_last)
        parts.append(list(sampler))
        assert len(sampler) == share
    assert [len(part) for part in parts] == [share, share]
    dealt = [index for pair in zip(*parts, strict=True) for index in pair]
    assert dealt == (whole[:6] if drop_last else [*whole, whole[0]])


def test_repeats_are_counted_and_travel_to_workers() -> None:
    sampler = BalancedSampler(Listed(ROWS), by='label', size=24, seed=5)
    genuine = [index for index in sampler if index == 0]
    assert [getattr(index, 'repeat', 0) for index in genuine] == [0, 1, 2]
    sent = pickle.loads(pickle.dumps(genuine[2]))
    assert isinstance(sent, RepeatedIndex)
    assert (int(sent), sent.repeat) == (0, 2)


def test_a_repeated_sample_is_augmented_anew(tiny_prepared: Path, iid_scope: None) -> None:
    pipeline = [
        dict(type='LoadForgeryPair', with_source=False),
        dict(type='AlignFace', size=(64, 64), jitter=dict()),
        dict(type='PackForgeryInputs'),
    ]
    dataset = ForgeryDataset(tiny_prepared / 'index.parquet', seed=0, pipeline=pipeline)
    first, same, again = (dataset[index]['inputs'] for index in (3, RepeatedIndex(3, 0), RepeatedIndex(3, 1)))
    assert np.array_equal(first, same)
    # NumPy's integers have a method of that name.
    assert np.array_equal(first, dataset[np.int64(3)]['inputs'])
    assert not np.array_equal(first, again)
    assert np.array_equal(again, dataset[RepeatedIndex(3, 1)]['inputs'])


@settings(max_examples=50, deadline=None)
@given(
    frames=st.lists(st.integers(1, 9), min_size=2, max_size=6),
    size=st.integers(1, 60),
    seed=st.integers(0, 5),
)
def test_shares_differ_by_one_at_most(frames: list[int], size: int, seed: int) -> None:
    rows = [(0, 'm', str(video)) for video, count in enumerate(frames) for _ in range(count)]
    drawn = list(BalancedSampler(Listed(rows), by='video', size=size, seed=seed))
    assert len(drawn) == size
    shares = Counter(rows[index][2] for index in drawn)
    values = [shares[str(video)] for video in range(len(frames))]
    assert max(values) - min(values) <= 1
    for video, count in enumerate(frames):
        times = Counter(int(i) for i in drawn if rows[i][2] == str(video))
        each = [times[i] for i, row in enumerate(rows) if row[2] == str(video)]
        assert len(each) == count
        assert max(each) - min(each) <= 1


@pytest.mark.parametrize(
    ('options', 'rows', 'text'),
    [
        (dict(by=['class']), ROWS, "by=\\['class'\\]: name one or more of label, dataset"),
        (dict(by=['label', 'label']), ROWS, 'each once'),
        (dict(by=[]), ROWS, 'name one or more'),
        (dict(size=0), ROWS, 'size=0: must be at least 1'),
        (dict(), [], 'training set is empty'),
        (dict(), ROWS[:4], 'no fake sample among its 4'),
        (dict(), ROWS[4:], 'no genuine sample among its 12; check split'),
    ],
)
def test_bad_input(options: dict[str, Any], rows: list[tuple[int, str, str]], text: str) -> None:
    with pytest.raises(InputError, match=text):
        BalancedSampler(Listed(rows), **options)


def test_more_processes_than_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = []
    for rank in range(8):
        monkeypatch.setattr('mmengine.dataset.sampler.get_dist_info', lambda rank=rank: (rank, 8))
        parts.append(list(BalancedSampler(Listed(ROWS), size=3, seed=5, drop_last=False)))
    assert [len(part) for part in parts] == [1] * 8
    monkeypatch.setattr('mmengine.dataset.sampler.get_dist_info', lambda: (0, 8))
    with pytest.raises(InputError, match=r'drop_last=True: 3 sample\(s\) are too few for 8 processes'):
        BalancedSampler(Listed(ROWS), size=3, seed=5)


def test_wrapped_data_sets_keep_the_repeat() -> None:
    index = RepeatedIndex(13, 2)
    for found, number in ((index % 10, 3), (index - 5, 8)):
        assert isinstance(found, RepeatedIndex)
        assert (int(found), found.repeat) == (number, 2)
