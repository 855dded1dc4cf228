# SPDX-License-Identifier: Apache-2.0
"""Checks of Arrow tables whose messages name the table, the row and the column."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from iid_mm.errors import InvalidIndexError


def same_kind(found: pa.DataType, wanted: pa.DataType) -> bool:
    """Whether values of one type can be converted to the other without changing their meaning."""
    types = pa.types
    if types.is_dictionary(found):
        return same_kind(found.value_type, wanted)
    if types.is_null(found):
        return True
    if types.is_list(wanted):
        is_list = types.is_list(found) or types.is_large_list(found)
        is_list = is_list or types.is_fixed_size_list(found)
        return is_list and same_kind(found.value_type, wanted.value_type)
    if types.is_string(wanted):
        return types.is_string(found) or types.is_large_string(found)
    if types.is_integer(wanted):
        return types.is_integer(found)
    return types.is_floating(found)


def cast_column(column: pa.ChunkedArray, field: pa.Field, name: str) -> pa.ChunkedArray:
    """Convert a column to the type of ``field`` if it is of the same kind.

    Raises:
        InvalidIndexError: If it is of another kind or a value does not fit.
    """
    if column.type == field.type:
        return column
    problem = ''
    if same_kind(column.type, field.type):
        try:
            return column.cast(field.type)
        except pa.ArrowException as error:
            problem = f' ({error})'
    raise InvalidIndexError(
        f'{name}, column {field.name!r}: type {column.type}, expected {field.type}{problem}'
    )


def fail_first(table: pa.Table, column: str, bad: Any, rule: str, name: str) -> None:
    """Raise for the first row where ``bad`` is true (null counts as false)."""
    mask = np.asarray(bad.to_numpy() if isinstance(bad, pa.ChunkedArray) else bad)
    rows = np.flatnonzero(mask == True)  # noqa: E712 - object arrays with None where null
    if rows.size:
        row = int(rows[0])
        raise InvalidIndexError(
            f'{name}, row {row}, column {column!r}: {rule}, got {_short(table, column, row)}'
            + (f' ({rows.size} such rows)' if rows.size > 1 else '')
        )


def _short(table: pa.Table, column: str, row: int) -> str:
    value = table.column(column)[row].as_py()
    if isinstance(value, list) and len(value) > 8:
        return f'{len(value)} values starting {value[:4]}'
    return repr(value)


def check_lists(table: pa.Table, column: str, lengths: Sequence[int], name: str, unit: str = '') -> None:
    """Check the length of every list of a column and that its values are finite numbers.

    Args:
        table: The table; the column has no null.
        column: Name of the column.
        lengths: Lengths that are allowed.
        name: What to call the table in messages.
        unit: What the values are, appended to the message about the length.

    Raises:
        InvalidIndexError: For the first row that breaks a rule.
    """
    lists = table.column(column).combine_chunks()
    if isinstance(lists, pa.ChunkedArray):  # an empty table, or more than one chunk fits
        lists = pa.concat_arrays(lists.chunks) if lists.num_chunks else pa.array([], lists.type)
    sizes = pc.list_value_length(lists).to_numpy(zero_copy_only=False)
    rule = f'needs {" or ".join(map(str, lengths))} values{unit}'
    fail_first(table, column, ~np.isin(sizes, lengths), rule, name)
    values = lists.flatten()
    good = pc.is_valid(values) if not pa.types.is_floating(values.type) else pc.is_finite(values)
    bad = ~pc.fill_null(good, False).to_numpy(zero_copy_only=False)
    if bad.any():
        rows = np.zeros(len(lists), dtype=bool)
        rows[np.repeat(np.arange(len(lists)), sizes)[bad]] = True
        fail_first(table, column, rows, 'every value must be a finite number', name)
