# SPDX-License-Identifier: Apache-2.0
"""Part of a map inside the manipulated region, beside chance and the genuine frame."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True)
class EnergyTable:
    """Metrics of one method.

    Attributes:
        method: Its name.
        rows: One a manipulation, and overall last.
        blank: Fake and genuine frames whose map was 0 everywhere, by row.
    """

    method: str
    rows: list[LocalizationRow]
    blank: dict[str, tuple[int, int]]


def energy_tables(
    views: Iterable[FaceView], methods: Sequence[str], *, num_resamples: int = 1000, seed: int = 0
) -> list[EnergyTable]:
    """Measure maps against masks, one face in memory at a time.

    Args:
        views: The faces.
        methods: Methods of their maps.
        num_resamples: Resamples of the intervals.
        seed: Seed of the resamples.

    Returns:
        The metrics by method.

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
    tables = []
    for method, metric in metrics.items():
        samples = unique_samples([LocalizationSample._make(result) for result in metric.results])
        rows = localization_rows(samples, num_resamples=num_resamples, seed=seed)
        empty = [s for s in samples if (s.video_key, s.frame) in blank[method]]
        tables.append(EnergyTable(method, rows, _blank_counts(empty, [row.name for row in rows])))
    return tables


def _blank_counts(empty: Sequence[LocalizationSample], names: Sequence[str]) -> dict[str, tuple[int, int]]:
    """Fake and genuine frames without a map, by row of the table; the last row holds all."""
    genuine = sum(sample.state == GENUINE for sample in empty)
    fakes = dict.fromkeys(names, 0)
    for sample in empty:
        if sample.state == SCORED:
            own = {sample.method, sample.dataset, f'{sample.dataset}/{sample.method}', names[-1]}
            for name in own & fakes.keys():
                fakes[name] += 1
    return {name: (count, genuine) for name, count in fakes.items()}


def energy_markdown(tables: Sequence[EnergyTable], titles: dict[str, str]) -> str:
    """Lay the metrics out as a Markdown table with a note on what they mean.

    Args:
        tables: One a method.
        titles: Titles of the methods.

    Returns:
        The text.
    """
    cells = [['map', 'manipulation', *(title for title, _ in COLUMNS), 'frames', 'blank (fake, genuine)']]
    for table in tables:
        for row in table.rows:
            fakes, genuine = table.blank[row.name]
            metrics = [row.text(key) for _, key in COLUMNS]
            counts = [str(row.counts['scored']), f'{fakes}, {genuine}']
            cells.append([titles.get(table.method, table.method), row.name, *metrics, *counts])
    return '\n'.join(markdown_table(cells)) + f'\n\n{NOTE}\n'


def energy_json(tables: Sequence[EnergyTable]) -> dict[str, Any]:
    """The metrics as data, fractions of 1; undefined metrics are None."""
    return {
        table.method: {
            row.name: {
                **{key: _defined(row.metrics.get(key)) for _, key in COLUMNS},
                'intervals': {key: list(row.intervals[key]) for _, key in COLUMNS if key in row.intervals},
                'counts': {
                    **{key: row.counts.get(key, 0) for key in ('scored', 'paired', 'genuine', 'videos')},
                    'without_mask': row.counts['without_mask'] + row.counts['empty_masks'],
                    'blank_fakes': table.blank[row.name][0],
                    'blank_genuine': table.blank[row.name][1],
                },
            }
            for row in table.rows
        }
        for table in tables
    }


def _defined(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else float(value)
