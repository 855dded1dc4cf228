# SPDX-License-Identifier: Apache-2.0
"""Batches of whole videos."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from mmengine.dist import get_dist_info

from iid_mm.errors import InputError
from iid_mm.registry import DATA_SAMPLERS


@DATA_SAMPLERS.register_module()
class VideoBatchSampler(torch.utils.data.Sampler[list[int]]):
    """Batches of whole videos, so that each video is encoded by one worker only.

    Videos are packed into batches in the order of the dataset. One that is longer than a batch is split into
    batches of its own, and each worker that gets one of these encodes it. The batches are distributed to the
    processes in turn: they are the same for any number of processes, and nothing is repeated.

    Args:
        sampler: Its ``dataset`` has ``video_ranges``, see
            :class:`~robustness.datasets.VideoForgeryDataset`; its order is not used.
        batch_size: Most samples in a batch.
        drop_last: Not supported.
    """

    def __init__(self, sampler: Any, batch_size: int, drop_last: bool = False) -> None:
        if batch_size < 1 or drop_last:
            raise InputError(f'batch_size={batch_size!r}, drop_last={drop_last!r}: at least 1, and False')
        self.sampler = sampler
        self.batch_size = batch_size
        self.rank, self.world_size = get_dist_info()

    def all_batches(self) -> list[list[int]]:
        """The batches of all processes."""
        batches: list[list[int]] = []
        for video in self.sampler.dataset.video_ranges:
            if batches and len(batches[-1]) + len(video) <= self.batch_size:
                batches[-1] += video
                continue
            parts = range(0, len(video), self.batch_size)
            batches += [list(video[start : start + self.batch_size]) for start in parts]
        return batches

    def __iter__(self) -> Iterator[list[int]]:
        """Yield the batches of this process."""
        yield from self.all_batches()[self.rank :: self.world_size]

    def __len__(self) -> int:
        """Batches of this process."""
        return len(self.all_batches()[self.rank :: self.world_size])
