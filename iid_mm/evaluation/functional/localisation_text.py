# SPDX-License-Identifier: Apache-2.0
"""Localisation figures as text and as a flat dictionary."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from iid_mm.evaluation.functional.localisation_table import INTERVAL_KEYS, LocalisationRow


def flat_figures(rows: Sequence[LocalisationRow]) -> dict[str, float]:
    """Name every figure: the whole set's plainly, a row's as ``pointing/<row>``; NaN ones are left out."""
    whole = rows[-1]
    flat = {key: value for key, value in whole.figures.items() if not math.isnan(value)}
    flat |= {f'num_{key}': float(value) for key, value in whole.counts.items()}
    for row in rows[:-1]:
        named = {key: row.figures.get(key, math.nan) for key in INTERVAL_KEYS}
        flat |= {f'{key}/{row.name}': value for key, value in named.items() if not math.isnan(value)}
    return flat


_COLUMNS = (
    ('box AP50', 'box_ap50'),
    ('box AP', 'box_ap'),
    ('local box AP50', 'box_ap50_local'),
    ('local box AP', 'box_ap_local'),
    ('pointing', 'pointing'),
    ('energy', 'energy'),
    ('IoU at half', 'iou_half'),
    ('best IoU', 'iou_best'),
)
_LINES = (
    ('', ''),
    ('  genuine frame', 'genuine_'),
    ('  gain over it', 'gain_'),
    ('  centre', 'centre_'),
    ('  chance', 'chance_'),
)


def format_localisation(
    rows: Sequence[LocalisationRow], percent: Callable[[float], str] = lambda v: f'{100 * v:.1f}'
) -> str:
    """Lay the figures out as text, in percent, each above what it is to be compared with.

    Args:
        rows: What :func:`localisation_rows` gives.
        percent: How a figure is written.

    Returns:
        Lines of text.
    """
    header = ['', *(title for title, _ in _COLUMNS), 'frames', 'no mask']
    lines: list[list[str]] = [header]

    def written(row: LocalisationRow, key: str) -> str:
        value = row.figures.get(key, math.nan)
        if math.isnan(value):
            return '-'
        if key not in row.intervals:
            return percent(value)
        low, high = row.intervals[key]
        return f'{percent(value)} ({percent(low)} to {percent(high)})'

    for row in rows:
        missing = row.counts['without_mask'] + row.counts['empty_masks']
        counts = [str(row.counts['scored']), str(missing)]
        for title, prefix in _LINES:
            figures = [written(row, prefix + key) for _, key in _COLUMNS]
            lines.append([title or row.name, *figures, *(counts if not prefix else ['', ''])])
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    return '\n'.join(
        '  '.join(
            [line[0].ljust(widths[0])] + [t.rjust(w) for t, w in zip(line[1:], widths[1:], strict=True)]
        )
        for line in lines
    )
