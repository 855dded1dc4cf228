# SPDX-License-Identifier: Apache-2.0
"""Boxes of all anchors of a dense head, as a module that can be exported."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from mmdet.models.dense_heads.base_dense_head import BaseDenseHead
from mmdet.models.task_modules.coders import DeltaXYWHBBoxCoder, DistancePointBBoxCoder
from torch import nn

from iid_mm.errors import InputError
from iid_mm.utils.typing import Size

_ROUTINE = ('predict', 'predict_by_feat', '_predict_by_feat_single', '_bbox_post_process')
_REMEDY = (
    'ArtifactHead and mmdet heads that decode with the common routine can be exported (e.g. RetinaHead, '
    'ATSSHead, FCOSHead)'
)


def check_exportable(head: Any) -> None:
    """Check that the boxes of a head can be decoded by :class:`BoxDecoder`.

    Args:
        head: The artifact head of a model.

    Raises:
        InputError: If it decodes boxes in a way of its own, or has several classes.
    """
    name = type(head).__name__
    own = [part for part in _ROUTINE if getattr(type(head), part, None) is not getattr(BaseDenseHead, part)]
    if own:
        raise InputError(
            f'artifact_head {name} has its own {", ".join(own)} and cannot be exported; {_REMEDY}'
        )
    coder = getattr(head, 'bbox_coder', None)
    if not isinstance(coder, (DeltaXYWHBBoxCoder, DistancePointBBoxCoder)):
        raise InputError(
            f'artifact_head {name} has the box coder {type(coder).__name__} and cannot be exported; use '
            'DeltaXYWHBBoxCoder, SSDBBoxCoder or DistancePointBBoxCoder'
        )
    # The routine asks the loss for the activation; SSDHead has none, and cannot predict with it at all.
    loss = getattr(head, 'loss_cls', None)
    if loss is None or getattr(loss, 'custom_cls_channels', False):
        raise InputError(
            f'artifact_head {name} has loss_cls={type(loss).__name__} and cannot be exported; use '
            'CrossEntropyLoss or FocalLoss'
        )
    if head.num_classes != 1:
        raise InputError(
            f'artifact_head {name} has num_classes={head.num_classes}; only heads with one class '
            '(artifact) can be exported'
        )


class BoxDecoder(nn.Module):
    """Turn what a dense head predicts for all anchors into boxes and scores.

    It computes what mmdet's ``predict_by_feat`` does before the score threshold. N images, M anchors an
    image, level by level and row by row.

    Args:
        head: A head that passes :func:`check_exportable`.
        map_sizes: (h, w) of the feature map of each level.
        size: Input (w, h), to which boxes are clipped.
    """

    priors: torch.Tensor
    limits: torch.Tensor

    def __init__(self, head: Any, map_sizes: Sequence[tuple[int, int]], size: Size) -> None:
        super().__init__()
        check_exportable(head)
        self.coder = head.bbox_coder
        self.class_channels = int(head.cls_out_channels)
        self.use_sigmoid = bool(head.use_sigmoid_cls)
        priors = head.prior_generator.grid_priors(list(map_sizes), device='cpu')
        self.level_sizes = [len(level) for level in priors]
        self.register_buffer('priors', torch.cat(list(priors)).float(), persistent=False)
        self.register_buffer('limits', torch.tensor([*size, *size], dtype=torch.float32), persistent=False)

    def forward(
        self,
        cls_maps: Sequence[torch.Tensor],
        box_maps: Sequence[torch.Tensor],
        factor_maps: Sequence[torch.Tensor] | None = None,
    ) -> tuple[torch.Tensor, ...]:
        """Decode.

        Args:
            cls_maps: Class logits of each level, (N, A * K, h, w) with A anchors a cell.
            box_maps: Encoded boxes of each level, (N, A * 4, h, w).
            factor_maps: Logits of the factors that some heads (FCOS, ATSS) multiply scores by,
                (N, A, h, w).

        Returns:
            Boxes (N, M, 4), xyxy in input pixels, scores (N, M), probabilities of artifact, and, where
            the head has them, factors (N, M).
        """
        logits = self._flatten(cls_maps, self.class_channels)
        scores = logits.sigmoid() if self.use_sigmoid else logits.softmax(-1)
        encoded = self._flatten(box_maps, 4)
        priors = self.priors.expand(encoded.shape[0], *self.priors.shape)
        boxes = self.coder.decode(priors.reshape(-1, self.priors.shape[-1]), encoded.reshape(-1, 4))
        boxes = boxes.reshape(-1, len(self.priors), 4)
        # The coders clip in place, which tracing loses.
        if self.coder.clip_border:
            boxes = torch.minimum(boxes.clamp(min=0), self.limits)
        outputs = (boxes, scores[..., 0])
        if factor_maps is None:
            return outputs
        return (*outputs, self._flatten(factor_maps, 1)[..., 0].sigmoid())

    def _flatten(self, maps: Sequence[torch.Tensor], channels: int) -> torch.Tensor:
        """From (N, A * channels, h, w) a level to (N, M, channels)."""
        levels = [
            level.permute(0, 2, 3, 1).reshape(-1, count, channels)
            for level, count in zip(maps, self.level_sizes, strict=True)
        ]
        return torch.cat(levels, dim=1).float()
