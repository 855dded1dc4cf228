# SPDX-License-Identifier: Apache-2.0
"""The runner of the tools."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from mmengine.model import MMDistributedDataParallel, is_model_wrapper
from mmengine.runner import Runner
from torch import nn

from iid_mm.apis.checkpoint import check_state_dict, load_checkpoint_file
from iid_mm.errors import InputError
from iid_mm.registry import RUNNERS


@RUNNERS.register_module()
class ForgeryRunner(Runner):
    """MMEngine's runner with safe checkpoints and distributed training on CPUs.

    Checkpoints: a file whose keys or shapes are not the model's is an error. Unpickling of anything but
    weights and training history is refused, unless the config says ``trust_checkpoint = True``.

    Distributed training: on machines without a GPU the processes talk through gloo.
    """

    def setup_env(self, env_cfg: dict[str, Any]) -> None:
        """Set up processes and libraries.

        Args:
            env_cfg: The config's ``env_cfg``.
        """
        if self._launcher == 'pytorch' and not torch.cuda.is_available():
            # MMEngine selects a CUDA device whatever the backend is, and leaves a group that exists.
            torch.distributed.init_process_group(backend='gloo')
        super().setup_env(env_cfg)

    def wrap_model(self, model_wrapper_cfg: dict[str, Any] | None, model: nn.Module) -> nn.Module:
        """Wrap the model for distributed training.

        Args:
            model_wrapper_cfg: The config's ``model_wrapper_cfg``.
            model: The model.

        Returns:
            The wrapped model, or the model itself in a single process.
        """
        if self.distributed and not torch.cuda.is_available() and model_wrapper_cfg is None:
            return MMDistributedDataParallel(
                module=model,
                broadcast_buffers=False,
                find_unused_parameters=self.cfg.get('find_unused_parameters', False),
            )
        return super().wrap_model(model_wrapper_cfg, model)

    def load_checkpoint(
        self,
        filename: str,
        map_location: str | Callable[..., Any] = 'cpu',
        strict: bool = True,
        revise_keys: list[tuple[str, str]] | None = None,
    ) -> dict[str, Any]:
        """Load a checkpoint into the model.

        Args:
            filename: The file.
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
        trust = bool(self.cfg.get('trust_checkpoint', False))
        checkpoint = load_checkpoint_file(filename, trust=trust)
        self.call_hook('after_load_checkpoint', checkpoint=checkpoint)
        model = self.model.module if is_model_wrapper(self.model) else self.model
        state = checkpoint.get('state_dict', checkpoint)
        check_state_dict(model, state, filename)
        if self._resume and not ('optimizer' in checkpoint and 'epoch' in checkpoint.get('meta', {})):
            raise InputError(
                f'checkpoint {filename} holds weights only and not where training stood; resume from an '
                'epoch_*.pth or interrupted.pth, or start anew from its weights with load_from=...'
            )
        model.load_state_dict(state)
        self._has_loaded = True
        self.logger.info(f'loaded checkpoint {filename}')
        return checkpoint
