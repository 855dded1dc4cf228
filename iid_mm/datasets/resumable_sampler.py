# SPDX-License-Identifier: Apache-2.0
"""Sampler that resumes within an epoch."""

from __future__ import annotations

from collections.abc import Iterator, Sized

from mmengine.dataset import DefaultSampler

from iid_mm.errors import InputError
from iid_mm.registry import DATA_SAMPLERS


@DATA_SAMPLERS.register_module()
class ResumableSampler(DefaultSampler):
    """MMEngine's default sampler that can enter an epoch in the middle.

    Its order depends on the seed and the epoch only. :meth:`skip` makes the next pass start later, so that
    a run that was killed within an epoch goes on with the next sample.

    Args:
        dataset: Dataset to draw from.
        shuffle: Whether every epoch has an order of its own.
        seed: Seed of the order; the same in all processes.
        round_up: Without ``drop_last``: whether samples are repeated so that all processes get equally many.
        drop_last: Leave out the last samples that are not enough for all processes, instead of repeating
            some. With a data loader that drops incomplete batches, the number of batches then depends
            on the total batch size only, not on the number of processes.

    Raises:
        InputError: With ``drop_last``, if there are fewer samples than processes.
    """

    _num_skipped = 0

    def __init__(
        self,
        dataset: Sized,
        shuffle: bool = True,
        seed: int | None = None,
        round_up: bool = True,
        drop_last: bool = True,
    ) -> None:
        super().__init__(dataset, shuffle=shuffle, seed=seed, round_up=round_up and not drop_last)
        if drop_last:
            self.num_samples = len(dataset) // self.world_size
            self.total_size = self.num_samples * self.world_size
            if not self.num_samples:
                raise InputError(
                    f'drop_last=True: {len(dataset)} sample(s) are too few for {self.world_size} processes; '
                    'take fewer processes, or more data'
                )

    def skip(self, num_samples: int) -> None:
        """Leave out samples of the next pass.

        Args:
            num_samples: How many samples of this process the next pass leaves out.
        """
        self._num_skipped = num_samples

    def __iter__(self) -> Iterator[int]:
        """Yield the remaining indices of the pass; the pass after it is whole again."""
        indices = self._indices()[self._num_skipped :]
        self._num_skipped = 0
        return iter(indices)

    def _indices(self) -> list[int]:
        """Indices of a whole pass in this process."""
        return list(super().__iter__())
