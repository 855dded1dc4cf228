# SPDX-License-Identifier: Apache-2.0
"""Localization results of single frames: in memory, and as the Parquet file that metrics are recomputed from.

L is the number of levels at which maps are cut, C the number of centered boxes that serve as baselines.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from iid_mm.errors import InputError
from iid_mm.evaluation.localization.maps import CENTER_SHARES, LEVELS
from iid_mm.utils.files import replacing
from iid_mm.utils.parquet import open_parquet, read_parquet

Values = npt.NDArray[np.float64]
GENUINE, SCORED, NO_MASK, EMPTY_MASK = range(4)
"""State of a frame: genuine; fake with a mask; fake without one; fake whose mask is empty on the canvas."""
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
"""Columns, see :class:`LocalizationSample`; arrays are flattened row by row."""
_SHAPES = {'boxes': (-1, 3), 'maps': (-1, 2 + len(LEVELS)), 'center': (len(CENTER_SHARES),)}


class LocalizationSample(NamedTuple):
    """Localization results of one frame.

    Attributes:
        video_key: ``dataset/method/compression/video``.
        frame: Frame number.
        image: Path of the image.
        dataset: Dataset.
        method: Manipulation of a fake.
        target_id: Person whose head it is, shared by a fake and its genuine frame; '' if unknown.
        state: ``GENUINE``, ``SCORED``, ``NO_MASK`` or ``EMPTY_MASK``.
        score: Probability of fake of the whole face.
        boxes: (m, 3) score, overlap with the mask's bounding box (0 on genuine faces) and share of the canvas
            of every predicted box.
        maps: (3, 2 + L) pointing, energy and the overlaps at all levels of the predicted map (NaN without
            one), the center map and the flat map; empty if the frame is not ``SCORED``.
        center: (C,) overlaps of the centered boxes with the mask's bounding box; 0 on genuine faces.
        grid: Bytes of the reduced map, (28, 28) uint8; empty without a map.
        mask_grid: Bytes of the reduced mask, (28, 28) packed bits; empty if the frame is not ``SCORED``.
    """

    video_key: str
    frame: int
    image: str
    dataset: str
    method: str
    target_id: str
    state: int
    score: float
    boxes: Values
    maps: Values
    center: Values
    grid: bytes
    mask_grid: bytes

    @property
    def scene(self) -> tuple[str, str, str, int] | None:
        """What a fake shares with its genuine frame: dataset, compression, person, frame; None: unknown."""
        parts = self.video_key.split('/')
        if not self.target_id or len(parts) < 3:
            return None
        return self.dataset, parts[2], self.target_id, self.frame


def unique_samples(samples: Sequence[LocalizationSample]) -> list[LocalizationSample]:
    """Drop repeated frames and sort, so that the number of processes does not matter."""
    known = {(sample.video_key, sample.frame, sample.image): sample for sample in samples}
    return [known[key] for key in sorted(known)]


def write_localization(samples: Sequence[LocalizationSample], path: str | os.PathLike[str]) -> None:
    """Write frames to a Parquet file.

    Args:
        samples: The frames.
        path: The file; its folder is created.
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
        FileNotFoundError: There is no such file.
        InputError: It is no localization file.
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
