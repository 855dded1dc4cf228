# SPDX-License-Identifier: Apache-2.0
"""Sampler that makes test scores independent of the number of processes."""

from __future__ import annotations

from collections.abc import Iterator, Sized
from typing import Any

import torch
from mmengine.dist import get_dist_info

from iid_mm.errors import InputError
from iid_mm.registry import DATA_SAMPLERS


@DATA_SAMPLERS.register_module()
class WholeBatchSampler(torch.utils.data.Sampler[int]):
    """Distribute whole batches over the processes, in the order of the dataset and without repeats.

    The last bits of a network's outputs depend on which images share a batch. MMEngine's default sampler
    distributes single samples, so that the batches change with the number of processes, and repeats some to
    give every process equally many. Here batch b always has samples ``b * batch_size`` up to
    ``(b + 1) * batch_size`` and goes to process ``b % processes``. Processes may get different numbers of
    batches, even none, so this is not for training.

    Args:
        dataset: The dataset.
        batch_size: Samples a batch; must be that of the data loader.
        seed: Not used; MMEngine passes it to every sampler.
    """

    def __init__(self, dataset: Sized, batch_size: int, seed: Any = None) -> None:
        if batch_size < 1:
            raise InputError(f'batch_size={batch_size!r}: must be at least 1')
        self.size = len(dataset)
        self.batch_size = batch_size
        self.rank, self.world_size = get_dist_info()

    def _batches(self) -> Iterator[range]:
        for start in range(self.rank * self.batch_size, self.size, self.world_size * self.batch_size):
            yield range(start, min(start + self.batch_size, self.size))

    def __iter__(self) -> Iterator[int]:
        """Yield the samples of this process, batch after batch."""
        for batch in self._batches():
            yield from batch

    def __len__(self) -> int:
        """Samples of this process."""
        return sum(len(batch) for batch in self._batches())

    def set_epoch(self, epoch: int) -> None:
        """Do nothing: every pass is the same. MMEngine's hooks call it."""
