# SPDX-License-Identifier: Apache-2.0
"""Part of a map inside the manipulated region, beside chance and the genuine frame."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from mmengine.structures import InstanceData

from iid_mm.evaluation.localization.samples import GENUINE, SCORED, LocalizationSample, unique_samples
from iid_mm.evaluation.localization.table import LocalizationRow, localization_rows
from iid_mm.evaluation.metrics.artifact_localization import ArtifactLocalization
from iid_mm.utils.tables import markdown_table
from iid_mm.visualization.attention import FaceView, filled

COLUMNS = (
    ('energy', 'energy'),
    ('chance', 'chance_energy'),
    ('center', 'center_energy'),
    ('genuine frame', 'genuine_energy'),
    ('gain over genuine', 'gain_energy'),
    ('pointing', 'pointing'),
)
"""Titles and metrics of the table, see ``localization_rows`` of the evaluation."""
NOTE = (
    'Percent, means over fake frames that have a mask, in brackets 95 % intervals (bootstrap over videos). '
    '*energy*: part of the map inside the manipulated region. *chance*: part of the canvas that the region '
    'covers, the energy of a flat map. *center*: energy of a map that only falls off from the middle. '
    '*genuine frame*: energy of the map of the genuine frame of the same scene inside the same region. *gain '
    'over genuine*: energy of the fake minus that of its genuine frame; it says whether the map follows the '
    'manipulation or merely the face (both on a grid of 28 x 28 cells, for fakes whose genuine frame is in '
    'the set). *pointing*: how often the maximum lies inside. *blank*: fake and genuine frames whose map is '
    '0 everywhere; it counts as flat, that is as chance.'
)


def energy_rows(
    views: Iterable[FaceView], methods: Sequence[str], *, num_resamples: int = 1000
) -> dict[str, list[LocalizationRow]]:
    """Measure maps against masks, one face in memory at a time.

    Args:
        views: The faces.
        methods: Methods of their maps.
        num_resamples: Resamples of the intervals.

    Returns:
        By method one row a manipulation, and overall last. Further counts: ``blank_fakes`` and
        ``blank_genuine``, the frames whose map was 0 everywhere.

    Raises:
        InputError: No fake has a mask.
    """
    metrics = {method: ArtifactLocalization(print_table=False) for method in methods}
    blank: dict[str, set[tuple[str, int]]] = {method: set() for method in methods}
    for view in views:
        sample = view.sample.to_dict()
        for method, metric in metrics.items():
            heat = view.maps[method]
            if not np.any(heat > 0):
                blank[method].add((str(sample['video_key']), int(sample['frame'])))
            sample['pred_heat'] = torch.from_numpy(np.ascontiguousarray(filled(heat)))
            # Boxes play no part in energies.
            sample['pred_instances'] = InstanceData(bboxes=torch.zeros(0, 4), scores=torch.zeros(0))
            metric.process(None, [sample])
    tables = {}
    for method, metric in metrics.items():
        samples = unique_samples([LocalizationSample._make(result) for result in metric.results])
        rows = localization_rows(samples, num_resamples=num_resamples)
        _count_blank([s for s in samples if (s.video_key, s.frame) in blank[method]], rows)
        tables[method] = rows
    return tables


def _count_blank(blank: Sequence[LocalizationSample], rows: Sequence[LocalizationRow]) -> None:
    """Count fake and genuine frames without a map; the last row holds all."""
    genuine = sum(sample.state == GENUINE for sample in blank)
    for row in rows:
        row.counts.update(blank_fakes=0, blank_genuine=genuine)
    for sample in blank:
        if sample.state == SCORED:
            own = {sample.method, sample.dataset, f'{sample.dataset}/{sample.method}', rows[-1].name}
            for row in rows:
                row.counts['blank_fakes'] += row.name in own


def energy_markdown(tables: Mapping[str, Sequence[LocalizationRow]], titles: Mapping[str, str]) -> str:
    """Lay the metrics out as a Markdown table with a note on what they mean.

    Args:
        tables: From :func:`energy_rows`.
        titles: Titles of the methods.

    Returns:
        The text.
    """
    cells = [['map', 'manipulation', *(title for title, _ in COLUMNS), 'frames', 'blank (fake, genuine)']]
    for method, rows in tables.items():
        for row in rows:
            blank = f'{row.counts["blank_fakes"]}, {row.counts["blank_genuine"]}'
            metrics = [row.text(key) for _, key in COLUMNS]
            cells.append([titles.get(method, method), row.name, *metrics, str(row.counts['scored']), blank])
    return '\n'.join(markdown_table(cells)) + f'\n\n{NOTE}\n'


def energy_json(tables: Mapping[str, Sequence[LocalizationRow]]) -> dict[str, Any]:
    """The metrics as data, fractions of 1; undefined metrics are None."""
    return {method: {row.name: _plain(row) for row in rows} for method, rows in tables.items()}


def _plain(row: LocalizationRow) -> dict[str, Any]:
    metrics = {key: row.metrics.get(key, math.nan) for _, key in COLUMNS}
    blank = {key: row.counts[key] for key in ('blank_fakes', 'blank_genuine')}
    return {
        **{key: None if math.isnan(value) else value for key, value in metrics.items()},
        'intervals': {key: list(row.intervals[key]) for key in metrics if key in row.intervals},
        'counts': {
            **{key: row.counts.get(key, 0) for key in ('scored', 'paired', 'genuine', 'videos')},
            'without_mask': row.counts['without_mask'] + row.counts['empty_masks'],
            **blank,
        },
    }
