# SPDX-License-Identifier: Apache-2.0
"""File of what is kept of every frame for the localization metrics."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from iid_mm.errors import InputError
from iid_mm.evaluation.localization.maps import CENTER_SHARES, LEVELS
from iid_mm.evaluation.localization.table import LocalizationSample
from iid_mm.utils.files import replacing
from iid_mm.utils.parquet import open_parquet, read_parquet

_VALUES = pa.list_(pa.float64())
SCHEMA = pa.schema(
    [
        ('video_key', pa.string()),
        ('frame', pa.int32()),
        ('image', pa.string()),
        ('dataset', pa.string()),
        ('method', pa.string()),
        ('target_id', pa.string()),
        ('state', pa.int8()),
        ('score', pa.float64()),
        ('boxes', _VALUES),
        ('maps', _VALUES),
        ('center', _VALUES),
        ('grid', pa.binary()),
        ('mask_grid', pa.binary()),
    ]
)
"""Columns, see :class:`~.functional.localization_table.LocalizationSample`; arrays are flat, row by row."""
_SHAPES = {'boxes': (-1, 3), 'maps': (-1, 2 + len(LEVELS)), 'center': (len(CENTER_SHARES),)}


def write_localization(samples: Sequence[LocalizationSample], path: str | os.PathLike[str]) -> None:
    """Write frames to a Parquet file.

    Args:
        samples: The frames.
        path: The file; its folder is made.
    """
    columns = list(zip(*samples, strict=True)) or [()] * len(SCHEMA)
    arrays = [
        [np.ravel(value) for value in column] if field.type == _VALUES else list(column)
        for field, column in zip(SCHEMA, columns, strict=True)
    ]
    table = pa.table([pa.array(a, f.type) for a, f in zip(arrays, SCHEMA, strict=True)], schema=SCHEMA)
    with replacing(Path(path)) as temporary:
        pq.write_table(table, temporary, compression='zstd')


def read_localization(path: str | os.PathLike[str]) -> list[LocalizationSample]:
    """Read frames from a Parquet file.

    Args:
        path: A file of :func:`write_localization`.

    Returns:
        The frames.

    Raises:
        FileNotFoundError: If there is no such file.
        InputError: If it is none of these files.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f'localization file {path} does not exist')
    try:
        with open_parquet(path) as file:
            schema = file.schema_arrow
        table = read_parquet(path) if schema.equals(SCHEMA) else None
    except InputError as error:
        raise InputError(f'{path} is no localization file, or is damaged: {error}') from error
    if table is None:
        raise InputError(
            f'{path} is no localization file: it has the columns {", ".join(schema.names[:20])}; give the '
            'file that ArtifactLocalization wrote (samples_file)'
        )
    columns = {name: table[name].to_pylist() for name in SCHEMA.names}
    for name, shape in _SHAPES.items():
        try:
            columns[name] = [np.array(value, dtype=np.float64).reshape(shape) for value in columns[name]]
        except (TypeError, ValueError) as error:
            raise InputError(f'{path}: column {name!r} does not have the shape {shape}: {error}') from error
    rows = zip(*columns.values(), strict=True)
    return [LocalizationSample._make(row) for row in rows]
