# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from itertools import chain

import pytest
from torch.utils.data import DataLoader

from iid_mm.datasets.resumable_sampler import ResumableSampler


@pytest.mark.parametrize('shuffle', [False, True])
def test_a_skipped_pass_is_the_rest_of_the_whole_one(shuffle: bool) -> None:
    sampler = ResumableSampler(list(range(10)), shuffle=shuffle, seed=3)
    whole = list(sampler)
    assert sorted(whole) == list(range(10))
    sampler.skip(4)
    assert list(sampler) == whole[4:]
    # The pass after it is whole again.
    assert list(sampler) == whole
    assert len(sampler) == 10


def test_order_depends_on_seed_and_epoch_only() -> None:
    first, second = (ResumableSampler(list(range(20)), seed=3) for _ in range(2))
    assert list(first) == list(second)
    first.set_epoch(1)
    assert list(first) != list(second)
    second.skip(5)
    second.set_epoch(1)
    assert list(second) == list(first)[5:]


def test_skipping_everything() -> None:
    sampler = ResumableSampler(list(range(4)), shuffle=False)
    sampler.skip(4)
    assert list(sampler) == []


@pytest.mark.parametrize(('world_size', 'batch_size'), [(1, 4), (2, 2), (4, 1)])
def test_batches_depend_on_the_total_batch_size_only(
    monkeypatch: pytest.MonkeyPatch, world_size: int, batch_size: int
) -> None:
    whole = list(ResumableSampler(list(range(27)), seed=3))
    parts = []
    for rank in range(world_size):
        monkeypatch.setattr('mmengine.dataset.sampler.get_dist_info', lambda rank=rank: (rank, world_size))
        sampler = ResumableSampler(list(range(27)), seed=3)
        loader = DataLoader(list(range(27)), batch_size=batch_size, sampler=sampler, drop_last=True)
        parts.append([batch.tolist() for batch in loader])
    # 27 samples make six batches of four; rounded up, two processes would make seven.
    assert [len(part) for part in parts] == [6] * world_size
    assert [sorted(chain.from_iterable(step)) for step in zip(*parts, strict=True)] == [
        sorted(whole[start : start + 4]) for start in range(0, 24, 4)
    ]
