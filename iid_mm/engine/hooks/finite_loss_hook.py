# SPDX-License-Identifier: Apache-2.0
"""End diverged training before it is saved."""

from __future__ import annotations

from typing import Any

import torch
from mmengine.dist import all_reduce
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import nn

from iid_mm.errors import InputError
from iid_mm.registry import HOOKS

REMEDY = (
    'lower the learning rate (optim_wrapper.optimizer.lr), clip gradients (optim_wrapper.clip_grad), or '
    'train in full precision'
)


@HOOKS.register_module()
class FiniteLossHook(Hook):
    """End training when a loss or a trained weight is infinite or NaN, before a checkpoint holds it.

    Losses are checked on their device in every iteration, and read, for which a GPU must be waited for, every
    ``interval`` iterations and before a checkpoint, a validation or the end of an epoch. All processes of a
    distributed run end together. Only the loss counts: when gradients overflow, a dynamic loss scale skips
    the step. :class:`~iid_mm.engine.SafeRunner` registers the hook itself.

    Args:
        interval: Iterations between checks.
    """

    # Before anything is logged, saved or selected.
    priority = 'VERY_HIGH'

    def __init__(self, interval: int = 50) -> None:
        self.interval = interval
        self._names: list[str] = []
        self._first: torch.Tensor | None = None

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict[str, Any] | None = None
    ) -> None:
        """Record which losses are not finite.

        Raises:
            InputError: If one is, at every ``interval``-th iteration.
        """
        losses = {
            name: value.detach().float().mean()
            for name, value in (outputs or {}).items()
            if 'loss' in name and isinstance(value, torch.Tensor)
        }
        if losses and list(losses) != self._names:
            self._check(runner)
            self._names, self._first = list(losses), None
        if losses:
            values = torch.stack(list(losses.values()))
            if self._first is None:
                self._first = torch.full_like(values, torch.inf)
            # 1-based, as in the log; float32 counts 16 million iterations exactly.
            now = torch.where(torch.isfinite(values), torch.inf, float(runner.iter + 1))
            self._first = torch.minimum(self._first, now)
        if self.every_n_train_iters(runner, self.interval):
            self._check(runner)

    def after_train_epoch(self, runner: Runner) -> None:
        """Check before the epoch is saved."""
        self._check(runner)

    def before_val_epoch(self, runner: Runner) -> None:
        """Check before a validation."""
        self._check(runner)

    def before_writing(self, runner: Runner) -> None:
        """Check before a checkpoint; hooks that write one call this in all processes."""
        self._check(runner)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Check the trained weights, which the last step may have made infinite or NaN.

        Raises:
            InputError: If one is not finite.
        """
        if names := _not_finite(runner):
            raise InputError(
                f'weights are no longer finite after iteration {runner.iter + 1} ({names}); no '
                f'checkpoint was written. Go on from the last one with other settings: {REMEDY}'
            )

    def _check(self, runner: Runner) -> None:
        """Read what was recorded, in all processes.

        Raises:
            InputError: If a loss was not finite.
        """
        # Processes have losses of the same names, so all of them return here or none does.
        if self._first is None:
            return
        first = self._first.clone()
        all_reduce(first, op='min')
        found = {
            name: value for name, value in zip(self._names, first.tolist(), strict=True) if value < torch.inf
        }
        self._first = None
        if not found:
            return
        iteration = int(min(found.values()))
        names = [name for name, value in found.items() if value == iteration]
        # The total is not finite either; its part says more.
        names = [name for name in names if name != 'loss'] or names
        raise InputError(
            f'{", ".join(names)} was not finite (NaN or infinite) at iteration {iteration} (epoch '
            f'{runner.epoch + 1}); training was stopped and nothing was saved since. Go on from the '
            f'last checkpoint with other settings: {REMEDY}'
        )


def _not_finite(runner: Runner) -> str:
    """Name trained weights that are not finite; empty if all are."""
    wrapper: Any = getattr(runner, 'optim_wrapper', None)
    groups = getattr(wrapper, 'param_groups', None) or []
    if isinstance(groups, dict):
        groups = [group for part in groups.values() for group in part]
    parameters = [parameter for group in groups for parameter in group['params']]
    if not parameters:
        return ''
    finite = torch.stack([torch.isfinite(parameter.detach()).all() for parameter in parameters])
    if bool(finite.all()):
        return ''
    bad = {id(p) for p, good in zip(parameters, finite.tolist(), strict=True) if not good}
    model: nn.Module = runner.model
    names = [name.removeprefix('module.') for name, p in model.named_parameters() if id(p) in bad]
    return f'{len(bad)} of {len(parameters)} tensors, the first is {(names or ["unknown"])[0]}'
