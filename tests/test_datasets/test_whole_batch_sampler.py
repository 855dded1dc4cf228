# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iid_mm.datasets import whole_batch_sampler
from iid_mm.datasets.whole_batch_sampler import WholeBatchSampler
from iid_mm.errors import InputError


def batches(size: int, batch_size: int, world_size: int) -> list[list[list[int]]]:
    """Batches of every process, as a data loader cuts them."""
    dealt = []
    for rank in range(world_size):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(whole_batch_sampler, 'get_dist_info', lambda rank=rank: (rank, world_size))
            sampler = WholeBatchSampler(range(size), batch_size)
        samples = list(sampler)
        assert len(samples) == len(sampler)
        dealt.append([samples[i : i + batch_size] for i in range(0, len(samples), batch_size)])
    return dealt


def test_ten_samples_in_batches_of_four_for_two() -> None:
    assert batches(10, 4, 2) == [[[0, 1, 2, 3], [8, 9]], [[4, 5, 6, 7]]]
    assert batches(3, 4, 2) == [[[0, 1, 2]], []]


@given(st.integers(0, 60), st.integers(1, 9), st.integers(1, 5))
def test_any_number_of_processes_makes_the_same_batches(size: int, batch_size: int, world: int) -> None:
    alone = batches(size, batch_size, 1)[0]
    together = [batch for dealt in batches(size, batch_size, world) for batch in dealt]
    assert sorted(together) == alone
    assert [number for batch in alone for number in batch] == list(range(size))


def test_batch_size_is_checked() -> None:
    with pytest.raises(InputError, match='batch_size=0'):
        WholeBatchSampler(range(3), 0)
