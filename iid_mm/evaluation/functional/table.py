# SPDX-License-Identifier: Apache-2.0
"""The metrics as text and as a flat dictionary."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import asdict

from rich import box
from rich.console import Console
from rich.table import Table

from iid_mm.evaluation.functional.per_method import Metrics
from iid_mm.utils.files import printable

OVERALL_KEYS = (
    *('frame_auc', 'video_auc', 'frame_ap', 'video_ap', 'frame_eer', 'video_eer'),
    *('frame_acc', 'video_acc', 'num_videos'),
)
ROW_KEYS = ('frame_auc', 'video_auc')
_PERCENT_COLUMNS = {
    'frame AUC': 'frame_auc',
    'video AUC': 'video_auc',
    'video EER': 'video_eer',
    'video AP': 'video_ap',
    'frame acc': 'frame_acc',
    'video acc': 'video_acc',
}


def flat_metrics(rows: Sequence[Metrics]) -> dict[str, float]:
    """Name every metric: the whole set's plainly, a row's as ``video_auc/<row>``.

    Args:
        rows: What :func:`~.per_method.per_method` gives; the last row is the whole set.

    Returns:
        The metrics, fractions of 1 and the number of videos.
    """
    whole = asdict(rows[-1])
    metrics: dict[str, float] = {key: whole[key] for key in OVERALL_KEYS}
    for row in rows[:-1]:
        values = asdict(row)
        metrics.update({f'{key}/{row.subset.name}': values[key] for key in ROW_KEYS})
    return metrics


def format_table(rows: Sequence[Metrics], *, title: str = '') -> str:
    """Lay the metrics out as a table in Markdown, in percent with two decimals.

    Args:
        rows: What :func:`~.per_method.per_method` gives.
        title: A line above the table; empty: none.

    Returns:
        The table without color, one line a row, ready for a log or a README.
    """
    table = Table(box=box.MARKDOWN)
    table.add_column('fakes', no_wrap=True)
    for header in (*_PERCENT_COLUMNS, 'videos (fake)'):
        table.add_column(header, justify='right', no_wrap=True)
    for row in rows:
        values = asdict(row)
        table.add_row(
            printable(row.subset.name).replace('|', r'\|'),
            *(f'{100 * values[key]:.2f}' for key in _PERCENT_COLUMNS.values()),
            f'{row.num_videos} ({row.num_fake_videos})',
        )
    stream = io.StringIO()
    # Wide enough that rich never folds a line, whatever the terminal is.
    Console(file=stream, width=400, color_system=None, highlight=False, markup=False, emoji=False).print(
        table
    )
    lines = [line.rstrip() for line in stream.getvalue().splitlines() if line.strip()]
    return '\n'.join([title, *lines] if title else lines)
