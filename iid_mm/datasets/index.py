# SPDX-License-Identifier: Apache-2.0
"""The index of a prepared set; its columns are defined only here.

One Parquet file lists the face crops of a set, one row a crop, sorted by video and frame. Paths are
relative to the folder of the index and use ``/``, so a prepared folder can be moved as a whole.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from iid_mm.datasets.table_checks import cast_column, check_lists, fail_first, same_kind
from iid_mm.errors import InputError, InvalidIndexError
from iid_mm.utils.files import replacing
from iid_mm.utils.parquet import open_parquet, read_parquet

INDEX_VERSION = '1'
SPLITS = ('train', 'val', 'test')
LANDMARK_COUNTS = (68, 81)

_STRING, _FLOATS, _INTS = pa.string(), pa.list_(pa.float32()), pa.list_(pa.int32())

INDEX_SCHEMA = pa.schema(
    [
        pa.field('image', _STRING, nullable=False),
        pa.field('source_image', _STRING),
        pa.field('landmarks', _FLOATS, nullable=False),
        pa.field('label', pa.int8(), nullable=False),
        pa.field('dataset', _STRING, nullable=False),
        pa.field('method', _STRING, nullable=False),
        pa.field('compression', _STRING, nullable=False),
        pa.field('video_key', _STRING, nullable=False),
        pa.field('frame', pa.int32(), nullable=False),
        pa.field('split', _STRING, nullable=False),
        pa.field('target_id', _STRING),
        pa.field('source_id', _STRING),
        pa.field('crop_window', _INTS, nullable=False),
        pa.field('detector_score', pa.float32(), nullable=False),
        pa.field('mask', _STRING),
    ]
)
"""Columns of the index, in order; the fields that are not nullable must be filled in every row."""

_PATH_COLUMNS = ('image', 'source_image', 'mask')
_KEY_PARTS = ('dataset', 'method', 'compression')
_PLAIN_STRINGS = [field.name for field in INDEX_SCHEMA if pa.types.is_string(field.type)]
# Empty, absolute, with a drive letter, a backslash, a NUL or a `..` step; or a URL.
_BAD_PATH = r'^$|^/|^[A-Za-z]:|\\|\x00|(^|/)\.\.(/|$)|://'
_BAD_PATH_RE = re.compile(_BAD_PATH)


def make_video_key(dataset: str, method: str, compression: str, video: str) -> str:
    """Name a video uniquely across datasets, manipulations and compressions.

    Args:
        dataset: Name of the dataset, e.g. ``ffpp``.
        method: Manipulation, or the source folder of a genuine video, e.g. ``youtube``.
        compression: ``raw``, ``c23``, ``c40``, or ``native``.
        video: Name of the video without suffix; may hold ``/``.

    Returns:
        ``dataset/method/compression/video``.

    Raises:
        InputError: If a part is empty, or one of the first three holds a ``/``.
    """
    parts = dict(zip((*_KEY_PARTS, 'video'), (dataset, method, compression, video), strict=True))
    for name, value in parts.items():
        if not value or (name != 'video' and '/' in value):
            rule = 'must not be empty' + ('' if name == 'video' else " nor contain '/'")
            raise InputError(f'{name}={value!r}: a part of a video key {rule}')
    return '/'.join(parts.values())


def resolve_inside(root: str | os.PathLike[str], relative: str) -> Path:
    """Join a path of the index to its root and refuse a path that leaves the root.

    Only the text of the path is checked: symbolic links below the root are followed, since the folders of
    large sets often lie on other disks.

    Args:
        root: Folder of the index.
        relative: Path with ``/`` relative to ``root``.

    Returns:
        ``root / relative``.

    Raises:
        InvalidIndexError: If the path is empty, absolute, a URL, or has ``..`` or backslashes.
    """
    if _BAD_PATH_RE.search(relative):
        raise InvalidIndexError(
            f'path {relative!r} does not stay inside {os.fspath(root)!r}: '
            "use a relative path with '/' and without '..'"
        )
    return Path(root) / PurePosixPath(relative)


def write_index(
    rows: Sequence[Mapping[str, Any]] | pa.Table,
    path: str | os.PathLike[str],
    *,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Validate, sort and write an index.

    Equal rows and metadata give equal bytes, whatever the order of the rows. The file appears whole
    or not at all.

    Args:
        rows: Rows, or a table, with the columns of :data:`INDEX_SCHEMA`; columns that may be null
            may be left out.
        path: Where to write; missing folders are made.
        metadata: Notes kept in the file, e.g. how it was prepared. Times and machine paths in
            it would make files of equal content differ.

    Raises:
        InvalidIndexError: If a row breaks the schema.
    """
    path = Path(path)
    table = rows if isinstance(rows, pa.Table) else _table_from_rows(rows, str(path))
    if extra := sorted(set(table.column_names) - set(INDEX_SCHEMA.names)):
        raise InvalidIndexError(
            f'{path}: unknown column(s) {", ".join(extra)}; known: {", ".join(INDEX_SCHEMA.names)}'
        )
    for field in INDEX_SCHEMA:
        if field.nullable and field.name not in table.column_names:
            table = table.append_column(field, pa.nulls(table.num_rows, field.type))
    table = validate_index(table, name=str(path))
    order = [(name, 'ascending') for name in ('video_key', 'frame', 'image')]
    table = table.take(pc.sort_indices(table, sort_keys=order)).combine_chunks()
    notes = {'iid_mm.index_version': INDEX_VERSION, **(metadata or {})}
    table = table.replace_schema_metadata(dict(sorted(notes.items())))

    with replacing(path) as temporary:
        # Every option that changes the bytes is written out: defaults move between releases.
        pq.write_table(
            table,
            temporary,
            version='2.6',
            data_page_version='1.0',
            compression='zstd',
            compression_level=3,
            use_dictionary=_PLAIN_STRINGS,
            row_group_size=65536,
            write_statistics=True,
        )


def read_index(path: str | os.PathLike[str], *, columns: Sequence[str] | None = None) -> pa.Table:
    """Read and validate an index.

    Args:
        path: The Parquet file.
        columns: Names of the columns to read; None reads all. Only what is read is validated, but
            the file must have every column.

    Returns:
        Table with the wanted columns in the order of the schema; columns that the schema does not
        know are left out. The notes given to :func:`write_index` are in ``table.schema.metadata``.

    Raises:
        FileNotFoundError: If there is no such file.
        InvalidIndexError: If it is not an index, breaks the schema, or would grow out of all proportion in
            memory, see :mod:`iid_mm.utils.parquet`.
        InputError: If ``columns`` names an unknown column.
    """
    path = Path(path)
    wanted = list(INDEX_SCHEMA.names)
    if columns is not None:
        if unknown := sorted(set(columns) - set(wanted)):
            raise InputError(
                f'columns={list(columns)!r}: the index has no column {", ".join(unknown)}; '
                f'choose from {", ".join(wanted)}'
            )
        wanted = [name for name in wanted if name in columns]
    if not path.exists():
        raise FileNotFoundError(f'index {str(path)!r} does not exist; make it with tools/prepare_data.py')
    if path.is_dir():
        raise InvalidIndexError(f'index {str(path)!r} is a folder; give the Parquet file inside it')
    try:
        with open_parquet(path) as file:
            schema = file.schema_arrow
        _check_columns(schema.names, INDEX_SCHEMA.names, str(path))
        for name in wanted:
            found, expected = schema.field(name).type, INDEX_SCHEMA.field(name).type
            if not same_kind(found, expected):
                raise InvalidIndexError(f'{path}, column {name!r}: type {found}, expected {expected}')
        table = read_parquet(path, wanted)
    except InvalidIndexError:
        raise
    except InputError as error:
        raise InvalidIndexError(str(error)) from error
    return _validate(table, str(path))


def validate_index(table: pa.Table, *, name: str) -> pa.Table:
    """Check a table against the schema.

    Args:
        table: Table with all columns of :data:`INDEX_SCHEMA`, in any order.
        name: What to call the table in messages, usually its path.

    Returns:
        The table in the order and with the types of the schema: wider types of the same kind
        (``large_string``, int64, float64) are converted.

    Raises:
        InvalidIndexError: On the first rule that is broken.
    """
    _check_columns(table.column_names, INDEX_SCHEMA.names, name)
    return _validate(table.select(INDEX_SCHEMA.names), name)


def _table_from_rows(rows: Sequence[Mapping[str, Any]], name: str) -> pa.Table:
    """Turn rows into a table; an unknown or a missing key is an error, not a null."""
    known = set(INDEX_SCHEMA.names)
    needed = {field.name for field in INDEX_SCHEMA if not field.nullable}
    for number, row in enumerate(rows):
        if not needed <= row.keys() <= known:
            missing, extra = sorted(needed - row.keys()), sorted(row.keys() - known)
            raise InvalidIndexError(
                f'{name}, row {number}: missing column(s) {missing}, unknown column(s) {extra}'
            )
    columns = []
    for field in INDEX_SCHEMA:
        try:
            columns.append(pa.array([row.get(field.name) for row in rows], type=field.type))
        except (pa.ArrowException, TypeError, OverflowError) as error:
            raise InvalidIndexError(
                f'{name}, column {field.name!r}: a value is not of type {field.type} ({error})'
            ) from error
    return pa.Table.from_arrays(columns, schema=INDEX_SCHEMA)


def _validate(table: pa.Table, name: str) -> pa.Table:
    """Check the columns that are there and convert them to the types of the schema."""
    metadata = table.schema.metadata
    fields = [INDEX_SCHEMA.field(column) for column in table.column_names]
    columns = [cast_column(table.column(field.name), field, name) for field in fields]
    table = pa.Table.from_arrays(columns, schema=pa.schema(fields, metadata=metadata))
    present = set(table.column_names)
    for field in fields:
        if not field.nullable and table.column(field.name).null_count:
            bad = pc.is_null(table.column(field.name))
            fail_first(table, field.name, bad, 'must not be null', name)
    for column in (c for c in _PATH_COLUMNS if c in present):
        bad = pc.match_substring_regex(table.column(column), _BAD_PATH)
        fail_first(
            table, column, bad, "must be a relative path with '/', without '..', '://' or backslash", name
        )
    if 'label' in present:
        bad = pc.invert(pc.is_in(table.column('label'), pa.array([0, 1], pa.int8())))
        fail_first(table, 'label', bad, 'must be 0 (genuine) or 1 (fake)', name)
    if 'split' in present:
        bad = pc.invert(pc.is_in(table.column('split'), pa.array(SPLITS)))
        fail_first(table, 'split', bad, f'must be one of {", ".join(SPLITS)}', name)
    if 'frame' in present:
        fail_first(table, 'frame', pc.less(table.column('frame'), 0), 'must be >= 0', name)
    if 'detector_score' in present:
        scores = table.column('detector_score').to_numpy()
        fail_first(table, 'detector_score', ~((scores >= 0) & (scores <= 1)), 'must lie in [0, 1]', name)
    if 'landmarks' in present:
        lengths = [2 * count for count in LANDMARK_COUNTS]
        unit = f' (x and y of {" or ".join(map(str, LANDMARK_COUNTS))} points)'
        check_lists(table, 'landmarks', lengths, name, unit)
    if 'crop_window' in present:
        check_lists(table, 'crop_window', [4], name)
    _check_videos(table, present, name)
    return table


def _check_columns(found: Sequence[str], needed: Sequence[str], name: str) -> None:
    if missing := [column for column in needed if column not in found]:
        raise InvalidIndexError(
            f'{name}: missing column(s) {", ".join(missing)}; found {", ".join(found) or "none"}. '
            'Make the index again with tools/prepare_data.py'
        )
    if doubled := sorted({column for column in needed if list(found).count(column) > 1}):
        raise InvalidIndexError(f'{name}: column(s) {", ".join(doubled)} occur more than once')


def _check_videos(table: pa.Table, present: set[str], name: str) -> None:
    """Check the rules that hold among the rows of one video."""
    if {'video_key', 'frame'} <= present:
        keys = pc.dictionary_encode(table.column('video_key')).combine_chunks()
        if isinstance(keys, pa.ChunkedArray):
            keys = keys.unify_dictionaries().combine_chunks()
        codes = pc.cast(keys.indices, pa.int64()).to_numpy(zero_copy_only=False)
        pairs = (codes << 32) | table.column('frame').to_numpy().astype(np.int64)
        order = np.argsort(pairs, kind='stable')
        bad = np.zeros(len(pairs), dtype=bool)
        bad[order[1:]] = np.diff(pairs[order]) == 0
        rule = 'the same frame of the video is listed twice'
        if bad.any():
            first = int(np.flatnonzero(bad)[0])
            rule += f' (video {table.column("video_key")[first].as_py()!r})'
        fail_first(table, 'frame', bad, rule, name)
    if {'video_key', *_KEY_PARTS} <= present:
        videos = table.group_by(['video_key', *_KEY_PARTS]).aggregate([]).to_pylist()
        for video in videos:
            prefix = '/'.join(video[part] for part in _KEY_PARTS) + '/'
            if not video['video_key'].startswith(prefix) or video['video_key'] == prefix:
                bad = pc.equal(table.column('video_key'), video['video_key'])
                fail_first(table, 'video_key', bad, f'must be {prefix}<video>', name)
    for column in ('label', 'split'):
        if {'video_key', column} <= present:
            videos = table.group_by('video_key').aggregate([(column, 'count_distinct')])
            mixed = videos.filter(pc.greater(videos.column(f'{column}_count_distinct'), 1))
            if mixed.num_rows:
                video_key = min(mixed.column('video_key').to_pylist())
                raise InvalidIndexError(
                    f'{name}, column {column!r}: the frames of video {video_key!r} differ; '
                    f'one video has one {column}'
                )
