# SPDX-License-Identifier: Apache-2.0
"""Data samplers."""

from __future__ import annotations

from collections.abc import Iterator

from mmengine.dataset import DefaultSampler

from iid_mm.registry import DATA_SAMPLERS


@DATA_SAMPLERS.register_module()
class ForgerySampler(DefaultSampler):
    """MMEngine's default sampler that can enter an epoch in the middle.

    Its order depends on the seed and the epoch only. :meth:`skip` makes the next pass start later, so
    that a run killed in the middle of an epoch goes on with the sample that was next. All arguments are
    those of :class:`mmengine.dataset.DefaultSampler`.
    """

    _num_skipped = 0

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
