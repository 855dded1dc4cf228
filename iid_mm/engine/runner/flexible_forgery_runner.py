# SPDX-License-Identifier: Apache-2.0
"""The runner for models that are spread over processes."""

from __future__ import annotations

from typing import Any

from mmengine.hooks import EMAHook
from mmengine.runner import FlexibleRunner
from torch import nn

from iid_mm.engine.runner.parts import check_parts
from iid_mm.engine.runner.safe_training import SafeTraining
from iid_mm.engine.strategies import ForgeryFSDPStrategy
from iid_mm.errors import InputError
from iid_mm.models.backbones import LoRABackbone
from iid_mm.registry import MODELS, RUNNERS


@RUNNERS.register_module()
class FlexibleForgeryRunner(SafeTraining, FlexibleRunner):
    """MMEngine's flexible runner for training with :class:`~iid_mm.engine.ForgeryFSDPStrategy`.

    In a config: ``runner_type = 'FlexibleForgeryRunner'`` and a ``strategy`` of that type. Loops, hooks and
    checkpoints are those of :class:`~iid_mm.engine.SafeRunner`, which also tests what was trained.

    Raises:
        InputError: If the config has no such strategy, or an ``EMAHook``, which needs whole weights.
    """

    model: Any

    def build_strategy(self, strategy: Any = None, **kwargs: Any) -> Any:
        """Build the strategy.

        Args:
            strategy: Its config.
            **kwargs: Of the parent.

        Returns:
            The strategy.
        """
        kind = (strategy or {}).get('type')
        if kind not in (ForgeryFSDPStrategy.__name__, ForgeryFSDPStrategy):
            raise InputError(
                f'strategy.type={kind!r}: FlexibleForgeryRunner needs the strategy ForgeryFSDPStrategy; '
                'leave runner_type out for plain distributed training'
            )
        strategy = dict(strategy)
        strategy.setdefault('sync_bn', self.cfg.get('sync_bn'))
        strategy.setdefault('trust_checkpoint', bool(self.cfg.get('trust_checkpoint', False)))
        return super().build_strategy(strategy, **kwargs)

    def register_hook(self, hook: Any, priority: Any = None) -> None:
        """Register a hook.

        Args:
            hook: The hook or its config.
            priority: Its priority.

        Raises:
            InputError: If it is an ``EMAHook``.
        """
        super().register_hook(hook, priority)
        if any(isinstance(registered, EMAHook) for registered in self.hooks):
            raise InputError(
                'custom_hooks: EMAHook keeps a second copy of whole weights, and no process has them with '
                'FSDP; leave it out, or leave out runner_type and strategy'
            )

    def train(self) -> nn.Module:
        """Train.

        Returns:
            The wrapped model.

        Raises:
            InputError: If the parts of the model do not fit each other, or checkpoints would lack weights.
        """
        if not isinstance(self.model, nn.Module):
            self.model = MODELS.build(self.model)
        if any(isinstance(part, LoRABackbone) and not part.store_base for part in self.model.modules()):
            raise InputError(
                'model.backbone.store_base=False: FSDP gathers all weights for a checkpoint; leave '
                'store_base out, or runner_type and strategy'
            )
        check_parts(self.model, self.cfg)
        model: nn.Module = super().train()
        return model
