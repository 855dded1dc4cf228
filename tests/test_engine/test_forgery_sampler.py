# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from iid_mm.datasets.samplers import ForgerySampler


@pytest.mark.parametrize('shuffle', [False, True])
def test_a_skipped_pass_is_the_rest_of_the_whole_one(shuffle: bool) -> None:
    sampler = ForgerySampler(list(range(10)), shuffle=shuffle, seed=3)
    whole = list(sampler)
    assert sorted(whole) == list(range(10))
    sampler.skip(4)
    assert list(sampler) == whole[4:]
    # The pass after it is whole again.
    assert list(sampler) == whole
    assert len(sampler) == 10


def test_order_depends_on_seed_and_epoch_only() -> None:
    first, second = (ForgerySampler(list(range(20)), seed=3) for _ in range(2))
    assert list(first) == list(second)
    first.set_epoch(1)
    assert list(first) != list(second)
    second.skip(5)
    second.set_epoch(1)
    assert list(second) == list(first)[5:]


def test_skipping_everything() -> None:
    sampler = ForgerySampler(list(range(4)), shuffle=False)
    sampler.skip(4)
    assert list(sampler) == []
