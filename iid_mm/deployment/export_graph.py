# SPDX-License-Identifier: Apache-2.0
"""A detector from raw pixels to logits and boxes, as one module that can be traced."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

# First, because mmdet's models need the stand-in operators that this import registers.
from iid_mm.models import IIDDetector  # isort: skip

import torch
from mmcv.cnn.bricks.conv2d_adaptive_padding import Conv2dAdaptivePadding
from mmdet.models.dense_heads.base_dense_head import BaseDenseHead
from mmdet.models.task_modules.coders import DeltaXYWHBBoxCoder, DistancePointBBoxCoder
from torch import nn
from torch.nn import functional as F

from iid_mm.errors import InputError
from iid_mm.utils.typing import Size

INPUT_NAME = 'images'
OUTPUT_NAMES = ('logits', 'boxes', 'scores', 'score_factors')
"""All outputs in their order; a plain classifier has the first one only, and most heads have no factors."""
_ROUTINE = ('predict', 'predict_by_feat', '_predict_by_feat_single', '_bbox_post_process')
_REMEDY = (
    'ArtifactHead and mmdet heads that decode with the common routine can be exported (e.g. RetinaHead, '
    'ATSSHead, FCOSHead)'
)


class ExportGraph(nn.Module):
    """The graph of the ONNX file: preprocessing, network and decoding of all boxes.

    Letters: N images, H and W height and width of the input, M anchors an image.

    Args:
        model: The detector, in evaluation mode.
        size: Input (w, h).

    Raises:
        InputError: If the artifact head cannot be exported, or the model cannot take this size.
    """

    def __init__(self, model: IIDDetector, size: Size) -> None:
        super().__init__()
        self.size = size
        self.network = model
        self.decoder: BoxDecoder | None = None
        self.level_sizes: list[int] = []
        outs = self._try(size)
        if model.artifact_head is not None:
            maps = [(int(level.shape[2]), int(level.shape[3])) for level in outs[0]]
            self.decoder = BoxDecoder(model.artifact_head, maps, size)
            self.level_sizes = self.decoder.level_sizes
        # A head gives class maps, box maps and, some of them, maps of factors.
        self.output_names = list(OUTPUT_NAMES[: 1 + len(outs) * bool(self.decoder)])

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Run the detector.

        Args:
            images: (N, 3, H, W) float32, raw 0-255 BGR.

        Returns:
            ``logits`` (N, 2), column 1 = fake; with an artifact head also ``boxes`` (N, M, 4), xyxy in
            input pixels, and ``scores`` (N, M), and ``score_factors`` (N, M) where the head has them.
        """
        logits, outs = self._run(images)
        if self.decoder is None:
            return (logits,)
        return (logits, *self.decoder(*outs))

    def _run(self, images: torch.Tensor) -> tuple[torch.Tensor, tuple[list[torch.Tensor], ...]]:
        inputs = self.network.data_preprocessor({'inputs': images, 'data_samples': None}, False)['inputs']
        logits, outs = self.network._forward(inputs)
        return logits, outs

    def _try(self, size: Size) -> tuple[list[torch.Tensor], ...]:
        """Outputs of the head for an empty image, which also checks the input size."""
        if self.network.artifact_head is not None:
            check_exportable(self.network.artifact_head)
        try:
            with torch.no_grad():
                return self._run(torch.zeros(1, 3, size[1], size[0]))[1]
        except RuntimeError as error:
            raise InputError(
                f'the model cannot take inputs of {size[0]}x{size[1]} pixels: {error}'
            ) from error


def check_exportable(head: Any) -> None:
    """Check that the boxes of a head can be decoded by :class:`BoxDecoder`.

    Args:
        head: The artifact head of a model.

    Raises:
        InputError: If it has its own way of decoding boxes, or several classes.
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
    # The routine takes the activation from the loss, which SSDHead does not have.
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
    """Turn predictions of a dense head for all anchors into boxes and scores.

    The computation of mmdet's ``predict_by_feat`` up to the score threshold. N images, M anchors an image,
    level by level and row by row.

    Args:
        head: A head that passes :func:`check_exportable`.
        map_sizes: (h, w) of the feature map of each level.
        size: Input (w, h), to which boxes are clipped.
    """

    priors: torch.Tensor
    limits: torch.Tensor

    def __init__(self, head: Any, map_sizes: Sequence[tuple[int, int]], size: Size) -> None:
        super().__init__()
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
        # The coders clip in place, which tracing does not record.
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


@contextmanager
def fixed_padding(model: nn.Module) -> Iterator[None]:
    """Make the padding of mmcv's ``Conv2dAdaptivePadding`` constant while a model is traced.

    Otherwise tracing writes its arithmetic into the graph, eight operators a convolution and a separate
    padding, which makes EfficientNet a fifth slower in ONNX Runtime. The results are equal.

    Args:
        model: The model to be traced; restored on leaving.
    """
    changed: list[Any] = [module for module in model.modules() if type(module) is Conv2dAdaptivePadding]
    for module in changed:
        module.forward = partial(_padded_convolution, module)
    try:
        yield
    finally:
        for module in changed:
            del module.forward


def _padded_convolution(conv: nn.Conv2d, x: torch.Tensor) -> torch.Tensor:
    """Convolve with padding for an output of ceil(size / stride), an odd pixel below and right."""
    pads = []
    for axis in (0, 1):
        length, stride = int(x.shape[2 + axis]), conv.stride[axis]
        reach = conv.dilation[axis] * (conv.kernel_size[axis] - 1) + 1
        pads.append(max((math.ceil(length / stride) - 1) * stride + reach - length, 0))
    (top, left), (bottom, right) = [pad // 2 for pad in pads], [pad - pad // 2 for pad in pads]
    if (top, left) == (bottom, right):
        return F.conv2d(x, conv.weight, conv.bias, conv.stride, (top, left), conv.dilation, conv.groups)
    x = F.pad(x, [left, right, top, bottom])
    return F.conv2d(x, conv.weight, conv.bias, conv.stride, 0, conv.dilation, conv.groups)
