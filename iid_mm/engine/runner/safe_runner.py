# SPDX-License-Identifier: Apache-2.0
"""The runner of the tools."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from mmengine.model import MMDistributedDataParallel, is_model_wrapper
from mmengine.runner import Runner
from torch import nn

from iid_mm.engine.runner.cpu_processes import join_cpu_processes
from iid_mm.engine.runner.parts import check_parts
from iid_mm.engine.runner.safe_training import SafeTraining
from iid_mm.engine.runner.sync_bn import check_sync_bn
from iid_mm.errors import InputError
from iid_mm.models.backbones import LoRABackbone
from iid_mm.registry import RUNNERS
from iid_mm.utils.checkpoint import (
    load_from_source,
    load_weights,
    prepare_resuming,
    trusted_checkpoints,
)


@RUNNERS.register_module()
class SafeRunner(SafeTraining, Runner):
    """MMEngine's runner with safe checkpoints and distributed training on CPUs.

    Checkpoints: a file whose keys or shapes are not the model's is an error. Unpickling of anything but
    weights and training history is refused, unless the config says ``trust_checkpoint = True``.

    Distributed training: on machines without a GPU the processes talk through gloo. ``sync_bn = 'torch'``
    in a config computes the statistics of batch norm layers over all processes; it needs GPUs.
    """

    def setup_env(self, env_cfg: dict[str, Any]) -> None:
        """Set up processes and libraries.

        Args:
            env_cfg: The config's ``env_cfg``.
        """
        join_cpu_processes(self._launcher, env_cfg.get('dist_cfg'))
        super().setup_env(env_cfg)

    def build_model(self, model: nn.Module | dict[str, Any]) -> nn.Module:
        """Build the model.

        Args:
            model: The model or its config.

        Returns:
            The model.

        Raises:
            InputError: If its parts do not fit each other.
        """
        built: nn.Module = super().build_model(model)
        check_parts(built, self.cfg)
        return built

    def train(self) -> nn.Module:
        """Train.

        Returns:
            The model.
        """
        # Pretrained weights are loaded within.
        with trusted_checkpoints(bool(self.cfg.get('trust_checkpoint', False))):
            for module in self.model.modules():
                # Hooks copy the model (EMAHook) before its weights are initialized, and a copy of frozen
                # weights that checkpoints do not hold would never be brought up to date.
                if isinstance(module, LoRABackbone) and not module.store_base:
                    module.init_weights()
            model: nn.Module = super().train()
        return model

    def wrap_model(self, model_wrapper_cfg: dict[str, Any] | None, model: nn.Module) -> nn.Module:
        """Wrap the model for distributed training.

        Args:
            model_wrapper_cfg: The config's ``model_wrapper_cfg``.
            model: The model.

        Returns:
            The wrapped model, or the model itself in a single process.

        Raises:
            InputError: If the config's ``sync_bn`` cannot be had here.
        """
        if self.distributed:
            check_sync_bn(self.cfg.get('sync_bn'))
        if self.distributed and not torch.cuda.is_available() and model_wrapper_cfg is None:
            return MMDistributedDataParallel(
                module=model,
                broadcast_buffers=False,
                find_unused_parameters=self.cfg.get('find_unused_parameters', False),
            )
        return super().wrap_model(model_wrapper_cfg, model)

    def resume(self, filename: str, *args: Any, **kwargs: Any) -> None:
        """Go on where a checkpoint stands.

        Args:
            filename: The file.
            *args: Of the parent.
            **kwargs: Of the parent.

        Raises:
            InputError: As :meth:`load_checkpoint`, or if the optimizer, the schedules or the history in the
                file are not of this run.
        """
        try:
            super().resume(filename, *args, **kwargs)
        except InputError:
            raise
        # What optimizers, schedulers and MMEngine's message hub raise for a state that is not theirs.
        except (RuntimeError, ValueError, TypeError, LookupError, AttributeError, AssertionError) as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise InputError(
                f'checkpoint {filename} cannot be resumed from: {reason}; its optimizer, schedules or '
                'history are not of this config. Start anew from its weights with load_from=...'
            ) from error

    def load_checkpoint(
        self,
        filename: str,
        map_location: str | Callable[..., Any] = 'cpu',
        strict: bool = True,
        revise_keys: list[tuple[str, str]] | None = None,
    ) -> dict[str, Any]:
        """Load a checkpoint into the model.

        Args:
            filename: The file, or its address.
            map_location: Not used: weights are read to the CPU and copied from there.
            strict: Not used: all keys must match.
            revise_keys: Not used.

        Returns:
            The checkpoint.

        Raises:
            FileNotFoundError: If there is no such file.
            InputError: If the file cannot be read, is of another model, or training is to be resumed
                and the file does not say where it stood.
        """
        with trusted_checkpoints(bool(self.cfg.get('trust_checkpoint', False))):
            checkpoint = load_from_source(filename)
        self.call_hook('after_load_checkpoint', checkpoint=checkpoint)
        model = self.model.module if is_model_wrapper(self.model) else self.model
        load_weights(model, checkpoint, name=filename)
        if self._resume:
            prepare_resuming(checkpoint, filename, self.work_dir)
        self._has_loaded = True
        self.logger.info(f'loaded checkpoint {filename}')
        return checkpoint
