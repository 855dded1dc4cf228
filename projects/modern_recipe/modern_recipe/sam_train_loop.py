# SPDX-License-Identifier: Apache-2.0
"""Training with two passes an iteration."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from iid_mm.engine import ResumableEpochTrainLoop
from iid_mm.registry import LOOPS


@LOOPS.register_module()
class SAMTrainLoop(ResumableEpochTrainLoop):
    """Training loop in which :class:`~modern_recipe.SAMOptimWrapper` runs the two passes of an iteration.

    All arguments are those of :class:`~iid_mm.engine.ResumableEpochTrainLoop`.
    """

    def run_iter(self, idx: int, data_batch: Sequence[dict[str, Any]]) -> None:
        """Run one iteration.

        Args:
            idx: Number of the batch within the epoch.
            data_batch: The batch.
        """
        runner = self.runner
        runner.call_hook('before_train_iter', batch_idx=idx, data_batch=data_batch)
        # MMEngine's loop calls `model.train_step(data_batch, optim_wrapper=...)`, which is one pass.
        outputs = runner.optim_wrapper.train_step(runner.model, data_batch)
        runner.call_hook('after_train_iter', batch_idx=idx, data_batch=data_batch, outputs=outputs)
        self._iter += 1
