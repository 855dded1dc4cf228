# SPDX-License-Identifier: Apache-2.0
"""Which modules FSDP gathers and frees together."""

from __future__ import annotations

from collections.abc import Sequence

from mmengine.registry import FUNCTIONS
from torch import nn


@FUNCTIONS.register_module()
def wrap_layers(module: nn.Module, recurse: bool, nonwrapped_numel: int, layers: Sequence[str]) -> bool:
    """Wrap modules of the named classes, each by itself.

    In a config: ``auto_wrap_policy=dict(type='wrap_layers', layers=['TransformerEncoderLayer'])``.

    Args:
        module: The module in question.
        recurse: Whether PyTorch asks to look into the module rather than to wrap it.
        nonwrapped_numel: Number of parameters that would be wrapped; not used.
        layers: Names of the classes.

    Returns:
        Whether to look into the module, or to wrap it.
    """
    return recurse or type(module).__name__ in layers
