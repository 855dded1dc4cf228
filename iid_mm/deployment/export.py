# SPDX-License-Identifier: Apache-2.0
"""Writing a detector as an ONNX file."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from iid_mm.deployment.export_graph import INPUT_NAME, ExportGraph, fixed_padding
from iid_mm.deployment.onnx_detector import OnnxDetector
from iid_mm.deployment.onnx_file import CLASS_NAMES, OnnxMetadata, import_onnx, read_temperature, write_onnx
from iid_mm.deployment.parity import Comparison, Faces, compare, load_faces, random_batches
from iid_mm.deployment.precision import PRECISIONS, to_half, to_int8
from iid_mm.errors import InputError
from iid_mm.models import IIDDetector
from iid_mm.models.build import init_model
from iid_mm.utils.checkpoint import load_weights
from iid_mm.utils.config import pipeline_input_size
from iid_mm.utils.files import check_output, replacing, sha256
from iid_mm.version import __version__

OPSETS = range(13, 21)
"""13: the first with one scale a channel; 20: the last of PyTorch's tracing exporter."""
FILE_LIMIT = 2**31 - 2**20
"""Bytes of weights that fit into one ONNX file (2 GiB) beside the graph."""
BOX_TOLERANCE = 1.0
"""Limit for differences of a box corner, pixels, in single precision; rounding gives 0.01 at most."""


@dataclass(frozen=True)
class ExportOptions:
    """Options of an export.

    Attributes:
        opset: Version of the ONNX operators.
        precision: ``fp32``, ``fp16``, ``int8-dynamic`` or ``int8-static``.
        tolerance: Limit for differences of a probability (of fake, or of an anchor's artifact) in single
            precision.
        index: Index of real faces for the check and for the calibration of ``int8-static``.
        split: Split of the faces for the check.
        calibration_split: Split of the faces for the calibration of ``int8-static``.
        faces: Number of faces for the check, and for the calibration.
        reduce_range: See :func:`~iid_mm.deployment.precision.to_int8`.

    Raises:
        InputError: If a value is invalid.
    """

    opset: int = 17
    precision: str = 'fp32'
    tolerance: float = 1e-4
    index: str | os.PathLike[str] | None = None
    split: str = 'val'
    calibration_split: str = 'train'
    faces: int = 128
    reduce_range: bool = False

    def __post_init__(self) -> None:
        if self.opset not in OPSETS:
            raise InputError(f'--opset {self.opset}: choose {OPSETS[0]} to {OPSETS[-1]}')
        if self.precision not in PRECISIONS:
            raise InputError(f'precision={self.precision!r}: choose one of {", ".join(PRECISIONS)}')
        if not self.tolerance > 0:
            raise InputError(f'--tolerance {self.tolerance}: must be above 0')
        if self.precision == 'int8-static' and self.index is None:
            raise InputError('--int8 static needs --index, whose faces give the ranges of activations')


class ParityError(InputError):
    """The exported model differs from the PyTorch model."""


def export_checkpoint(
    config: str | os.PathLike[str],
    checkpoint: str | os.PathLike[str],
    out: str | os.PathLike[str],
    options: ExportOptions | None = None,
    *,
    cfg_options: dict[str, Any] | None = None,
    trust: bool = False,
    report: Callable[[str], None] = lambda line: None,
) -> OnnxMetadata:
    """Export a checkpoint.

    Args:
        config: Config file.
        checkpoint: Its weights.
        out: ONNX file to write.
        options: Options of the export.
        cfg_options: Values that replace those of the config.
        trust: Whether to run code that the checkpoint may contain.
        report: Called with a line for each measurement.

    Returns:
        Metadata of the file.

    Raises:
        FileNotFoundError: If a file does not exist.
        InputError: If an argument or option is bad, or the model cannot be exported.
        ParityError: See :func:`export_onnx`.
        MissingExtraError: If onnx or onnxruntime is not installed.
    """
    import_onnx()
    check_output(out, [config, checkpoint], option='output')
    model = init_model(config, cfg_options=cfg_options)
    meta = load_weights(model, checkpoint, trust=trust).get('meta')
    calibration = meta.get('calibration') if isinstance(meta, dict) else None
    return export_onnx(model, out, options, checkpoint=checkpoint, calibration=calibration, report=report)


def export_onnx(
    model: IIDDetector,
    out: str | os.PathLike[str],
    options: ExportOptions | None = None,
    *,
    checkpoint: str | os.PathLike[str] | None = None,
    calibration: dict[str, Any] | None = None,
    report: Callable[[str], None] = lambda line: None,
) -> OnnxMetadata:
    """Export a model, compare it with PyTorch, and only then put the file in place.

    Args:
        model: The detector of :func:`~iid_mm.apis.init_model`, on the CPU.
        out: ONNX file to write; it appears whole or not at all.
        options: Options of the export.
        checkpoint: File of its weights, for the metadata.
        calibration: ``meta['calibration']`` of the checkpoint.
        report: Called with a line for each measurement.

    Returns:
        Metadata of the file. ``checks`` has the differences to PyTorch in single precision on random images
        (``random``) and faces (``faces``), and those in a lower precision (``converted_random``,
        ``converted_faces``), see :class:`~iid_mm.deployment.parity.Comparison`.

    Raises:
        InputError: If an argument or option is bad, or the model cannot be exported.
        ParityError: If probabilities, in single precision, differ by more than the tolerance, or boxes by
            more than a pixel.
        MissingExtraError: If onnx or onnxruntime is not installed.
    """
    options = options or ExportOptions()
    onnx = import_onnx()
    out = Path(out)
    if out.suffix != '.onnx' or out.is_dir():
        raise InputError(f'output {out}: name a file that ends in .onnx')
    _check_size(model)
    size = pipeline_input_size(model.cfg)
    graph = ExportGraph(model, size).eval()
    faces = None
    if options.index is not None:
        faces = load_faces(model.cfg, options.index, split=options.split, count=options.faces)
    metadata = _describe(graph, options, checkpoint, calibration)
    with replacing(out) as file:
        trace_graph(graph, options.opset, file)
        document = onnx.load(file)
        metadata.precision = 'fp32'
        write_onnx(document, metadata, file)
        checks = _measure(graph, file, faces, report, title='')
        _check_parity(list(checks.values()), options.tolerance, out)
        if options.precision != 'fp32':
            document = _convert(document, model, options, faces)
            metadata.precision = options.precision
            write_onnx(document, metadata, file)
            converted = _measure(graph, file, faces, report, title=f'{options.precision}: ')
            checks |= {f'converted_{name}': comparison for name, comparison in converted.items()}
        metadata.checks = {name: asdict(comparison) for name, comparison in checks.items()}
        write_onnx(document, metadata, file)
    return metadata


def _check_parity(comparisons: Sequence[Comparison], tolerance: float, out: Path) -> None:
    """Refuse differences above the tolerance, and NaN."""
    for what, limit in (('probability', tolerance), ('score', tolerance), ('box', BOX_TOLERANCE)):
        found = [getattr(comparison, what) for comparison in comparisons]
        worst = float(np.max([value for value in found if value is not None] or [0.0]))
        if not worst <= limit:
            raise ParityError(
                f'{out} was not written: the exported model differs from PyTorch by {worst:.3g} in a {what}, '
                f'more than {limit:g} (--tolerance for probabilities and scores); try another --opset'
            )


def trace_graph(graph: ExportGraph, opset: int, path: Path) -> None:
    """Write a graph as ONNX with a dynamic number of images.

    Args:
        graph: The graph, in evaluation mode.
        opset: Version of the ONNX operators.
        path: The file.
    """
    example = random_batches(graph.size)[-1].float()
    names = [INPUT_NAME, *graph.output_names]
    with torch.no_grad(), warnings.catch_warnings(), fixed_padding(graph):
        warnings.simplefilter('ignore')
        # Traced before the export: within it mmdet's coders take a path that needs a removed part of mmdet.
        traced = torch.jit.trace(graph, (example,), check_trace=False)
        torch.onnx.export(
            traced,
            (example,),
            str(path),
            input_names=names[:1],
            output_names=names[1:],
            dynamic_axes={name: {0: 'N'} for name in names},
            opset_version=opset,
            # The tracing exporter needs only onnx.
            dynamo=False,
        )


def _check_size(model: IIDDetector) -> None:
    tensors = [*model.parameters(), *model.buffers()]
    size = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    if size > FILE_LIMIT:
        raise InputError(
            f'the model has {size / 2**30:.1f} GiB of weights, and an ONNX file holds 2 GiB; use a smaller '
            'one, e.g. with neck=dict(channels=256)'
        )


def _describe(
    graph: ExportGraph,
    options: ExportOptions,
    checkpoint: str | os.PathLike[str] | None,
    calibration: dict[str, Any] | None,
) -> OnnxMetadata:
    """Metadata without measurements."""
    if calibration is not None:
        if not isinstance(calibration, dict):
            raise InputError(
                f"meta['calibration'] of the checkpoint is {calibration!r}, expected a dictionary"
            )
        read_temperature(calibration)
        try:
            json.dumps(calibration)
        except TypeError as error:
            raise InputError(f"meta['calibration'] of the checkpoint is not plain data: {error}") from error
    head = graph.network.artifact_head
    return OnnxMetadata(
        input_size=graph.size,
        output_names=graph.output_names,
        class_names=list(CLASS_NAMES),
        level_sizes=graph.level_sizes,
        test_cfg={} if head is None or head.test_cfg is None else head.test_cfg.to_dict(),
        precision=options.precision,
        checkpoint=None if checkpoint is None else Path(checkpoint).name,
        checkpoint_sha256=None if checkpoint is None else sha256(checkpoint),
        config=graph.network.cfg.pretty_text,
        calibration=calibration,
        iid_mm_version=__version__,
    )


def _convert(document: Any, model: IIDDetector, options: ExportOptions, faces: Faces | None) -> Any:
    if options.precision == 'fp16':
        return to_half(document)
    if options.precision == 'int8-dynamic':
        return to_int8(document)
    assert options.index is not None
    examples = load_faces(
        model.cfg,
        options.index,
        split=options.calibration_split,
        count=options.faces,
        without=() if faces is None else faces.paths,
    )
    return to_int8(document, examples.images, reduce_range=options.reduce_range)


def _measure(
    graph: ExportGraph, file: Path, faces: Faces | None, report: Callable[[str], None], title: str
) -> dict[str, Comparison]:
    """Compare a file with PyTorch on random images and, where there are some, on faces."""
    detector = OnnxDetector(file, providers=['CPUExecutionProvider'], num_threads=torch.get_num_threads())
    found = {'random': compare(graph, detector, random_batches(graph.size))}
    if faces is not None:
        found['faces'] = compare(graph, detector, faces.batches(), faces.labels)
    for name, comparison in found.items():
        report(f'{title}{name}: {comparison}')
    return found
