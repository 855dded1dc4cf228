# SPDX-License-Identifier: Apache-2.0
"""ONNX files of this package: metadata, reading, writing, and checks of files from elsewhere.

The metadata is one JSON object under one key of ONNX's ``metadata_props``.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from iid_mm.errors import InputError
from iid_mm.utils.dependencies import import_extra
from iid_mm.utils.files import write_bytes
from iid_mm.utils.typing import Size

EXTRA = 'onnx'
"""The extra that installs onnx and onnxruntime."""
KEY = 'iid_mm'
"""Name of the entry."""
FORMAT = 1
"""Version of the fields below; readers refuse a newer one."""
MAX_TEXT = 16 * 2**20
"""Characters of the entry."""
MAX_SIZE = 16384
MAX_NUMBER = 2**31
NMS_TYPES = ('nms', 'soft_nms')
NMS_METHODS = ('linear', 'gaussian', 'naive')
CLASS_NAMES = ('genuine', 'fake')
MAX_BYTES = 2**31 - 1
MAX_NODES = 100_000
MAX_VALUES = 2**30
"""Values of one tensor of one image: 4 GiB."""
MAX_CONSTANT = 1024
DOMAINS = ('', 'ai.onnx', 'com.microsoft')
REFUSED_OPS = ('Loop', 'Scan', 'EPContext', 'SequenceMap', 'ImageDecoder')
"""Loops may run without end; ``EPContext`` names a file."""
REMEDY = 'export the model again with tools/deployment/export_onnx.py'


def import_onnx() -> Any:
    """The package onnx.

    Raises:
        MissingExtraError: If it is not installed.
    """
    return import_extra('onnx', EXTRA)


@dataclass
class OnnxMetadata:
    """Metadata of an exported file.

    Attributes:
        input_size: (w, h) of the input in pixels.
        output_names: Outputs of the graph, in order.
        class_names: Meaning of the columns of ``logits``.
        level_sizes: Number of anchors of each level; empty for a plain classifier.
        test_cfg: Settings for the choice of boxes (score threshold, NMS and so on), as in the config.
        precision: ``fp32``, ``fp16``, ``int8-dynamic`` or ``int8-static``.
        checkpoint: Name of the checkpoint file, without folder; None for random weights.
        checkpoint_sha256: Its hash.
        config: Text of the config.
        calibration: ``meta['calibration']`` of the checkpoint; None if it has none.
        checks: Measurements of the export, see :func:`~iid_mm.deployment.export_onnx`.
        iid_mm_version: Version that wrote the file.
        format: :data:`FORMAT` of the writer.
    """

    input_size: Size
    output_names: list[str]
    class_names: list[str]
    level_sizes: list[int]
    test_cfg: dict[str, Any]
    precision: str
    checkpoint: str | None
    checkpoint_sha256: str | None
    config: str
    calibration: dict[str, Any] | None
    iid_mm_version: str
    checks: dict[str, Any] = field(default_factory=dict)
    format: int = FORMAT

    @property
    def temperature(self) -> float | None:
        """Divisor of the logits that calibrates the probabilities of frames; None if there is none."""
        return None if self.calibration is None else read_temperature(self.calibration)

    def to_json(self) -> str:
        """Text of the entry."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str, name: str) -> OnnxMetadata:
        """Read the entry.

        Args:
            text: Value of the entry.
            name: Name of the file in messages.

        Returns:
            The fields.

        Raises:
            InputError: If the entry is damaged, or of a newer version.
        """
        if len(text) > MAX_TEXT:
            raise InputError(f'{name}: its entry {KEY!r} is longer than {MAX_TEXT} characters; {REMEDY}')
        try:
            content = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise InputError(f'{name}: its entry {KEY!r} is no JSON ({error}); {REMEDY}') from error
        version = content.get('format') if isinstance(content, dict) else None
        if isinstance(version, int) and version > FORMAT:
            raise InputError(
                f'{name} was written by a newer iid_mm ({content.get("iid_mm_version")}); update iid_mm'
            )
        try:
            metadata = cls(**content)
            _check_kinds(metadata)
            metadata.input_size = _size(metadata.input_size)
            metadata.level_sizes = [_count(value) for value in metadata.level_sizes]
            _check_test_cfg(metadata.test_cfg, has_boxes=bool(metadata.level_sizes))
            read_temperature(metadata.calibration or {})
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            raise InputError(f'{name}: its entry {KEY!r} is damaged ({error}); {REMEDY}') from error
        return metadata


def read_temperature(calibration: dict[str, Any]) -> float | None:
    """Temperature for single frames in a checkpoint's ``meta['calibration']``; None if it names none.

    Args:
        calibration: ``temperature``, or an entry ``frame`` with it.

    Raises:
        InputError: If it is no number above 0.
    """
    entry = calibration.get('frame', calibration)
    value = entry.get('temperature') if isinstance(entry, dict) else entry
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
        raise InputError(f"calibration: 'temperature' is {value!r}, expected a number above 0")
    return float(value)


def _check_kinds(metadata: OnnxMetadata) -> None:
    """Check types that no other check covers; JSON may contain anything."""
    texts = [metadata.precision, metadata.config, metadata.iid_mm_version]
    texts += [text for text in (metadata.checkpoint, metadata.checkpoint_sha256) if text is not None]
    for names in (metadata.output_names, metadata.class_names, metadata.level_sizes, metadata.input_size):
        if not isinstance(names, (list, tuple)) or len(names) > MAX_SIZE:
            raise TypeError(f'{str(names)[:80]!r} is no list')
    for text in (*texts, *metadata.output_names, *metadata.class_names):
        if not isinstance(text, str):
            raise TypeError(f'{str(text)[:80]!r} is no text')
    if not isinstance(metadata.checks, dict) or not isinstance(metadata.calibration, (dict, type(None))):
        raise TypeError('checks or calibration is no object')
    if not isinstance(metadata.test_cfg, dict):
        raise TypeError(f'test_cfg is {str(metadata.test_cfg)[:80]!r}')
    if not isinstance(metadata.test_cfg.get('heat_map', ''), (str, type(None))):
        raise TypeError('test_cfg: heat_map is no text')


def _check_test_cfg(settings: dict[str, Any], has_boxes: bool) -> None:
    if not has_boxes:
        return
    _check_numbers(settings, ('score_thr', 'nms_pre', 'min_bbox_size', 'max_per_img'), 'test_cfg')
    nms = settings.get('nms')
    if 'max_per_img' not in settings or not isinstance(nms, dict):
        raise TypeError('test_cfg lacks nms or max_per_img')
    # mmcv evaluates the type as Python.
    if nms.get('type', 'nms') not in NMS_TYPES or nms.get('method', 'linear') not in NMS_METHODS:
        raise ValueError(f'test_cfg.nms is {str(nms)[:80]}; its type may be {" or ".join(NMS_TYPES)}')
    _check_numbers(nms, [name for name in nms if name not in ('type', 'method')], 'test_cfg.nms')


def _check_numbers(settings: dict[str, Any], names: Sequence[str], title: str) -> None:
    for name in names:
        value = settings.get(name, 0)
        is_flag = isinstance(value, bool) and name == 'class_agnostic'
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not is_flag and not (is_number and abs(value) < MAX_NUMBER):
            raise TypeError(f'{title}: {name} is {repr(value)[:80]}')


def _size(values: Any) -> Size:
    width, height = (_count(value) for value in values)
    if max(width, height) > MAX_SIZE:
        raise ValueError(f'input_size is {width} x {height}, more than {MAX_SIZE}')
    return width, height


def _count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value < MAX_NUMBER:
        raise ValueError(f'{str(value)[:80]} is no positive number')
    return value


def read_onnx(path: str | os.PathLike[str]) -> tuple[Any, OnnxMetadata]:
    """Read and check an exported file, without weights in other files.

    Args:
        path: The file.

    Returns:
        The ``onnx.ModelProto`` and its metadata.

    Raises:
        FileNotFoundError: If the file, or a file with its weights, does not exist.
        InputError: If it is no ONNX file, not of this package, or refused, see docs/deployment.md.
        MissingExtraError: If onnx is not installed.
    """
    onnx = import_onnx()
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    path = Path(path)
    if path.is_dir():
        raise InputError(f'ONNX file {path} is a folder; name the file in it')
    if not path.is_file():
        raise FileNotFoundError(f'ONNX file {path} does not exist')
    if path.stat().st_size > MAX_BYTES:
        raise InputError(f'{path} has more than {MAX_BYTES} bytes, the most that an ONNX file can have')
    model = onnx.ModelProto()
    try:
        model.ParseFromString(path.read_bytes())
    except DecodeError as error:
        raise InputError(f'{path} is no ONNX file, or is damaged: {error}') from error
    if not model.graph.node:
        raise InputError(f'{path} is no ONNX file, or is damaged: it has no graph')
    _check_external_data(model, path)
    entries = {entry.key: entry.value for entry in model.metadata_props}
    if KEY not in entries:
        raise InputError(
            f'{path} is an ONNX file of something else: it has no entry {KEY!r} in its metadata; '
            'make it with tools/deployment/export_onnx.py'
        )
    metadata = OnnxMetadata.from_json(entries[KEY], str(path))
    _check_graph(model, path)
    return model, metadata


def write_onnx(model: Any, metadata: OnnxMetadata, path: Path) -> None:
    """Write a model with its metadata.

    Args:
        model: ``onnx.ModelProto``; its entry of metadata is set.
        metadata: What the file says about itself.
        path: The file.
    """
    entries = [entry for entry in model.metadata_props if entry.key == KEY]
    entry = entries[0] if entries else model.metadata_props.add()
    entry.key, entry.value = KEY, metadata.to_json()
    write_bytes(path, model.SerializeToString())


def _check_external_data(model: Any, path: Path) -> None:
    """Check that weights in other files lie in the same folder."""
    folder = path.parent.resolve()
    for location in sorted(set(_external_locations(model))):
        parts = PureWindowsPath(location)
        inside = (
            location
            # ONNX Runtime reads such a location as an address in memory.
            and '*' not in location
            and '\0' not in location
            and not parts.drive
            and not parts.root
            and '..' not in parts.parts
            and not PurePosixPath(location).is_absolute()
            and (folder / location).resolve().is_relative_to(folder)
        )
        if not inside:
            raise InputError(
                f'{path} names weights in {location!r}, outside of its folder, and was not loaded; such a '
                'file may read any file of this machine'
            )
        if not (folder / location).is_file():
            raise FileNotFoundError(f'{path} needs its weights in {folder / location}, which does not exist')


def _check_graph(model: Any, path: Path) -> None:
    """Refuse code, loops and tensors that would fill the memory, which no exported detector has."""
    if model.functions or model.training_info:
        raise InputError(f'{path} has functions or training of its own, which are not run here; {REMEDY}')
    count = 0
    for node in _nodes(model.graph):
        count += 1
        if node.domain not in DOMAINS or node.op_type in REFUSED_OPS:
            name = f'{node.domain}:{node.op_type}' if node.domain else node.op_type
            raise InputError(f'{path} has an operator {name!r}, which is not run here; {REMEDY}')
    if count > MAX_NODES:
        raise InputError(f'{path} has {count} operators, more than {MAX_NODES}; {REMEDY}')
    for name, dims in _shapes(model, path):
        if math.prod(dims) > MAX_VALUES:
            raise InputError(
                f'{path}: the tensor {name[:80]!r} of an image would have the shape {dims[:8]}, more than '
                f'{MAX_VALUES} values; {REMEDY}'
            )


def _nodes(graph: Any) -> Iterator[Any]:
    """All operators of a graph and of those in its attributes."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (*attribute.graphs, *([attribute.g] if attribute.HasField('g') else [])):
                yield from _nodes(inner)


def _shapes(model: Any, path: Path) -> Iterator[tuple[str, list[int]]]:
    """Shapes of all tensors, as far as they are known without running the graph; 1 for an open size."""
    onnx = import_onnx()
    light = onnx.ModelProto()
    light.ir_version = model.ir_version
    light.opset_import.extend(model.opset_import)
    light.graph.name = 'shapes'
    for name in ('node', 'input', 'output'):
        getattr(light.graph, name).extend(getattr(model.graph, name))
    for tensor in model.graph.initializer:
        yield tensor.name, list(tensor.dims)
        if math.prod(tensor.dims) <= MAX_CONSTANT and tensor.data_location != tensor.EXTERNAL:
            light.graph.initializer.add().CopyFrom(tensor)
        else:
            # Shapes do not depend on weights.
            shape = onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims))
            light.graph.input.append(shape)
    try:
        graph = onnx.shape_inference.infer_shapes(light, data_prop=True).graph
    except Exception as error:
        # The package has errors of its own for each part of its C++ code.
        text = ' '.join(str(error).split())[:200]
        raise InputError(f'{path} is damaged: the shapes in its graph do not fit ({text})') from error
    for value in (*graph.value_info, *graph.output, *graph.input):
        dims = value.type.tensor_type.shape.dim
        yield value.name, [dim.dim_value if dim.HasField('dim_value') else 1 for dim in dims]


def _external_locations(message: Any) -> Iterator[str]:
    """Locations in all tensors below a protobuf message, wherever the format allows tensors."""
    if message.DESCRIPTOR.name == 'TensorProto':
        if message.data_location == message.EXTERNAL or message.external_data:
            entries = {entry.key: entry.value for entry in message.external_data}
            yield entries.get('location', '')
        return
    for descriptor, value in message.ListFields():
        if descriptor.type == descriptor.TYPE_MESSAGE:
            children = value if hasattr(value, '__len__') else [value]
            for child in children:
                yield from _external_locations(child)
