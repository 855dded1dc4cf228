# SPDX-License-Identifier: Apache-2.0
"""Mixed precision in bfloat16, on CPUs too."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.optim import OptimWrapper
from torch import nn

from iid_mm.registry import OPTIM_WRAPPERS


@OPTIM_WRAPPERS.register_module()
class BFloat16OptimWrapper(OptimWrapper):
    """Runs the forward pass under bfloat16 autocast, on the device that the model lives on.

    MMEngine's ``AmpOptimWrapper`` refuses CPUs. bfloat16 has float32's range, so losses need no scaling
    and weights, gradients and optimizer stay float32. Convolutions gain on CPUs with AMX or AVX512-BF16
    and on GPUs from Ampere on; elsewhere this is slower than float32. Raw 0-255 inputs lose nothing:
    bfloat16 holds all integers up to 256.
    """

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Enter autocast, and what :class:`OptimWrapper` enters for gradient accumulation."""
        device = next(model.parameters()).device.type
        with super().optim_context(model), torch.autocast(device, torch.bfloat16):
            yield
