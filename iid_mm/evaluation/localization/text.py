# SPDX-License-Identifier: Apache-2.0
"""Localization metrics as text and as a flat dictionary."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from iid_mm.evaluation.localization.table import INTERVAL_KEYS, LocalizationRow


def flat_metrics(rows: Sequence[LocalizationRow]) -> dict[str, float]:
    """Name every metric: the whole set's plainly, a row's as ``pointing/<row>``; NaN ones are left out."""
    whole = rows[-1]
    flat = {key: value for key, value in whole.metrics.items() if not math.isnan(value)}
    flat |= {f'num_{key}': float(value) for key, value in whole.counts.items()}
    for row in rows[:-1]:
        named = {key: row.metrics.get(key, math.nan) for key in INTERVAL_KEYS}
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
    ('  center', 'center_'),
    ('  chance', 'chance_'),
)


def format_localization(
    rows: Sequence[LocalizationRow], percent: Callable[[float], str] = lambda v: f'{100 * v:.1f}'
) -> str:
    """Lay the metrics out as text, in percent, each above what it is to be compared with.

    Args:
        rows: What :func:`localization_rows` gives.
        percent: How a metric is written.

    Returns:
        Lines of text.
    """
    header = ['', *(title for title, _ in _COLUMNS), 'frames', 'no mask']
    lines: list[list[str]] = [header]

    def written(row: LocalizationRow, key: str) -> str:
        value = row.metrics.get(key, math.nan)
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
            metrics = [written(row, prefix + key) for _, key in _COLUMNS]
            lines.append([title or row.name, *metrics, *(counts if not prefix else ['', ''])])
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    return '\n'.join(
        '  '.join(
            [line[0].ljust(widths[0])] + [t.rjust(w) for t, w in zip(line[1:], widths[1:], strict=True)]
        )
        for line in lines
    )
