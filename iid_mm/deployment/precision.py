# SPDX-License-Identifier: Apache-2.0
"""Smaller numbers in an exported file: half precision and 8-bit integers.

Preprocessing and decoding of boxes stay in single precision: pixels of boxes need more than 8 bits or 11.
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
from iid_mm.deployment.libraries import import_float16, import_onnx, import_quantization

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
        MissingExtraError: If onnx or onnxruntime is not installed.
    """
    float16 = import_float16()
    return float16.convert_float_to_float16(model, keep_io_types=True, node_block_list=_kept_nodes(model))


def to_int8_dynamic(model: Any) -> Any:
    """Convert weights to 8 bits; ranges of activations are found anew for every input.

    Args:
        model: ``onnx.ModelProto`` in single precision.

    Returns:
        The converted ``onnx.ModelProto``.

    Raises:
        MissingExtraError: If onnx or onnxruntime is not installed.
    """
    quantization = import_quantization()
    with tempfile.TemporaryDirectory() as folder, _quiet_log():
        source, target = _prepared(model, Path(folder))
        quantization.quantize_dynamic(
            source,
            target,
            # ConvInteger of ONNX Runtime's CPU provider takes unsigned weights only.
            weight_type=quantization.QuantType.QUInt8,
            nodes_to_exclude=_kept_nodes(import_onnx().load(source)),
        )
        return import_onnx().load(target)


def to_int8_static(model: Any, images: Sequence[torch.Tensor], *, reduce_range: bool = False) -> Any:
    """Convert weights and activations to 8 bits, with ranges of activations from examples.

    Weights are signed with one scale a channel, activations unsigned with one scale a tensor, in the
    quantize/dequantize form: what ONNX Runtime recommends for x86 processors.

    Args:
        model: ``onnx.ModelProto`` in single precision.
        images: Examples, (3, H, W), raw 0-255 BGR.
        reduce_range: Use 7 bits for weights, against overflow on x86 processors without VNNI.

    Returns:
        The converted ``onnx.ModelProto``.

    Raises:
        MissingExtraError: If onnx or onnxruntime is not installed.
    """
    quantization = import_quantization()
    with tempfile.TemporaryDirectory() as folder, _quiet_log():
        source, target = _prepared(model, Path(folder))
        quantization.quantize_static(
            source,
            target,
            _Examples(images),
            quant_format=quantization.QuantFormat.QDQ,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            per_channel=True,
            reduce_range=reduce_range,
            nodes_to_exclude=_kept_nodes(import_onnx().load(source)),
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


def _prepared(model: Any, folder: Path) -> tuple[Path, Path]:
    """Fold constants and infer shapes, as quantization asks for; paths of source and target."""
    from onnxruntime.quantization.shape_inference import quant_pre_process

    source = folder / 'source.onnx'
    # The symbolic inference is for transformers.
    quant_pre_process(model, source, skip_symbolic_shape=True)
    return source, folder / 'target.onnx'


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
