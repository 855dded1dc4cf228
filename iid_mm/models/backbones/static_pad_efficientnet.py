# SPDX-License-Identifier: Apache-2.0
"""EfficientNet padded as the published checkpoints were trained."""

from __future__ import annotations

from typing import Any

import torch
from mmpretrain.models.backbones import EfficientNet
from torch import nn
from torch.nn import functional as F

from iid_mm.registry import MODELS


class StaticPadConv2d(nn.Conv2d):
    """Convolution padded as 'same' padding pads an input of one given size, whatever the input's size.

    Args:
        *args: Of :class:`torch.nn.Conv2d`; its padding is replaced.
        **kwargs: Likewise.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.padding = (0, 0)
        self.before = self.after = self.kernel_size[0] // 2

    def fix_padding(self, size: int) -> int:
        """Set the padding to that of an input of ``size`` x ``size`` pixels.

        Returns:
            The size of its output.
        """
        stride = self.stride[0]
        out_size = -(-size // stride)
        total = max((out_size - 1) * stride + self.kernel_size[0] - size, 0)
        self.before, self.after = total // 2, total - total // 2
        return out_size

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Pad, then convolve (N, C, H, W)."""
        if self.after:
            x = F.pad(x, [self.before, self.after, self.before, self.after])
        return super().forward(x)


@MODELS.register_module()
class StaticPadEfficientNet(EfficientNet):
    """mmpretrain's EfficientNet with the padding of the package efficientnet_pytorch.

    That package works out 'same' padding once, for the resolution of the architecture (380 px for b4), and
    keeps it for every input. At 224 px the stride-2 convolutions with an odd size in between (95 at 380
    px, 56 at 224 px) then sample other pixels than mmpretrain's, which follow the input. Weights
    trained one way give wrong features the other way.

    Args:
        arch: Architecture, 'b0' to 'b8'.
        **kwargs: Of :class:`mmpretrain.models.backbones.EfficientNet`, without ``conv_cfg``.
    """

    def __init__(self, arch: str = 'b0', **kwargs: Any) -> None:
        super().__init__(arch=arch, conv_cfg=dict(type=StaticPadConv2d), **kwargs)
        size = int(self.arch_setting[2])
        # Modules come in the order in which the input passes through them.
        for module in self.modules():
            if isinstance(module, StaticPadConv2d):
                size = module.fix_padding(size)
