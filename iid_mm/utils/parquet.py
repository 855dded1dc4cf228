# SPDX-License-Identifier: Apache-2.0
"""Reading untrusted Parquet files: nothing is decoded before its size in memory is known.

A few kilobytes of Parquet can expand to any number of gigabytes: runs, compressed pages, a dictionary of one
long text. The sizes in the footer may be false, so the headers of the pages are read, too.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from iid_mm.errors import InputError

ALWAYS_READ = 256 * 2**20
"""Bytes in memory that any file may grow to ..."""
MAX_RATIO = 50
"""... and a larger one for each of its bytes; files of this package grow to less than a tenth of it."""
MAX_FOOTER = 16 * 2**20
MAX_COLUMNS = 10_000
MAX_TEXT = 4096
"""Bytes of a text: the longest path that systems take."""
MAX_BINARY = 2**20

_WIDTHS = {'BOOLEAN': 1, 'INT32': 4, 'INT64': 8, 'INT96': 12, 'FLOAT': 4, 'DOUBLE': 8, 'BYTE_ARRAY': 4}
_DELTA_BYTE_ARRAY = 7
_LEVELS = 4


@contextmanager
def open_parquet(path: str | os.PathLike[str], read_dictionary: Sequence[str] = ()) -> Iterator[Any]:
    """Open a Parquet file.

    Args:
        path: The file.
        read_dictionary: Columns of texts that are read as dictionaries.

    Yields:
        The ``pyarrow.parquet.ParquetFile``.

    Raises:
        InputError: It is not a regular file, or cannot be read.
    """
    source = Path(path)
    if not source.is_file():
        # Reading a named pipe would block.
        raise InputError(f'{source} is not a regular file; give a Parquet file')
    try:
        with source.open('rb') as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(size - 8, 0))
            footer = int.from_bytes(file.read(4), 'little')
        if MAX_FOOTER < footer <= size:
            raise InputError(
                f'{source} has a footer of {footer} bytes, more than {MAX_FOOTER}: too many columns'
            )
        with pq.ParquetFile(
            source,
            read_dictionary=list(read_dictionary),
            thrift_string_size_limit=MAX_FOOTER,
            thrift_container_size_limit=MAX_FOOTER // 16,
        ) as opened:
            if (count := opened.metadata.num_columns) > MAX_COLUMNS:
                raise InputError(f'{source} has {count} columns, more than {MAX_COLUMNS}')
            yield opened
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        text = ' '.join(str(error).split())[:200]
        raise InputError(f'{source} is not a readable Parquet file ({text}); make it again') from error


def read_parquet(
    path: str | os.PathLike[str],
    columns: Sequence[str] | None = None,
    *,
    keep_dictionaries: Sequence[str] = (),
) -> pa.Table:
    """Read columns of texts, numbers, bytes, and lists of numbers.

    Args:
        path: The file.
        columns: Names; None reads all.
        keep_dictionaries: Columns of texts that stay dictionaries.

    Returns:
        The columns in the order asked for, with the notes of the file. Texts are UTF-8 without NUL and at
        most :data:`MAX_TEXT` bytes long.

    Raises:
        InputError: It is not a regular file, a column is missing or of another type, a text is not UTF-8, or
            the file would grow out of all proportion.
    """
    with open_parquet(path) as file:
        schema = file.schema_arrow
    names = list(schema.names) if columns is None else list(columns)
    for name in names:
        if schema.names.count(name) != 1:
            problem = 'is missing' if name not in schema.names else 'occurs more than once'
            raise InputError(f'{path}: column {name!r} {problem}')
        if not _is_plain(schema.field(name).type):
            raise InputError(f'{path}, column {name!r}: type {schema.field(name).type} is not read here')
    texts = [name for name in names if _is_text(schema.field(name).type)]
    with open_parquet(path, texts) as file:
        check_size(file, path, names)
        table = file.read(columns=names, use_threads=True).select(names)
    for place, name in enumerate(names):
        if name in texts:
            column = _checked_texts(table.column(name), name, path, name in keep_dictionaries)
            table = table.set_column(place, pa.field(name, column.type, schema.field(name).nullable), column)
    return table


def check_size(file: Any, path: str | os.PathLike[str], columns: Sequence[str]) -> None:
    """Refuse a file that would grow out of all proportion.

    Args:
        file: The opened file.
        path: Its path.
        columns: Columns that will be read.

    Raises:
        InputError: It would, or a page is damaged.
    """
    size = os.path.getsize(path)
    most = max(ALWAYS_READ, MAX_RATIO * size)
    total = 0
    metadata = file.metadata
    wanted = set(columns)
    with open(path, 'rb') as raw:
        for group in range(metadata.num_row_groups):
            chunks = metadata.row_group(group)
            for number in range(metadata.num_columns):
                chunk = chunks.column(number)
                name = chunk.path_in_schema.split('.')[0]
                if name not in wanted:
                    continue
                total += _decoded_bytes(raw, chunk, size, f'{path}, column {name!r}', most - total)
                if total > most:
                    raise InputError(
                        f'{path}, column {name!r}: {size} bytes would grow to more than {most} in memory, '
                        'out of all proportion; it was not read'
                    )


def _decoded_bytes(raw: Any, chunk: Any, size: int, name: str, most: int) -> int:
    """Bytes that a column of a row group takes in memory; counting stops above ``most``."""
    if not chunk.num_values:
        return 0
    start = chunk.data_page_offset
    if chunk.has_dictionary_page and chunk.dictionary_page_offset is not None:
        start = min(start, chunk.dictionary_page_offset or start)
    end = start + chunk.total_compressed_size
    width = _WIDTHS.get(chunk.physical_type)
    if width is None or chunk.num_values < 0 or not 0 <= start <= end <= size:
        raise InputError(f'{name} is damaged, or of a type that is not read here ({chunk.physical_type})')
    total = chunk.num_values * (width + _LEVELS)
    while start < end and total <= most:
        header, start = _page_header(raw, start, name)
        page = header.get(5) or header.get(8) or header.get(7) or {}
        stored, unpacked, values = header.get(3, -1), header.get(2, -1), page.get(1, 0)
        if not (isinstance(stored, int) and isinstance(unpacked, int) and isinstance(values, int)):
            raise InputError(f'{name} is damaged: a page has no size')
        if min(stored, unpacked, values) < 0:
            raise InputError(f'{name} is damaged: a page has a size below 0')
        encoding = page.get(4 if 8 in header else 2)
        if encoding == _DELTA_BYTE_ARRAY and 7 not in header:
            raise InputError(
                f'{name} is stored as DELTA_BYTE_ARRAY, which is not read here; write it as PLAIN'
            )
        # Entries of a dictionary are kept as addresses and lengths.
        total += unpacked + values * (16 if 7 in header else width + _LEVELS)
        start += stored
    return int(total)


def _page_header(raw: Any, start: int, name: str) -> tuple[dict[int, Any], int]:
    """Fields of a page header by number, and its end."""
    for length in (256, 16 * 1024, 2**20):
        raw.seek(start)
        data = raw.read(length)
        try:
            header, used = _thrift_struct(data, 0, 0)
        except IndexError:
            if len(data) < length:
                break
            continue
        except ValueError:
            break
        return header, start + used
    raise InputError(f'{name} is damaged: the header of a page cannot be read')


def _thrift_struct(data: bytes, place: int, depth: int) -> tuple[dict[int, Any], int]:
    """Read a struct of Thrift's compact protocol, as far as headers of pages use it."""
    if depth > 4:
        raise ValueError('nested too deeply')
    fields: dict[int, Any] = {}
    number = 0
    while head := data[place]:
        place += 1
        kind = head & 15
        if head >> 4:
            number += head >> 4
        else:
            number, place = _thrift_int(data, place)
        value: Any = None
        if kind in (1, 2):
            value = kind == 1
        elif kind == 3:
            value, place = data[place], place + 1
        elif kind in (4, 5, 6):
            value, place = _thrift_int(data, place)
        elif kind == 7:
            place += 8
        elif kind == 8:
            length, place = _varint(data, place)
            place += length
            if place > len(data):
                raise IndexError
        elif kind == 12:
            value, place = _thrift_struct(data, place, depth + 1)
        else:
            raise ValueError(f'type {kind}')
        fields[number] = value
    return fields, place + 1


def _thrift_int(data: bytes, place: int) -> tuple[int, int]:
    value, place = _varint(data, place)
    return (value >> 1) ^ -(value & 1), place


def _varint(data: bytes, place: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = data[place]
        place += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, place
    raise ValueError('a number that is too long')


def _is_text(kind: pa.DataType) -> bool:
    types = pa.types
    kind = kind.value_type if types.is_dictionary(kind) else kind
    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_binary(kind))


def _is_plain(kind: pa.DataType) -> bool:
    types = pa.types
    is_list = types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)
    kind = kind.value_type if is_list else kind
    is_number = types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind)
    return bool(is_number or (not is_list and (_is_text(kind) or types.is_null(kind))))


def _checked_texts(
    column: pa.ChunkedArray, name: str, path: str | os.PathLike[str], keep: bool
) -> pa.ChunkedArray:
    """Check texts that were read as dictionaries; these are undone unless they are kept."""
    start = 0
    chunks = []
    for chunk in column.chunks:
        if not pa.types.is_dictionary(chunk.type):
            chunk = chunk.dictionary_encode()
        binary = pa.types.is_binary(chunk.dictionary.type)
        values = chunk.dictionary.view(pa.binary()) if not binary else chunk.dictionary
        most = MAX_BINARY if binary else MAX_TEXT
        lengths = np.asarray(pc.fill_null(pc.binary_length(values), 0))
        bad = np.flatnonzero(lengths > most)
        problem = f'is longer than {most} bytes'
        if not bad.size and not binary:
            bad, problem = _no_texts(values, chunk.dictionary)
        codes = np.asarray(pc.fill_null(chunk.indices, -1))
        rows = np.flatnonzero(np.isin(codes, bad)) if bad.size else bad
        if rows.size:
            shown = values[int(codes[rows[0]])].as_py()[:60]
            raise InputError(f'{path}, row {start + int(rows[0])}, column {name!r}: {shown!r} {problem}')
        grown = int(lengths[codes[codes >= 0]].sum())
        size = os.path.getsize(path)
        if not keep and grown > max(ALWAYS_READ, MAX_RATIO * size):
            raise InputError(
                f'{path}, column {name!r}: {size} bytes would grow to {grown} in memory, out of all '
                'proportion'
            )
        start += len(chunk)
        chunks.append(chunk if keep else chunk.dictionary_decode())
    kind = column.type if keep or not pa.types.is_dictionary(column.type) else column.type.value_type
    return pa.chunked_array(chunks, type=kind)


def _no_texts(values: pa.Array, texts: pa.Array) -> tuple[Any, str]:
    """Places in a dictionary of values that are not UTF-8 or contain NUL."""
    nul = np.asarray(pc.fill_null(pc.match_substring(values, b'\0'), False))
    if nul.any():
        return np.flatnonzero(nul), 'holds a NUL'
    try:
        texts.validate(full=True)
    except pa.ArrowInvalid:
        decoded = [(value or b'').decode(errors='ignore').encode() for value in values.to_pylist()]
        bad = [place for place, value in enumerate(values.to_pylist()) if (value or b'') != decoded[place]]
        return np.array(bad), 'is no text in UTF-8'
    return np.array([], dtype=np.int64), ''
