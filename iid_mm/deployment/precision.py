# SPDX-License-Identifier: Apache-2.0
"""Smaller numbers in an exported file: half precision and 8-bit integers.

Preprocessing and decoding of boxes stay in single precision: coordinates of pixels need more than the 8 or
11 bits of the smaller numbers.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from iid_mm.deployment.export_graph import INPUT_NAME
from iid_mm.deployment.onnx_file import EXTRA, import_onnx
from iid_mm.utils.dependencies import import_extra

PRECISIONS = ('fp32', 'fp16', 'int8-dynamic', 'int8-static')
_KEPT = ('/decoder/', '/data_preprocessor/')
"""Parts of the names of nodes that stay in single precision."""


def to_half(model: Any) -> Any:
    """Convert the network to half precision; inputs and outputs stay in single precision.

    Args:
        model: ``onnx.ModelProto`` in single precision; it is changed.

    Returns:
        The converted ``onnx.ModelProto``.

    Raises:
        MissingExtraError: If onnxruntime is not installed.
    """
    float16 = import_extra('onnxruntime.transformers.float16', EXTRA)
    return float16.convert_float_to_float16(model, keep_io_types=True, node_block_list=_kept_nodes(model))


def to_int8(model: Any, images: Sequence[torch.Tensor] | None = None, *, reduce_range: bool = False) -> Any:
    """Convert the network to 8 bits.

    With examples (static): weights signed with one scale a channel, activations unsigned with one scale a
    tensor, in the quantize/dequantize form, which ONNX Runtime recommends for x86 processors. Without
    (dynamic): weights only; ranges of activations are found anew for every input.

    Args:
        model: ``onnx.ModelProto`` in single precision.
        images: Examples, (3, H, W), raw 0-255 BGR, which give the ranges of activations.
        reduce_range: Use 7 bits for weights, against overflow on x86 processors without VNNI.

    Returns:
        The converted ``onnx.ModelProto``.

    Raises:
        MissingExtraError: If onnxruntime is not installed.
    """
    quantization = import_extra('onnxruntime.quantization', EXTRA)
    shapes = import_extra('onnxruntime.quantization.shape_inference', EXTRA)
    kinds = quantization.QuantType
    with tempfile.TemporaryDirectory() as folder, _quiet_log():
        source, target = Path(folder) / 'source.onnx', Path(folder) / 'target.onnx'
        # Folds constants; the symbolic inference is for transformers.
        shapes.quant_pre_process(model, source, skip_symbolic_shape=True)
        kept = _kept_nodes(import_onnx().load(source))
        if images is None:
            # ConvInteger of ONNX Runtime's CPU provider takes unsigned weights only.
            quantization.quantize_dynamic(source, target, weight_type=kinds.QUInt8, nodes_to_exclude=kept)
        else:
            quantization.quantize_static(
                source,
                target,
                _Examples(images),
                quant_format=quantization.QuantFormat.QDQ,
                activation_type=kinds.QUInt8,
                weight_type=kinds.QInt8,
                per_channel=True,
                reduce_range=reduce_range,
                nodes_to_exclude=kept,
            )
        return import_onnx().load(target)


class _Examples:
    """Calibration images, one at a time, as onnxruntime.quantization reads them."""

    def __init__(self, images: Sequence[torch.Tensor]) -> None:
        self._images: Iterator[torch.Tensor] = iter(images)

    def get_next(self) -> dict[str, Any] | None:
        """The next input of the graph; None at the end."""
        image = next(self._images, None)
        return None if image is None else {INPUT_NAME: image.numpy().astype(np.float32)[None]}


def _kept_nodes(model: Any) -> list[str]:
    return [node.name for node in model.graph.node if any(part in node.name for part in _KEPT)]


@contextmanager
def _quiet_log() -> Iterator[None]:
    """Drop advice and progress that onnxruntime.quantization writes to the root logger."""
    previous = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(previous)
