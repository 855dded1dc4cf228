# SPDX-License-Identifier: Apache-2.0
"""Scores of single frames: in memory, and as the Parquet file that metrics are recomputed from."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from iid_mm.errors import InputError
from iid_mm.evaluation.functional.inputs import Coded, Labels, Names, Scores, check_scores, factorize
from iid_mm.evaluation.functional.per_method import ScoredSet, scored_set
from iid_mm.utils.files import replacing
from iid_mm.utils.parquet import open_parquet, read_parquet

SCORES_SCHEMA = pa.schema(
    [
        pa.field('dataset', pa.string(), nullable=False),
        pa.field('method', pa.string(), nullable=False),
        pa.field('video_key', pa.string(), nullable=False),
        pa.field('frame', pa.int32(), nullable=False),
        pa.field('label', pa.int8(), nullable=False),
        pa.field('score', pa.float64(), nullable=False),
        pa.field('image', pa.string(), nullable=False),
        pa.field('target_id', pa.string()),
        pa.field('split', pa.string()),
    ]
)
"""Columns of a scores file: ``score`` = probability of fake, ``label`` 0 = genuine, 1 = fake, ``target_id``
= person whose head it is, and scene (null: unknown), ``split`` = the split of the index (null: unknown)."""

OPTIONAL_COLUMNS = ('target_id', 'split')
"""Columns that files of earlier versions lack; they are read as null."""
_REPEATING = ('dataset', 'method', 'video_key', *OPTIONAL_COLUMNS)
_ROWS_A_GROUP = 1_000_000


def _memory_type(field: pa.Field) -> pa.DataType:
    if field.name in _REPEATING:
        return pa.dictionary(pa.int32(), pa.string())
    # Offsets of 32 bits end at 2 GB of names, some 30 million images.
    return pa.large_string() if field.name == 'image' else field.type


_MEMORY_SCHEMA = pa.schema([field.with_type(_memory_type(field)) for field in SCORES_SCHEMA])


@dataclass(frozen=True)
class FrameScores:
    """Scores of N faces, sorted by (video_key, frame, image).

    Made by :meth:`from_columns` or :func:`read_scores`. Repeating names are stored once: 3 million faces
    take about 0.4 GB, most of it the paths of the images.

    Attributes:
        table: The columns of :data:`SCORES_SCHEMA`; repeating names are of dictionary type.
    """

    table: pa.Table

    def __len__(self) -> int:
        return int(self.table.num_rows)

    @property
    def dataset(self) -> Names:
        """(N,) str; equal names share one object, here and below."""
        return np.asarray(self.coded('dataset'))

    @property
    def method(self) -> Names:
        """(N,) str, the manipulation of a fake, the source folder of a genuine one."""
        return np.asarray(self.coded('method'))

    @property
    def video_key(self) -> Names:
        """(N,) str, ``dataset/method/compression/video``; :meth:`coded` is faster."""
        return np.asarray(self.coded('video_key'))

    @cached_property
    def frame(self) -> npt.NDArray[np.int64]:
        """(N,) int64, number in the video."""
        return np.asarray(self.table['frame'].to_numpy(), dtype=np.int64)

    @cached_property
    def label(self) -> Labels:
        """(N,) int64, 0 = genuine, 1 = fake."""
        return np.asarray(self.table['label'].to_numpy(), dtype=np.int64)

    @cached_property
    def score(self) -> Scores:
        """(N,) float64, probability of fake."""
        return np.asarray(self.table['score'].to_numpy(), dtype=np.float64)

    @property
    def image(self) -> Names:
        """(N,) str, path of the crop; created at every call, which costs memory for large N."""
        return self._with_nulls('image')

    @property
    def target_id(self) -> Names:
        """(N,) str or None (unknown): the person whose head it is, and the scene."""
        return self._with_nulls('target_id')

    @property
    def split(self) -> Names:
        """(N,) str or None (unknown): the split of the index."""
        return self._with_nulls('split')

    def coded(self, name: str) -> Coded:
        """A column of repeating names as integers.

        Args:
            name: 'dataset', 'method' or 'video_key'; 'target_id' or 'split' where no row lacks it.

        Returns:
            The column; codes are in ascending order of the names.

        Raises:
            InputError: The column has nulls.
        """
        cache: dict[str, Coded] = self.__dict__.setdefault('_coded', {})
        if name not in cache:
            cache[name] = factorize(self.table[name], argument=f'column {name} of the scores')
        return cache[name]

    def _with_nulls(self, name: str) -> Names:
        column = self.table[name].unify_dictionaries() if name in _REPEATING else self.table[name]
        if name not in _REPEATING:
            return np.asarray(column.to_numpy(), dtype=object)
        # One object per name instead of one per row; the last one stands for null.
        dictionary = column.chunk(0).dictionary.to_pylist() if column.num_chunks else []
        names = np.array([*dictionary, None], dtype=object)
        codes = [np.asarray(pc.fill_null(chunk.indices, len(dictionary))) for chunk in column.chunks]
        return names[np.concatenate([np.empty(0, dtype=np.int32), *codes])]

    def by_video(self, how: str = 'mean', k: int = 3, *, name: str = 'the set') -> ScoredSet:
        """Aggregate the faces of each video.

        Args:
            how: How the scores of faces make that of a video, see
                :func:`~.functional.aggregate.video_scores`.
            k: Faces of ``how='topk'``.
            name: Name of the scores in error messages.

        Returns:
            Scores of faces and videos, with the subsets that metrics are computed of.

        Raises:
            InputError: There are no scores, one is NaN, or a video has two labels.
        """
        check_scores(self.score, self.label, name=name)
        names = (self.coded(column) for column in ('video_key', 'method', 'dataset'))
        return scored_set(self.score, self.label, *names, how=how, k=k)

    def select(self, chosen: npt.NDArray[Any]) -> FrameScores:
        """Some of the faces.

        Args:
            chosen: (N,) bool, or (M,) positions in ascending order.

        Returns:
            Their scores.
        """
        if chosen.dtype == bool:
            return FrameScores(self.table.filter(pa.array(chosen)))
        return FrameScores(self.table.take(pa.array(chosen)))

    @classmethod
    def from_columns(cls, columns: Mapping[str, Any]) -> FrameScores:
        """Sort rows and remove those that the padding of a distributed sampler repeated.

        The same (video_key, frame, image) is the same face. The image is part of it because one frame can
        show several faces. Of repeated rows the first is kept.

        Args:
            columns: By name, (N,) sequences, NumPy or Arrow arrays or :class:`~.functional.inputs.Coded`;
                ``target_id`` and ``split`` may be absent and may hold None.

        Returns:
            The scores in an order that does not depend on that of the rows, so that sums over them are equal
            to the last bit for any number of processes.

        Raises:
            InputError: A column is missing, has another length, or a value it cannot hold.
        """
        missing = [name for name in SCORES_SCHEMA.names if name not in {*columns, *OPTIONAL_COLUMNS}]
        if missing:
            raise InputError(f'scores without the column {", ".join(missing)}; give it for every face')
        size = len(columns['score'])
        arrays = {field.name: _arrow_column(columns.get(field.name), field, size) for field in _MEMORY_SCHEMA}
        return cls(_sorted_unique(pa.table(arrays, schema=_MEMORY_SCHEMA)))


def _arrow_column(values: Any, field: pa.Field, size: int) -> pa.Array | pa.ChunkedArray:
    if values is None:
        values = pa.nulls(size, pa.string())
    if len(values) != size:
        raise InputError(f'column {field.name} of the scores has {len(values)} rows, score has {size}')
    try:
        if isinstance(values, Coded):
            values = pa.DictionaryArray.from_arrays(
                pa.array(values.codes, pa.int32()), pa.array(values.names, pa.string())
            )
        elif not isinstance(values, pa.Array | pa.ChunkedArray):
            values = pa.array(values, pa.string() if field.name in _REPEATING else field.type)
        return values.cast(field.type)
    except (pa.ArrowException, OverflowError, TypeError) as error:
        raise InputError(
            f'column {field.name} of the scores cannot hold what it was given: {error}'
        ) from error


def _check_nulls(table: pa.Table, name: str) -> None:
    for field in SCORES_SCHEMA:
        nulls = table[field.name].null_count
        if nulls and not field.nullable:
            raise InputError(f'{name}: column {field.name} is empty in {nulls} of {table.num_rows} rows')


def _sorted_unique(table: pa.Table) -> pa.Table:
    """Sort by (video_key, frame, image) and keep the first of equal rows."""
    _check_nulls(table, 'the scores')
    table = table.unify_dictionaries()
    video = factorize(table['video_key']).codes
    frame = np.asarray(table['frame'].to_numpy(), dtype=np.int64)
    order = np.lexsort((frame, video))
    video, frame = video[order], frame[order]
    equal = np.flatnonzero((video[1:] == video[:-1]) & (frame[1:] == frame[:-1]))
    if equal.size:
        # Only the few faces that share a frame are compared by their image.
        tied = np.union1d(equal, equal + 1)
        image = np.zeros(order.size, dtype=np.int64)
        image[tied] = factorize(table['image'].take(pa.array(order[tied]))).codes
        again = tied[np.lexsort((order[tied], image[tied], frame[tied], video[tied]))]
        order[tied], image[tied] = order[again], image[again]
        repeated = np.zeros(order.size, dtype=bool)
        repeated[1:] = (video[1:] == video[:-1]) & (frame[1:] == frame[:-1]) & (image[1:] == image[:-1])
        order = order[~repeated]
    if order.size == table.num_rows and np.array_equal(order, np.arange(order.size)):
        return table
    return table.take(pa.array(order))


def write_scores(scores: FrameScores, path: str | os.PathLike[str]) -> Path:
    """Write a scores file; a reader sees the old file or the whole new one.

    Equal scores give an equal file, byte by byte.

    Args:
        scores: The scores; NaN is kept, so that a diverged run can be examined.
        path: The Parquet file; its folder is created.

    Returns:
        The path.
    """
    target = Path(path)
    with (
        replacing(target) as temporary,
        pq.ParquetWriter(temporary, SCORES_SCHEMA, compression='zstd') as writer,
    ):
        # Plain strings: the order of a dictionary in memory varies and would change the bytes.
        for start in range(0, max(len(scores), 1), _ROWS_A_GROUP):
            writer.write_table(scores.table.slice(start, _ROWS_A_GROUP).cast(SCORES_SCHEMA))
    return target


def read_scores(path: str | os.PathLike[str]) -> FrameScores:
    """Read a scores file.

    Args:
        path: A file that :func:`write_scores` wrote, also one of an earlier version, without
            ``target_id`` and ``split``.

    Returns:
        The scores, in the order of the file.

    Raises:
        FileNotFoundError: There is no such file.
        InputError: The file is not Parquet, lacks a column, has one of another type or empty cells where
            there must be none, or would expand out of proportion in memory.
    """
    source = Path(path)
    if not source.is_file():
        raise FileNotFoundError(f'scores file {source} does not exist; tools/test.py writes one with --out')
    needed = [name for name in SCORES_SCHEMA.names if name not in OPTIONAL_COLUMNS]
    try:
        with open_parquet(source) as file:
            present = file.schema_arrow.names
        missing = [name for name in needed if name not in present]
        names = [name for name in SCORES_SCHEMA.names if name in present]
        table = read_parquet(source, [] if missing else names, keep_dictionaries=_REPEATING)
    except InputError as error:
        raise InputError(
            f'scores file {source} cannot be read as Parquet with the columns of a scores file: {error}'
        ) from error
    if missing:
        raise InputError(
            f'scores file {source} has no column {", ".join(missing)}; it must have {", ".join(needed)}'
        )
    for name in OPTIONAL_COLUMNS:
        if name not in present:
            table = table.append_column(name, pa.nulls(table.num_rows, pa.string()))
    _check_nulls(table, f'scores file {source}')
    columns = []
    for field in _MEMORY_SCHEMA:
        column = table.column(field.name)
        try:
            columns.append(column.cast(field.type))
        except (pa.ArrowException, TypeError) as error:
            raise InputError(
                f'scores file {source}, column {field.name!r}: type {column.type}, expected '
                f'{SCORES_SCHEMA.field(field.name).type} ({error})'
            ) from error
    table = pa.table(columns, schema=_MEMORY_SCHEMA).unify_dictionaries()
    return FrameScores(table)
