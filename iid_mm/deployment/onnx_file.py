# SPDX-License-Identifier: Apache-2.0
"""Reading and writing ONNX files of this package."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from iid_mm.deployment.libraries import import_onnx
from iid_mm.deployment.onnx_metadata import KEY, OnnxMetadata
from iid_mm.errors import InputError
from iid_mm.utils.files import write_bytes

MAX_BYTES = 2**31 - 1
MAX_NODES = 100_000
MAX_VALUES = 2**30
"""Values of one tensor of one image: 4 GiB."""
MAX_CONSTANT = 1024
DOMAINS = ('', 'ai.onnx', 'com.microsoft')
REFUSED_OPS = ('Loop', 'Scan', 'EPContext', 'SequenceMap', 'ImageDecoder')
"""Loops may run without end; ``EPContext`` names a file."""


def read_onnx(path: str | os.PathLike[str]) -> tuple[Any, OnnxMetadata]:
    """Read an exported file, without the weights that lie outside of it, and check it.

    Args:
        path: The file.

    Returns:
        The ``onnx.ModelProto`` and what the file says about itself.

    Raises:
        FileNotFoundError: If there is no such file, or a file with weights that it names is missing.
        InputError: If it is no ONNX file, is not of this package, or names weights outside of its folder.
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
    check_external_data(model, path)
    entries = {entry.key: entry.value for entry in model.metadata_props}
    if KEY not in entries:
        raise InputError(
            f'{path} is an ONNX file of something else: it has no entry {KEY!r} in its metadata; '
            'make it with tools/deployment/export_onnx.py'
        )
    metadata = OnnxMetadata.from_json(entries[KEY], str(path))
    check_graph(model, path)
    return model, metadata


def write_onnx(model: Any, metadata: OnnxMetadata, path: Path) -> None:
    """Write a model with its metadata.

    Args:
        model: ``onnx.ModelProto``; its entry of metadata is set.
        metadata: What the file shall say about itself.
        path: The file.
    """
    entries = [entry for entry in model.metadata_props if entry.key == KEY]
    entry = entries[0] if entries else model.metadata_props.add()
    entry.key, entry.value = KEY, metadata.to_json()
    write_bytes(path, model.SerializeToString())


def check_external_data(model: Any, path: Path) -> None:
    """Check that weights which a file does not hold itself lie in its folder.

    Args:
        model: ``onnx.ModelProto``.
        path: Where it was read from.

    Raises:
        FileNotFoundError: If such a file is missing.
        InputError: If it lies elsewhere.
    """
    folder = path.parent.resolve()
    for location in sorted(set(_external_locations(model))):
        parts = PureWindowsPath(location)
        inside = (
            location
            # ONNX Runtime takes a location of this kind for an address in memory.
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


def check_graph(model: Any, path: Path) -> None:
    """Refuse what no exported detector has: code, loops, and tensors that would fill the memory.

    Args:
        model: ``onnx.ModelProto``.
        path: Where it was read from.

    Raises:
        InputError: There is such a thing in it.
    """
    advice = 'export the model again with tools/deployment/export_onnx.py'
    if model.functions or model.training_info:
        raise InputError(f'{path} has functions or training of its own, which are not run here; {advice}')
    count = 0
    for node in _nodes(model.graph):
        count += 1
        if node.domain not in DOMAINS or node.op_type in REFUSED_OPS:
            name = f'{node.domain}:{node.op_type}' if node.domain else node.op_type
            raise InputError(f'{path} has an operator {name!r}, which is not run here; {advice}')
    if count > MAX_NODES:
        raise InputError(f'{path} has {count} operators, more than {MAX_NODES}; {advice}')
    for name, dims in _shapes(model, path):
        if math.prod(dims) > MAX_VALUES:
            raise InputError(
                f'{path}: the tensor {name[:80]!r} of an image would have the shape {dims[:8]}, more than '
                f'{MAX_VALUES} values; {advice}'
            )


def _nodes(graph: Any) -> Iterator[Any]:
    """All operators of a graph and of those in its attributes."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (*attribute.graphs, *([attribute.g] if attribute.HasField('g') else [])):
                yield from _nodes(inner)


def _shapes(model: Any, path: Path) -> Iterator[tuple[str, list[int]]]:
    """Shapes of all tensors as far as they can be told without running the graph; 1 for what is open."""
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
            # Weights are not needed to tell shapes.
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
