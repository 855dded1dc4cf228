# SPDX-License-Identifier: Apache-2.0
"""The feature levels of the Artifact Detection Module."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmcv.cnn import ConvModule, build_norm_layer
from mmengine.model import BaseModule
from torch import nn
from torch.nn import functional as F

from iid_mm.errors import InputError
from iid_mm.registry import MODELS
from iid_mm.utils.typing import ConfigType, Features, OptConfigType

MIN_SIZE = 7
"""Three unpadded 3x3 convolutions turn 7x7 into 1x1."""


class ArtifactBlock(BaseModule):
    """Residual block that shrinks the map by kernel_size - 1.

    Main path: conv k + norm + ReLU + conv 3x3 + norm; shortcut: conv k + norm; ReLU after the sum.

    Args:
        channels: Channels in and out.
        kernel_size: Size k of the unpadded convolutions.
        norm_cfg: Config of the norm layers.
    """

    def __init__(self, channels: int, kernel_size: int, norm_cfg: ConfigType) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, kernel_size)
        self.bn1 = build_norm_layer(norm_cfg, channels)[1]
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = build_norm_layer(norm_cfg, channels)[1]
        self.relu = nn.ReLU(inplace=True)
        self.shortcut = nn.Sequential(
            nn.Conv2d(channels, channels, kernel_size, bias=False),
            build_norm_layer(norm_cfg, channels)[1],
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (N, C, H, W) to (N, C, H - k + 1, W - k + 1)."""
        out = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        return self.relu(out + self.shortcut(x))


class ArtifactEndBlock(BaseModule):
    """Residual block without norm layers that ends the module.

    Main path: conv k + ReLU + conv 1x1; shortcut: conv k; ReLU after the sum.

    Args:
        channels: Channels in and out.
        kernel_size: Size k of the unpadded convolutions.
    """

    def __init__(self, channels: int, kernel_size: int = 3) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, kernel_size)
        self.conv2 = nn.Conv2d(channels, channels, 1)
        self.relu = nn.ReLU(inplace=True)
        self.shortcut = nn.Conv2d(channels, channels, kernel_size)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (N, C, H, W) to (N, C, H - k + 1, W - k + 1)."""
        return self.relu(self.conv2(self.relu(self.conv1(x))) + self.shortcut(x))


@MODELS.register_module()
class ArtifactNeck(BaseModule):
    """Four levels of decreasing size on the backbone's last feature map.

    The Artifact Detection Module of Dong et al. (CVPR 2023, arXiv 2210.14457, section 4.1): a (N, C, 7, 7)
    map gives levels of 7x7, 5x5, 3x3 and 1x1, all with the same channels.

    Args:
        in_channels: Channels of the backbone's outputs, first to last; an int stands for one output.
        channels: Channels of the levels. None keeps those of the last output, as published; a smaller
            number puts a 1x1 convolution with norm and ReLU in front, which removes most parameters.
        lateral: Whether to add the earlier outputs to the levels: each goes through a 1x1 convolution with
            norm and is average-pooled to the size of the first level; their sum, pooled to its size, is added
            to every level (the lateral connections of FPN, toward coarser levels). Off in the published
            model.
        norm_cfg: Config of the norm layers.
        init_cfg: Initialization.

    Raises:
        InputError: If ``lateral`` is set and there is only one backbone output.
    """

    def __init__(
        self,
        in_channels: int | Sequence[int],
        channels: int | None = None,
        lateral: bool = False,
        norm_cfg: ConfigType | None = None,
        init_cfg: OptConfigType = None,
    ) -> None:
        super().__init__(init_cfg)
        self.in_channels = [in_channels] if isinstance(in_channels, int) else list(in_channels)
        self.channels = channels or self.in_channels[-1]
        self.num_levels = 4
        norm_cfg = norm_cfg or dict(type='BN')

        self.reduce: nn.Module = nn.Identity()
        if self.channels != self.in_channels[-1]:
            self.reduce = ConvModule(self.in_channels[-1], self.channels, 1, norm_cfg=norm_cfg)
        self.blocks = nn.ModuleList(
            [ArtifactBlock(self.channels, kernel_size, norm_cfg) for kernel_size in (1, 3, 3)]
            + [ArtifactEndBlock(self.channels)]
        )
        self.laterals: nn.ModuleList | None = None
        if lateral:
            if len(self.in_channels) < 2:
                raise InputError(
                    f'lateral=True needs several backbone outputs, in_channels is {in_channels}; '
                    'list their channels and set out_indices of the backbone'
                )
            self.laterals = nn.ModuleList(
                ConvModule(c, self.channels, 1, norm_cfg=norm_cfg, act_cfg=None)
                for c in self.in_channels[:-1]
            )

    def forward(self, feats: Features) -> Features:
        """Compute the levels.

        Args:
            feats: Backbone outputs, (N, C_i, H_i, W_i) each, first to last.

        Returns:
            Four maps (N, C, H - d, W - d) with d = 0, 2, 4, 6 for the last output's H and W.

        Raises:
            InputError: If the last map is smaller than 7x7 or has other channels than expected, or
                outputs for the laterals are missing.
        """
        last = feats[-1]
        if min(last.shape[-2:]) < MIN_SIZE:
            raise InputError(
                f'ArtifactNeck got a last feature map of {tuple(last.shape[-2:])}; it needs at least '
                f'{MIN_SIZE}x{MIN_SIZE}: enlarge the input or reduce the stride of the backbone'
            )
        if last.shape[1] != self.in_channels[-1]:
            raise InputError(
                f'ArtifactNeck expects {self.in_channels[-1]} channels and got {last.shape[1]}; set '
                'in_channels to the channels of the backbone outputs'
            )
        if self.laterals is not None and len(feats) < len(self.in_channels):
            raise InputError(
                f'ArtifactNeck expects {len(self.in_channels)} backbone outputs and got {len(feats)}; list '
                f'{len(self.in_channels)} stages in out_indices of the backbone, or set lateral=False'
            )
        levels = []
        x = self.reduce(last)
        for block in self.blocks:
            x = block(x)
            levels.append(x)
        if self.laterals is not None:
            first = levels[0]
            fused = self._fuse_laterals(feats[-len(self.in_channels) : -1], (first.shape[2], first.shape[3]))
            levels = [
                level + F.adaptive_avg_pool2d(fused, (level.shape[2], level.shape[3])) for level in levels
            ]
        return tuple(levels)

    def _fuse_laterals(self, feats: Features, size: tuple[int, int]) -> torch.Tensor:
        assert self.laterals is not None
        pooled = [
            lateral(F.adaptive_avg_pool2d(feat, size))
            for lateral, feat in zip(self.laterals, feats, strict=True)
        ]
        return torch.stack(pooled).sum(dim=0)
