# SPDX-License-Identifier: Apache-2.0
"""Weights, gradients and optimizer state in shards, one a process."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from mmengine._strategy import FSDPStrategy
from mmengine.optim import AmpOptimWrapper, BaseOptimWrapper, build_optim_wrapper
from mmengine.registry import STRATEGIES
from torch import nn
from torch.distributed.fsdp import FullOptimStateDictConfig, FullStateDictConfig
from torch.distributed.fsdp import FullyShardedDataParallel as FSDP

from iid_mm.engine.optim import SAMOptimWrapper
from iid_mm.engine.runner.cpu_processes import join_cpu_processes
from iid_mm.engine.runner.sync_bn import check_sync_bn
from iid_mm.engine.strategies.optimizer_keys import name_parameters, number_parameters
from iid_mm.errors import InputError
from iid_mm.utils.checkpoint import check_state_dict, load_checkpoint_file, prepare_resuming

WRAPPERS = ('_fsdp_wrapped_module.', '_checkpoint_wrapped_module.')


@STRATEGIES.register_module()
class ForgeryFSDPStrategy(FSDPStrategy):
    """MMEngine's FSDP strategy with this package's checkpoints.

    Differences from :class:`mmengine._strategy.FSDPStrategy`:

    * Checkpoints are those of other runs: one file with whole weights and an optimizer state with numbers for
      parameters. Any number of processes resumes from it, with FSDP or without, and all tools read it.
    * They are read without running code that they may hold, and their keys and shapes must be the model's.
    * The optimizer is made from the names that parameters have before they are wrapped, on which layer-wise
      learning rates rest, and gradients are clipped by the norm over all shards.
    * Runs on CPUs, too.

    Args:
        trust_checkpoint: See :func:`iid_mm.utils.checkpoint.load_checkpoint_file`.
        **kwargs: Of the parent, but for ``state_dict_cfg``: ``model_wrapper`` (names the layers that are
            gathered one by one, see :func:`~iid_mm.engine.strategies.wrap_layers`), ``sync_bn`` and
            ``activation_checkpointing``.

    Raises:
        InputError: If the process was not started together with others, or ``state_dict_cfg`` or
            ``skip_init_weights`` is given.
    """

    model_wrapper: Any

    def __init__(self, *, trust_checkpoint: bool = False, **kwargs: Any) -> None:
        if 'state_dict_cfg' in kwargs:
            raise InputError('strategy.state_dict_cfg: checkpoints are always whole; leave it out')
        if 'skip_init_weights' in kwargs:
            raise InputError('strategy.skip_init_weights: weights are always initialized; leave it out')
        if (kwargs.get('env_kwargs') or {}).get('launcher') in (None, 'none'):
            raise InputError(
                'strategy ForgeryFSDPStrategy spreads a model over processes; start them with '
                'tools/dist_train.sh CONFIG NUM_PROCESSES or tools/slurm_train.sh'
            )
        super().__init__(state_dict_cfg='full', **kwargs)
        # FSDP hands out tensors on the CPU as they are, and frees them: they have to be copied there.
        offload = torch.cuda.is_available()
        self.state_dict_config = FullStateDictConfig(rank0_only=True, offload_to_cpu=offload)
        self.optim_state_dict_config = FullOptimStateDictConfig(rank0_only=True, offload_to_cpu=offload)
        self.trust_checkpoint = trust_checkpoint
        self._shapes: dict[str, torch.Tensor] = {}
        self._optim_wrapper_cfg: Any = None
        self._resuming = False

    def _setup_distributed(self, launcher: str = 'pytorch', **kwargs: Any) -> None:
        if not join_cpu_processes(launcher, kwargs):
            super()._setup_distributed(launcher, **kwargs)

    def prepare(self, model: Any, *, optim_wrapper: Any = None, **kwargs: Any) -> Any:
        """Build and wrap model, optimizer and schedulers.

        Args:
            model: The model or its config.
            optim_wrapper: Config of the optimizer wrapper; None to test.
            **kwargs: Of the parent.

        Returns:
            What the parent returns.
        """
        self._optim_wrapper_cfg = optim_wrapper
        return super().prepare(model, optim_wrapper=optim_wrapper, **kwargs)

    def _wrap_model(self, model: nn.Module) -> nn.Module:
        check_sync_bn(self.sync_bn)
        model = self.convert_model(model)
        self._shapes = {k: torch.empty_like(v, device='meta') for k, v in model.state_dict().items()}
        if self._optim_wrapper_cfg is not None:
            self._optim_wrapper_cfg = self._named_optim_wrapper(model, self._optim_wrapper_cfg)
        self.model_wrapper = dict(self.model_wrapper or {}, type='MMFullyShardedDataParallel')
        if not torch.cuda.is_available():
            self.model_wrapper.setdefault('device_id', torch.device('cpu'))
        policy = self.model_wrapper.get('auto_wrap_policy')
        text = str(dict(policy)) if isinstance(policy, dict) else str(policy)
        with warnings.catch_warnings():
            # MMEngine's way to choose the kind of state is outdated, but the one that it has.
            warnings.filterwarnings('ignore', 'FSDP.state_dict_type', FutureWarning)
            wrapped: nn.Module = super()._wrap_model(model)
        if policy is not None and sum(isinstance(m, FSDP) for m in wrapped.modules()) == 1:
            raise InputError(
                f'strategy.model_wrapper.auto_wrap_policy={text} picks no module of the model, so that all '
                'weights would be gathered at once; name classes of its layers'
            )
        return wrapped

    def _named_optim_wrapper(self, model: nn.Module, cfg: Any) -> BaseOptimWrapper:
        """Build the optimizer wrapper with the model's parameters before these are wrapped."""
        if cfg.get('type') in ('AmpOptimWrapper', AmpOptimWrapper):
            cfg.setdefault('use_fsdp', True)
        wrapper = build_optim_wrapper(model, cfg)
        if isinstance(wrapper, SAMOptimWrapper):
            raise InputError(
                'optim_wrapper.type=SAMOptimWrapper: SAM needs the norm of the whole gradient, which no '
                'process has with FSDP; use another optimizer wrapper or plain distributed training'
            )
        return wrapper

    def build_optim_wrapper(self, optim_wrapper: Any, model: nn.Module | None = None) -> BaseOptimWrapper:
        """Put the wrapped parameters into the optimizer wrapper.

        Args:
            optim_wrapper: Its config; it was built from it when the model was wrapped.
            model: The wrapped model.

        Returns:
            The optimizer wrapper.
        """
        assert model is not None
        wrapper = self._optim_wrapper_cfg
        parameters = {_plain(name): parameter for name, parameter in model.named_parameters()}
        for group in wrapper.optimizer.param_groups:
            group['params'] = [parameters[self.id_to_name[id(p)]] for p in group['params']]
        if getattr(wrapper, 'clip_func', None) is nn.utils.clip_grad_norm_:
            wrapper.clip_func = lambda _, **kwargs: model.clip_grad_norm_(**kwargs)  # type: ignore[operator]
        return wrapper

    def optim_state_dict(self) -> dict[str, Any]:
        """Whole optimizer state in the main process, as it would be without FSDP; empty in others."""
        state = FSDP.optim_state_dict(self.model, self.optim_wrapper.optimizer)
        if not state:
            return {}
        return number_parameters(state, self._parameter_names()) | _extra(self.optim_wrapper.state_dict())

    def load_optim_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load an optimizer state, each process its shard.

        Args:
            state_dict: Whole state, as without FSDP.
        """
        named = name_parameters(state_dict, self._parameter_names())
        shard = FSDP.optim_state_dict_to_load(self.model, self.optim_wrapper.optimizer, named)
        self.optim_wrapper.load_state_dict(shard | _extra(state_dict))

    def _parameter_names(self) -> list[str]:
        """Names of the optimizer's parameters, in its order."""
        names = {id(parameter): _plain(name) for name, parameter in self.model.named_parameters()}
        return [names[id(p)] for group in self.optim_wrapper.optimizer.param_groups for p in group['params']]

    def resume(self, filename: str, **kwargs: Any) -> dict[str, Any]:
        """Go on where a checkpoint stands.

        Args:
            filename: The checkpoint.
            **kwargs: Of the parent.

        Returns:
            The checkpoint.

        Raises:
            InputError: As :meth:`load_checkpoint`, or if the file holds weights only.
        """
        self._resuming = True
        checkpoint: dict[str, Any] = super().resume(filename, **kwargs)
        return checkpoint

    def load_checkpoint(
        self, filename: str, *, callback: Callable[[dict[str, Any]], None] | None = None, **kwargs: Any
    ) -> dict[str, Any]:
        """Load weights.

        Args:
            filename: The checkpoint.
            callback: Called with its content.
            **kwargs: Not used: weights are read to the CPU, and all keys must match.

        Returns:
            The checkpoint without its weights.

        Raises:
            FileNotFoundError: If there is no such file.
            InputError: If the file cannot be read or is of another model.
        """
        checkpoint = load_checkpoint_file(filename, trust=self.trust_checkpoint)
        if self._resuming:
            prepare_resuming(checkpoint, filename, self.work_dir)
        if callback is not None:
            callback(checkpoint)
        state = checkpoint.pop('state_dict', checkpoint)
        check_state_dict(self._shapes, state, filename)
        self.load_model_state_dict(state, strict=True)
        self.logger.info(f'loaded checkpoint {filename}')
        return checkpoint


def _extra(state_dict: dict[str, Any]) -> dict[str, Any]:
    """What a wrapper adds to the optimizer's own state."""
    return {key: value for key, value in state_dict.items() if key not in ('state', 'param_groups')}


def _plain(name: str) -> str:
    """Name of a parameter without what wrappers put in."""
    for part in WRAPPERS:
        name = name.replace(part, '')
    return name
