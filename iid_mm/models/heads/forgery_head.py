# SPDX-License-Identifier: Apache-2.0
"""The global real/fake decision."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmengine.model import BaseModule
from torch import nn
from torch.nn import functional as F

from iid_mm.errors import InputError
from iid_mm.registry import MODELS
from iid_mm.structures import ForgeryDataSample
from iid_mm.utils.typing import ConfigType, OptConfigType


@MODELS.register_module()
class ForgeryHead(BaseModule):
    """Linear classifier on the pooled backbone feature plus the fused artifact level.

    logits = W (dropout(mean(backbone map)) + mean(artifact map)) + b  (arXiv 2210.14457, section 4.1;
    the published artifact level is 1x1, so its mean is itself).

    Args:
        in_channels: Channels of the backbone's last map.
        artifact_channels: Channels of the artifact level; None for a plain classifier without one. If
            they differ from ``in_channels``, a linear layer without bias brings them to that size.
        num_classes: Number of classes; 2, with class 1 = fake.
        dropout: Dropout probability on the pooled backbone feature.
        loss: Config of the classification loss.
        init_cfg: Initialization.
    """

    def __init__(
        self,
        in_channels: int,
        artifact_channels: int | None = None,
        num_classes: int = 2,
        dropout: float = 0.0,
        loss: ConfigType | None = None,
        init_cfg: OptConfigType = None,
    ) -> None:
        super().__init__(init_cfg or dict(type='Normal', layer='Linear', std=0.01))
        self.in_channels = in_channels
        self.artifact_channels = artifact_channels
        self.dropout = nn.Dropout(dropout)
        self.projection: nn.Module = nn.Identity()
        if artifact_channels not in (None, in_channels):
            self.projection = nn.Linear(artifact_channels, in_channels, bias=False)
        self.fc = nn.Linear(in_channels, num_classes)
        self.loss_module = MODELS.build(loss or dict(type='CrossEntropyLoss', use_sigmoid=False))

    def fuse(self, backbone_map: torch.Tensor, artifact_map: torch.Tensor | None) -> torch.Tensor:
        """Fuse the two features.

        Args:
            backbone_map: (N, C, H, W).
            artifact_map: (N, D, h, w), or None if the head was made without it.

        Returns:
            (N, C).

        Raises:
            InputError: If the artifact map is missing or not expected, or a map has other channels than the
                head was made for.
        """
        if (artifact_map is None) != (self.artifact_channels is None):
            raise InputError(
                f'ForgeryHead has artifact_channels={self.artifact_channels} and got '
                f'{"no" if artifact_map is None else "an"} artifact map; check it together with the neck and '
                'fused_level of the model'
            )
        if backbone_map.shape[1] != self.in_channels:
            raise InputError(
                f'ForgeryHead expects {self.in_channels} channels and got {backbone_map.shape[1]}; '
                "set in_channels to the channels of the backbone's last output"
            )
        if artifact_map is not None and artifact_map.shape[1] != self.artifact_channels:
            raise InputError(
                f'ForgeryHead.artifact_channels is {self.artifact_channels} and the fused artifact level has '
                f'{artifact_map.shape[1]} channels; set it to the channels of the neck'
            )
        feature = self.dropout(F.adaptive_avg_pool2d(backbone_map, 1).flatten(1))
        if artifact_map is not None:
            feature = feature + self.projection(F.adaptive_avg_pool2d(artifact_map, 1).flatten(1))
        return feature

    def forward(self, backbone_map: torch.Tensor, artifact_map: torch.Tensor | None = None) -> torch.Tensor:
        """Classify.

        Args:
            backbone_map: (N, C, H, W).
            artifact_map: (N, D, h, w) or None.

        Returns:
            Logits, (N, num_classes).
        """
        return self.fc(self.fuse(backbone_map, artifact_map))

    def loss(
        self,
        backbone_map: torch.Tensor,
        artifact_map: torch.Tensor | None,
        data_samples: Sequence[ForgeryDataSample],
    ) -> dict[str, torch.Tensor]:
        """Compute the loss and the batch accuracy.

        Args:
            backbone_map: (N, C, H, W).
            artifact_map: (N, D, h, w) or None.
            data_samples: N samples with ``gt_label``.

        Returns:
            ``loss_cls`` and ``acc`` (percent).
        """
        logits = self(backbone_map, artifact_map)
        labels = torch.cat([sample.gt_label for sample in data_samples]).to(logits.device)
        accuracy = (logits.detach().argmax(dim=1) == labels).float().mean() * 100
        return dict(loss_cls=self.loss_module(logits, labels), acc=accuracy)

    def predict(
        self,
        backbone_map: torch.Tensor,
        artifact_map: torch.Tensor | None,
        data_samples: Sequence[ForgeryDataSample],
    ) -> list[ForgeryDataSample]:
        """Write ``pred_score`` and ``pred_label`` into the samples.

        Args:
            backbone_map: (N, C, H, W).
            artifact_map: (N, D, h, w) or None.
            data_samples: N samples.

        Returns:
            The same samples.
        """
        scores = self(backbone_map, artifact_map).float().softmax(dim=1)
        for sample, score in zip(data_samples, scores, strict=True):
            sample.pred_score = score
            sample.pred_label = score.argmax(dim=0, keepdim=True)
        return list(data_samples)
