# SPDX-License-Identifier: Apache-2.0
"""The tables of a report as rows of cells, each cell with the name of its metric."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from iid_mm.utils.tables import UNDEFINED, percent

UNKNOWN = '?'

Metrics = Mapping[str, Any]


def _decimal(value: float | None) -> str:
    return UNDEFINED if value is None else f'{value:.4f}'


def _interval(row: Metrics) -> str:
    limits = row['intervals']['video_auc']
    if limits['low'] is None or limits['high'] is None:
        return UNDEFINED
    return f'{percent(limits["low"])} to {percent(limits["high"])}'


def _without_face(row: Metrics) -> str:
    counts = (row['without_face_genuine'], row['without_face_fake'])
    return UNKNOWN if None in counts else str(sum(counts))


COLUMNS: tuple[tuple[str, tuple[str, ...], Callable[[Metrics], str]], ...] = (
    ('frame AUC', ('frame_auc',), lambda row: percent(row['frame_auc'])),
    ('video AUC', ('video_auc',), lambda row: percent(row['video_auc'])),
    ('interval', ('intervals.video_auc.low', 'intervals.video_auc.high'), _interval),
    ('EER', ('video_eer',), lambda row: percent(row['video_eer'])),
    ('AP', ('video_ap',), lambda row: percent(row['video_ap'])),
    ('accuracy', ('accuracy',), lambda row: percent(row['accuracy'])),
    ('TPR at FPR 1 %', ('tpr_at_fpr_1e2',), lambda row: percent(row['tpr_at_fpr_1e2'])),
    ('TPR at FPR 0.1 %', ('tpr_at_fpr_1e3',), lambda row: percent(row['tpr_at_fpr_1e3'])),
    ('log loss', ('log_loss',), lambda row: _decimal(row['log_loss'])),
    ('calibration error', ('calibration_error',), lambda row: percent(row['calibration_error'])),
    ('videos (fake)', ('videos', 'fake_videos'), lambda row: f'{row["videos"]} ({row["fake_videos"]})'),
    ('missing', ('unscored',), lambda row: str(row['unscored'])),
    ('no face', ('without_face_genuine', 'without_face_fake'), _without_face),
)
"""Header, names of the metrics, and how they are written, of every column behind the first two."""


def set_title(row: Metrics, rows: Sequence[Metrics]) -> str:
    """What the table calls the dataset of a row."""
    name = str(row['test_set'])
    datasets = {other['dataset'] for other in rows if other['test_set'] == name}
    return f'{name}: {row["dataset"]}' if len(datasets) > 1 else name


def main_table(rows: Sequence[Metrics]) -> list[list[str]]:
    """Cells of the main table, the header first; percent where not said otherwise.

    Args:
        rows: Rows of the report, as plain data.
    """
    table = [['dataset', 'manipulation', *(header for header, _, _ in COLUMNS)]]
    for row in rows:
        cells = [set_title(row, rows), row['manipulation'] or 'overall']
        table.append(cells + [write(row) for _, _, write in COLUMNS])
    return table


LOCALIZATION = (
    ('box AP 50', 'box_ap50'),
    ('pointing', 'pointing'),
    ('pointing gain', 'gain_pointing'),
    ('energy', 'energy'),
    ('energy gain', 'gain_energy'),
    ('IoU', 'iou_best'),
    ('IoU gain', 'gain_iou_best'),
)
"""Headers and names of the metrics of localization that the report's table shows."""
BASELINES = (('centered guess', 'center_'), ('chance', 'chance_'))


def localization_table(test_sets: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Cells of the table of localization in percent, empty if no set has metrics.

    Args:
        test_sets: Records of the sets; ``localization`` holds the metrics by name.
    """
    table = [['dataset', 'manipulation', *(header for header, _ in LOCALIZATION), 'faces with mask']]
    for record in test_sets:
        metrics = record['localization']
        if not metrics:
            continue
        methods = sorted({name.split('/', 2)[2] for name in metrics if name.count('/') >= 2})
        rows = [(method, '', f'/{method}') for method in methods]
        rows += [('overall', '', ''), *((title, prefix, '') for title, prefix in BASELINES)]
        for title, before, after in rows:
            values = [metrics.get(f'localization/{before}{name}{after}') for _, name in LOCALIZATION]
            faces = metrics.get('localization/num_scored') if title == 'overall' else None
            cells = [*map(percent, values), UNDEFINED if faces is None else f'{faces:.0f}']
            table.append([str(record['name']), title, *cells])
    return table if len(table) > 1 else []
