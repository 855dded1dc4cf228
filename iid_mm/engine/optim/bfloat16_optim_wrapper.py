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
    """Run the forward pass under bfloat16 autocast, on the device of the model.

    MMEngine's ``AmpOptimWrapper`` refuses CPUs. bfloat16 has the range of float32, so losses need no scaling;
    weights, gradients and optimizer state stay float32. It is faster on CPUs with AMX or AVX512-BF16 and on
    GPUs from Ampere on, and slower elsewhere. Raw 0-255 inputs are exact: bfloat16 holds all integers up to
    256.
    """

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Enter autocast within the context of :class:`mmengine.optim.OptimWrapper`."""
        device = next(model.parameters()).device.type
        with super().optim_context(model), torch.autocast(device, torch.bfloat16):
            yield
