# SPDX-License-Identifier: Apache-2.0
"""Results as a table on the terminal."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterable

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from iid_mm.inference.results import MediaResult
from iid_mm.utils.files import printable, reason_of

LOG_WIDTH = 160
"""Columns of the table where there is no terminal that has a width."""


def result_row(result: MediaResult) -> list[Text]:
    """A result as a row of :func:`print_results`; names are shown as they are, not as rich's markup."""
    if result.probability is None:
        answer, chance = result.status.replace('_', ' '), '-'
    else:
        answer = 'fake' if result.is_fake else 'genuine'
        chance = f'{100 * result.calibrated(result.probability):.1f} %'
        chance += '' if result.calibration is None else ' (calibrated)'
    numbers = (str(len(result.main_tracks)), str(len(result.times)))
    cells = (result.source, answer, chance, *numbers, '; '.join(result.problems))
    return [Text(printable(cell)) for cell in cells]


def print_results(rows: Iterable[list[Text]], out: str) -> None:
    """Print a table of results; a closed or full stdout is a warning, since the results are written.

    Args:
        rows: From :func:`result_row`.
        out: Folder that the results were written to.
    """
    # Long names are folded, never cut: two that begin alike must stay distinguishable.
    columns = (Column('input', overflow='fold'), 'answer', 'P(fake)', 'people', 'frames', 'notes')
    table = Table(*columns, title=Text(f'written to {printable(out)}'))
    for row in rows:
        table.add_row(*row)
    console = Console()
    if not console.is_terminal:
        console.width = LOG_WIDTH
    with console.capture() as capture:
        console.print(table)
    try:
        print(capture.get(), end='', flush=True)
    except OSError as error:
        print(f'the table could not be printed ({reason_of(error)})', file=sys.stderr)
        # The interpreter would try again at its end.
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
