# SPDX-License-Identifier: Apache-2.0
"""Checking ``report.md`` against the metrics that the stored scores give."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from iid_mm.reporting.document import REPORT_FILE, TEXT_FILE, TEXT_HASH, Computed, report_file
from iid_mm.reporting.tables import main_table
from iid_mm.reporting.text import report_text
from iid_mm.utils.files import read_limited, sha256
from iid_mm.version import __version__


def check_text(folder: Path, report: Mapping[str, Any], computed: Computed) -> tuple[list[str], str]:
    """Compare the text with what should be written.

    Args:
        folder: The report's folder.
        report: Content of ``report.json``.
        computed: What follows from the stored scores.

    Returns:
        What differs, a sentence each, the cells of the table by name; and why lines outside of the table
        were not compared, empty if they were.
    """
    try:
        lines = read_limited(report_file(folder, TEXT_FILE)).decode().splitlines()
    except (OSError, ValueError) as error:
        return [f'{TEXT_FILE} cannot be read: {error}'], ''
    rows = [row.as_dict() for row in computed.rows]
    table = main_table(rows)
    problems = _check_cells(lines, table)
    made_by = report['protocol']['libraries'].get('iid-mm')
    if made_by is None:
        problems.append(f'{REPORT_FILE} does not say which version of iid-mm wrote it')
    if made_by != __version__:
        # Another version may word it differently; its hash shows whether it was changed.
        said = report['run'].get(TEXT_HASH)
        if said is None:
            return problems, f'it was written by iid-mm {made_by}, this is {__version__}'
        if (actual := sha256(folder / TEXT_FILE)) != said:
            problems.append(f'{TEXT_FILE} was changed: its SHA-256 is {actual}, {REPORT_FILE} says {said}')
        return problems, ''
    true = {**report, 'metrics': rows, 'threshold': computed.threshold.as_dict()}
    expected = report_text(true).splitlines()
    # The cells of this table, and of no other, have sentences of their own.
    start = next(number for number, line in enumerate(expected, 1) if _cells(line) == table[0])
    named = {start, *range(start + 2, start + 1 + len(table))}
    problems += [
        f'{TEXT_FILE}, line {number}: says {mine!r}, it should be {theirs!r}'
        for number, (mine, theirs) in enumerate(zip(lines, expected, strict=False), 1)
        if mine != theirs and number not in named
    ]
    if len(lines) != len(expected):
        problems.append(f'{TEXT_FILE} has {len(lines)} lines, it should have {len(expected)}')
    return problems, ''


def _check_cells(lines: Sequence[str], expected: Sequence[Sequence[str]]) -> list[str]:
    """Compare the table of metrics cell by cell."""
    header = expected[0]
    starts = [number for number, line in enumerate(lines) if _cells(line) == list(header)]
    if not starts:
        return [f'{TEXT_FILE} has no table with the columns {", ".join(header)}']
    problems = []
    for number, row in enumerate(expected[1:], starts[0] + 2):
        cells = _cells(lines[number]) if number < len(lines) else []
        title = ' / '.join(row[:2])
        if len(cells) != len(row) or cells[:2] != list(row[:2]):
            problems.append(f'{TEXT_FILE}, line {number + 1}: the row {title} should be here')
            continue
        problems += [
            f'{TEXT_FILE}, {title}: {name} is {mine}, the scores give {theirs}'
            for name, mine, theirs in zip(header, cells, row, strict=True)
            if mine != theirs
        ]
    return problems


def _cells(line: str) -> list[str]:
    """Cells of a line of a table, as they were before :func:`~.tables.escaped`."""
    if not line.startswith('|'):
        return []
    parts = re.findall(r'(?:\\.|[^|\\])+', line.strip())
    return [re.sub(r'\\(.)', r'\1', part).strip() for part in parts]
