# SPDX-License-Identifier: Apache-2.0
"""Tables in Markdown."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from iid_mm.utils.files import printable

UNDEFINED = '–'
"""A cell without a value."""


def escaped(text: Any) -> str:
    """Write a name into Markdown so that it stays a name: no tag, link, code, cell or line of its own.

    Names of datasets, manipulations and files come with indices and checkpoints of strangers.
    """
    return re.sub(r'([\\`|<>&\[\]])', r'\\\1', printable(text))


def percent(value: float | None) -> str:
    """A fraction in percent with two decimals."""
    return UNDEFINED if value is None else f'{100 * value:.2f}'


def markdown_table(table: Sequence[Sequence[str]], texts: int = 2) -> list[str]:
    """Lay cells out as a Markdown table.

    Args:
        table: Cells, the header first.
        texts: How many columns, from the left, hold text; the others are aligned to the right.

    Returns:
        The lines; none for an empty table.
    """
    if not table:
        return []
    table = [[escaped(cell) for cell in row] for row in table]
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]

    def line(cells: Sequence[str]) -> str:
        padded = [
            cell.ljust(width) if column < texts else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        return f'| {" | ".join(padded)} |'

    rule = [
        '-' * width if column < texts else '-' * (max(width, 2) - 1) + ':'
        for column, width in enumerate(widths)
    ]
    return [line(table[0]), line(rule), *(line(row) for row in table[1:])]
