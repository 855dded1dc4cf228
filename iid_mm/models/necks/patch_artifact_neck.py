# SPDX-License-Identifier: Apache-2.0
"""The Artifact Detection Module on plain vision transformers."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn
from torch.nn import functional as F

from iid_mm.errors import InputError
from iid_mm.models.necks.artifact_neck import MIN_SIZE, ArtifactNeck
from iid_mm.registry import MODELS
from iid_mm.utils.typing import ConfigType, Features, OptConfigType


@MODELS.register_module()
class PatchArtifactNeck(ArtifactNeck):
    """An adapter that fuses maps of patch tokens, followed by the levels of :class:`ArtifactNeck`.

    A plain vision transformer has one resolution, and its early blocks retain more local traces than its last
    one. Each token is normalized and goes through a linear layer; the sum of the maps is average-pooled to
    ``size`` cells a side, from which :class:`ArtifactNeck` computes its four levels.

    Args:
        in_channels: Channels of each map to fuse, in the order of the backbone's outputs.
        channels: Channels of the levels.
        size: Side of the first level in cells; 7 gives levels of 7x7, 5x5, 3x3 and 1x1.
        norm_cfg: Config of the norm layers of the levels.
        init_cfg: Initialization.

    Raises:
        InputError: If there is no map, or ``size`` is below 7.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        channels: int = 256,
        size: int = MIN_SIZE,
        norm_cfg: ConfigType | None = None,
        init_cfg: OptConfigType = None,
    ) -> None:
        if isinstance(in_channels, int) or not in_channels:
            raise InputError(f'in_channels={in_channels!r}: give a list, one number for each map to join')
        if size < MIN_SIZE:
            raise InputError(f'size={size!r}: must be at least {MIN_SIZE}, so that the last level has a cell')
        super().__init__(channels, channels, norm_cfg=norm_cfg, init_cfg=init_cfg)
        self.patch_channels = list(in_channels)
        self.size = size
        self.adapters = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(c), nn.Linear(c, channels)) for c in self.patch_channels
        )

    def forward(self, feats: Features) -> Features:
        """Compute the levels.

        Args:
            feats: Maps of patch tokens, (N, C_i, H, W) each.

        Returns:
            Four maps (N, channels, size - d, size - d) with d = 0, 2, 4, 6.

        Raises:
            InputError: If there are fewer maps than expected, or a map has other channels than expected or
                fewer cells than ``size``.
        """
        found = [feat.shape[1] if feat.dim() == 4 else tuple(feat.shape) for feat in feats]
        if found != self.patch_channels:
            raise InputError(
                f'PatchArtifactNeck was made for maps of {self.patch_channels} channels and got {found}; set '
                "in_channels to the channels of the backbone's outputs (out_indices names them, and "
                "out_type='featmap' makes maps of them)"
            )
        if (least := min(min(feat.shape[-2:]) for feat in feats)) < self.size:
            raise InputError(
                f'PatchArtifactNeck got a map of {least} cells a side and size={self.size}; enlarge the '
                'input or take smaller patches'
            )
        # Tokens are stored channels last, so these permutations copy nothing.
        maps = [
            adapter(feat.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
            for adapter, feat in zip(self.adapters, feats, strict=True)
        ]
        return super().forward((F.adaptive_avg_pool2d(sum(maps[1:], maps[0]), self.size),))
