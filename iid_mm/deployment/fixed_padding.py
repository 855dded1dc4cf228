# SPDX-License-Identifier: Apache-2.0
"""Padding that depends on the input's size, made constant for one size."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from mmcv.cnn.bricks.conv2d_adaptive_padding import Conv2dAdaptivePadding
from torch import nn
from torch.nn import functional as F


@contextmanager
def fixed_padding(model: nn.Module) -> Iterator[None]:
    """Let mmcv's ``Conv2dAdaptivePadding`` count its padding in plain numbers while a model is traced.

    As it stands, tracing writes that arithmetic into the graph, eight operators a convolution and a
    separate padding, which makes EfficientNet a fifth slower in ONNX Runtime. The results are equal.

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
    """Convolve with as much padding as gives ceil(size / stride), the odd pixel below and right."""
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
