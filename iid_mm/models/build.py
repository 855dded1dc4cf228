# SPDX-License-Identifier: Apache-2.0
"""Build a model from a config and a checkpoint."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch.overrides import TorchFunctionMode

from iid_mm.errors import InputError
from iid_mm.models.detectors import IIDDetector
from iid_mm.models.stored_config import REMEDY
from iid_mm.registry import MODELS, SCOPE
from iid_mm.utils.checkpoint import load_weights
from iid_mm.utils.config import load_config

SLACK = 2 << 30
"""Bytes that building a stored model may take beyond its weights, e.g. for the stacks of threads."""


def init_model(
    config: str | os.PathLike[str] | Config,
    checkpoint: str | os.PathLike[str] | dict[str, Any] | None = None,
    device: str | torch.device = 'cpu',
    cfg_options: dict[str, Any] | None = None,
    trust: bool = False,
    name: str = 'given',
) -> IIDDetector:
    """Build a detector, ready to predict.

    Args:
        config: Path of a config file, or a config with ``model``.
        checkpoint: Weights: a file, or the content of one; None leaves them random.
        device: Device of the model.
        cfg_options: Values that replace those of the config.
        trust: Whether to run code that the checkpoint may hold.
        name: Name in error messages of a checkpoint given as its content.

    Returns:
        The model in evaluation mode, with its config as attribute ``cfg``.

    Raises:
        FileNotFoundError: If a file does not exist.
        InputError: If the config has no model or the checkpoint does not fit.
    """
    config = load_config(config, cfg_options)
    if 'model' not in config:
        raise InputError('the config has no entry `model`')
    init_default_scope(config.get('default_scope', SCOPE))
    model = MODELS.build(config.model)
    if checkpoint is not None:
        load_weights(model, checkpoint, trust=trust, name=name)
    model.cfg = config
    return model.to(device).eval()


@contextlib.contextmanager
def building_stored_model(name: str, state: Mapping[str, Any]) -> Iterator[None]:
    """Bound the memory of building a model from a stored config, and report any error in one line.

    Args:
        name: Name of the checkpoint in error messages.
        state: Its weights; a model that is far larger does not belong to them.

    Raises:
        InputError: If the model cannot be built.
    """
    # Not `nbytes`: an expanded tensor of a few stored bytes would allow a model of any size.
    sizes = [_stored_bytes(value) for value in state.values()] if isinstance(state, Mapping) else []
    try:
        budget = 4 * sum(sizes) + (256 << 20)
        with _bounded_memory(budget + SLACK), _Budget(budget, 100 * len(sizes) + 100_000):
            yield
    # Constructors of several packages with a stranger's arguments may raise anything.
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(
            f'what the config in checkpoint {name} describes cannot be built: {reason}; {REMEDY}'
        ) from error


@contextlib.contextmanager
def _bounded_memory(n_bytes: int) -> Iterator[None]:
    """Limit the memory that this process may take in addition, where the system supports it.

    :class:`_Budget` does not see lists, nor tensors that are computed from others.
    """
    try:
        import resource

        pages = int(Path('/proc/self/statm').read_text().split()[5])
    except (ImportError, OSError):
        yield
        return
    before = resource.getrlimit(resource.RLIMIT_DATA)
    limits = [limit for limit in before if limit != resource.RLIM_INFINITY]
    resource.setrlimit(
        resource.RLIMIT_DATA, (min([pages * resource.getpagesize() + n_bytes, *limits]), before[1])
    )
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)


def _stored_bytes(value: Any) -> int:
    """Bytes that a tensor takes in a file: fewer than its shape implies if it is expanded."""
    if not isinstance(value, torch.Tensor) or value.layout != torch.strided or value.is_nested:
        return 0
    return 0 if value.is_meta else min(value.nbytes, value.untyped_storage().nbytes())


class _Budget(TorchFunctionMode):
    """Stop when more or larger tensors are made than a model of known weights can need."""

    def __init__(self, n_bytes: int, calls: int) -> None:
        super().__init__()
        self.bytes, self.calls = n_bytes, calls

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor):
            self.calls -= 1
            if func in _FACTORIES:
                # The system provides memory when it is first written, so this is early enough.
                self.bytes -= result.nbytes
            if self.bytes < 0 or self.calls < 0:
                raise ValueError('it is much larger than the weights')
        return result


_FACTORIES = {torch.empty, torch.zeros, torch.ones, torch.full, torch.rand, torch.randn, torch.eye}
