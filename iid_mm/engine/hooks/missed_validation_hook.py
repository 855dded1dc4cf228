# SPDX-License-Identifier: Apache-2.0
"""Validations that a kill cut off."""

from __future__ import annotations

from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner

from iid_mm.registry import HOOKS


@HOOKS.register_module()
class MissedValidationHook(Hook):
    """Validate the epoch that a resumed run stands behind before training goes on.

    MMEngine writes the checkpoint of an epoch before it validates the epoch. A run that was stopped in
    between would go on with the next epoch, and this checkpoint could never become the best one.
    Whether the validation had ended cannot be seen from the checkpoint, so it is done again: it gives
    the same metrics.
    """

    # Behind the checkpoint hook (VERY_LOW), which compares.
    priority = 'LOWEST'

    def __init__(self) -> None:
        self._validated = 0

    def before_train(self, runner: Runner) -> None:
        """Validate if the run was resumed at the end of an epoch whose validation is due."""
        if self._is_due(runner):
            runner.logger.info(f'validating epoch {runner.epoch}, behind which the run was resumed')
            runner.val_loop.run()

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Note where the last validation was."""
        self._validated = runner.iter

    def _is_due(self, runner: Runner) -> bool:
        loop: Any = runner.train_loop
        epoch = runner.epoch
        at_end = epoch > 0 and runner.iter == epoch * len(loop.dataloader)
        if runner.val_loop is None or not at_end or epoch < loop.val_begin or self._validated == runner.iter:
            return False
        return bool(epoch % loop.val_interval == 0 or epoch == loop.max_epochs)
