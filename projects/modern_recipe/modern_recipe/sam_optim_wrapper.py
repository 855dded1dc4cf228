# SPDX-License-Identifier: Apache-2.0
"""Sharpness-aware minimization."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.optim import OptimWrapper
from torch import nn

from iid_mm.errors import InputError
from iid_mm.registry import OPTIM_WRAPPERS

DTYPES = {'float32': None, 'bfloat16': torch.bfloat16}


@OPTIM_WRAPPERS.register_module()
class SAMOptimWrapper(OptimWrapper):
    """Step by the gradient at the worst point close by (SAM, Foret et al., ICLR 2021, algorithm 1).

    Each iteration runs forward and backward twice: at the weights w, and at w + e with
    e = rho * g / ||g|| over all parameters; the second gradient moves w. With ``adaptive`` the
    neighborhood scales with the weights (ASAM, Kwon et al., ICML 2021): e = rho * w^2 g / ||w g||. Both
    passes see the same images, dropout and stochastic depth; the statistics of batch norms follow the first
    one only. The losses that are logged are those at w.

    Wraps any optimizer, takes twice the time of a plain step, and works in distributed training, where the
    gradients of both passes are averaged over the processes. Needs :class:`~modern_recipe.SAMTrainLoop`,
    which lets the wrapper run the two passes.

    Args:
        optimizer: The optimizer that makes the step.
        rho: Radius of the neighborhood: 0.05 as in the paper, about 1 with ``adaptive``.
        adaptive: Whether the neighborhood scales with the weights.
        dtype: ``float32``, or ``bfloat16`` for mixed precision as in
            :class:`~iid_mm.engine.BFloat16OptimWrapper`.
        **kwargs: Further arguments of :class:`mmengine.optim.OptimWrapper`, e.g. ``clip_grad``, which clips
            the second gradient.

    Raises:
        InputError: If ``rho`` is not above 0, ``dtype`` is unknown, or gradients are to be accumulated.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        rho: float = 0.05,
        adaptive: bool = False,
        dtype: str = 'float32',
        **kwargs: Any,
    ) -> None:
        if rho <= 0:
            raise InputError(f'rho={rho!r}: must be above 0; for plain steps take OptimWrapper')
        if dtype not in DTYPES:
            raise InputError(f'dtype={dtype!r}: must be one of {", ".join(DTYPES)}')
        if kwargs.get('accumulative_counts', 1) != 1:
            raise InputError(
                f'accumulative_counts={kwargs["accumulative_counts"]!r}: SAM needs the whole gradient in '
                'each pass; leave it at 1 and take a smaller batch'
            )
        super().__init__(optimizer, **kwargs)
        self.rho = rho
        self.adaptive = adaptive
        self.dtype = DTYPES[dtype]
        self._climbs: bool | None = None
        self._moved: list[tuple[nn.Parameter, torch.Tensor]] = []

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Enter autocast where it is asked for."""
        device = next(model.parameters()).device.type
        with super().optim_context(model), torch.autocast(device, self.dtype, enabled=self.dtype is not None):
            yield

    def train_step(self, model: nn.Module, data_batch: Any) -> dict[str, torch.Tensor]:
        """Run both passes and make the step.

        Args:
            model: The model, wrapped or not.
            data_batch: A batch from the data loader.

        Returns:
            The losses at the weights before the step.
        """
        device = next(model.parameters()).device
        state = _random_state(device)
        self._climbs = True
        try:
            outputs: dict[str, torch.Tensor] = model.train_step(data_batch, optim_wrapper=self)  # type: ignore[operator]
            _set_random_state(device, state)
            self._climbs = False
            with _frozen_statistics(model):
                model.train_step(data_batch, optim_wrapper=self)  # type: ignore[operator]
        finally:
            self._climbs = None
            self._return()
        return outputs

    def update_params(
        self,
        loss: torch.Tensor,
        step_kwargs: dict[str, Any] | None = None,
        zero_kwargs: dict[str, Any] | None = None,
    ) -> None:
        """Climb after the first backward pass, step after the second.

        Raises:
            InputError: If the training loop does not run two passes.
        """
        if self._climbs is None:
            raise InputError(
                "SAMOptimWrapper runs two passes an iteration; set train_cfg.type='SAMTrainLoop'"
            )
        self.backward(self.scale_loss(loss))
        if self._climbs:
            self._climb()
        else:
            self._return()
            self.step(**(step_kwargs or {}))
        self.zero_grad(**(zero_kwargs or {}))

    @torch.no_grad()
    def _climb(self) -> None:
        parameters = [
            parameter
            for group in self.optimizer.param_groups
            for parameter in group['params']
            if parameter.grad is not None
        ]
        scales = [parameter.abs() if self.adaptive else 1.0 for parameter in parameters]
        ascents = [parameter.grad * scale for parameter, scale in zip(parameters, scales, strict=True)]
        norm = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(a) for a in ascents]))
        for parameter, scale, ascent in zip(parameters, scales, ascents, strict=True):
            # Kept rather than subtracted again: w + e - e is not w in floating point.
            self._moved.append((parameter, parameter.clone()))
            parameter.add_(ascent * scale * (self.rho / (norm + 1e-12)))

    @torch.no_grad()
    def _return(self) -> None:
        for parameter, before in self._moved:
            parameter.copy_(before)
        self._moved.clear()


def _random_state(device: torch.device) -> tuple[torch.Tensor, torch.Tensor | None]:
    accelerator = torch.cuda.get_rng_state(device) if device.type == 'cuda' else None
    return torch.get_rng_state(), accelerator


def _set_random_state(device: torch.device, state: tuple[torch.Tensor, torch.Tensor | None]) -> None:
    torch.set_rng_state(state[0])
    if state[1] is not None:
        torch.cuda.set_rng_state(state[1], device)


@contextmanager
def _frozen_statistics(model: nn.Module) -> Iterator[None]:
    """Leave the running statistics of batch norms as they are."""
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._NormBase)]
    momenta = [norm.momentum for norm in norms]
    counts = [
        None if norm.num_batches_tracked is None else norm.num_batches_tracked.clone() for norm in norms
    ]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum, count in zip(norms, momenta, counts, strict=True):
            norm.momentum = momentum
            if count is not None:
                norm.num_batches_tracked.copy_(count)  # type: ignore[union-attr]
