# SPDX-License-Identifier: Apache-2.0
"""Seeds that depend on epoch and iteration only."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.runner import Runner

from iid_mm.registry import HOOKS


@HOOKS.register_module()
class ReproducibleSamplingHook(Hook):
    """Give every epoch's samples and every iteration their own seed.

    At the start of an epoch each dataset that has ``set_epoch`` gets its number, from which, the seed and the
    index the random draws of a sample follow. Before each iteration PyTorch's generators (dropout, stochastic
    depth) are seeded from the seed, the iteration and the rank. A resumed run therefore has the same samples
    and losses as an uninterrupted one, with any number of workers.
    """

    priority = 'VERY_HIGH'

    def before_train_epoch(self, runner: Runner) -> None:
        """Pass the number of the epoch to the datasets."""
        for dataset in _walk(runner.train_loop.dataloader.dataset):
            if hasattr(dataset, 'set_epoch'):
                dataset.set_epoch(runner.epoch)

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Sequence[dict[str, Any]] | None = None
    ) -> None:
        """Seed PyTorch's generators."""
        mixed = np.random.SeedSequence([runner.seed, runner.iter, get_rank()])
        torch.manual_seed(int(mixed.generate_state(1, np.uint64)[0] >> 1))


def _walk(dataset: Any) -> Iterator[Any]:
    """Visit a dataset and those that it wraps."""
    yield dataset
    inner = [dataset.dataset] if hasattr(dataset, 'dataset') else getattr(dataset, 'datasets', [])
    for child in inner:
        yield from _walk(child)
