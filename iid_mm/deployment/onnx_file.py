# SPDX-License-Identifier: Apache-2.0
"""Reading and writing ONNX files of this package."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from iid_mm.deployment.libraries import import_onnx
from iid_mm.deployment.onnx_metadata import KEY, OnnxMetadata
from iid_mm.errors import InputError
from iid_mm.utils.files import write_bytes


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
    return model, OnnxMetadata.from_json(entries[KEY], str(path))


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
    write_bytes(model.SerializeToString(), path)


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
