# SPDX-License-Identifier: Apache-2.0
"""Scores of frames in columns, kept while a test runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

_NAME = pa.dictionary(pa.int32(), pa.string())
COLUMNS = pa.schema(
    [
        ('dataset', _NAME),
        ('method', _NAME),
        ('video_key', _NAME),
        ('frame', pa.int32()),
        ('label', pa.int8()),
        ('score', pa.float64()),
        ('image', pa.string()),
        ('target_id', _NAME),
    ]
)
"""What is kept of a frame: about 30 bytes and the path of its image."""

BATCHES_A_CHUNK = 256


def score_columns(rows: Mapping[str, Sequence[Any]]) -> pa.Table:
    """Columns of one batch.

    Args:
        rows: A sequence for each name in :data:`COLUMNS`, all of one length.

    Returns:
        The table.
    """
    return pa.table({name: pa.array(rows[name], type=COLUMNS.field(name).type) for name in COLUMNS.names})


def merge_columns(tables: Sequence[pa.Table]) -> pa.Table:
    """Merge tables into one chunk, in which each name is stored once.

    Args:
        tables: Tables of :func:`score_columns`, none or more.

    Returns:
        The table.
    """
    if not tables:
        return COLUMNS.empty_table()
    return pa.concat_tables(tables).unify_dictionaries().combine_chunks()


def append_columns(results: list[pa.Table], batch: pa.Table) -> None:
    """Append a batch and, every :data:`BATCHES_A_CHUNK` batches, merge the newest into one chunk.

    Small tables cost more than their content. Chunks are not merged again, so memory never doubles.

    Args:
        results: Chunks, then the batches since the last merge; changed in place.
        batch: From :func:`score_columns`.
    """
    results.append(batch)
    newest = results[-BATCHES_A_CHUNK:]
    if len(newest) == BATCHES_A_CHUNK and len(newest[0]) <= max(len(table) for table in newest[1:]):
        results[-BATCHES_A_CHUNK:] = [merge_columns(newest)]
