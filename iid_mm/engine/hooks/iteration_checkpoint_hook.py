# SPDX-License-Identifier: Apache-2.0
"""A checkpoint for runs that may be killed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner

from iid_mm.registry import HOOKS
from iid_mm.utils.latest_checkpoint import write_pointer

FILE_NAME = 'interrupted.pth'


def save_interrupted(runner: Runner, meta: dict[str, Any] | None = None) -> None:
    """Write :data:`FILE_NAME` and let ``last_checkpoint`` name it; all processes must call this.

    Args:
        runner: The runner.
        meta: ``epoch`` and ``iter``, what is done of both; None: that of an iteration that is ending.
    """
    runner.save_checkpoint(runner.work_dir, FILE_NAME, by_epoch=False, meta=meta)
    if is_main_process():
        write_pointer(runner.work_dir, Path(runner.work_dir) / FILE_NAME)


@HOOKS.register_module()
class IterationCheckpointHook(Hook):
    """Keep one checkpoint from within the epoch, replaced every few iterations.

    Complements MMEngine's checkpoint hook, which saves by epoch: long epochs on preemptible machines
    lose at most ``interval`` iterations. The file is written under another name and moved into place, so
    that a kill while writing leaves the one before. Where gradients are accumulated, which are not stored,
    it waits for the step of the optimizer that uses them.

    Args:
        interval: Iterations between checkpoints.
    """

    # Behind the parameter schedulers (LOW), so that their state is that of the next iteration.
    priority = 'VERY_LOW'

    def __init__(self, interval: int = 500) -> None:
        self.interval = interval
        self._due = False

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Sequence[dict[str, Any]] | None = None,
        outputs: dict[str, Any] | None = None,
    ) -> None:
        """Save every ``interval`` iterations, or at the next step of the optimizer."""
        self._due |= self.every_n_train_iters(runner, self.interval)
        if not (self._due and runner.optim_wrapper.should_update()):
            return
        self._due = False
        runner.call_hook('before_writing')
        save_interrupted(runner)
