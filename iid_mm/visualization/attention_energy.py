# SPDX-License-Identifier: Apache-2.0
"""How much of a map lies inside the manipulated region, beside chance and the genuine frame."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from mmengine.structures import InstanceData

from iid_mm.evaluation.localization.maps import map_metrics
from iid_mm.evaluation.localization.table import (
    GENUINE,
    SCORED,
    LocalizationRow,
    LocalizationSample,
    localization_rows,
    unique_samples,
)
from iid_mm.evaluation.metrics.artifact_localization import ArtifactLocalization
from iid_mm.utils.typing import FloatArray
from iid_mm.visualization.attention_views import FaceView

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
    '*energy*: part of the map that lies inside the manipulated region. *chance*: the part of the canvas '
    'that the region covers, which a flat map has. *center*: energy of a map that only falls off from the '
    'middle. *genuine frame*: energy of the map of the genuine frame of the same scene inside the same '
    'region; *gain over genuine* is by how much the map of the fake does better, the metric that says '
    'whether the map follows the manipulation or merely the face (both on a grid of 28 x 28 cells, of '
    'fakes whose genuine frame is there). *pointing*: how often the maximum lies inside. A map that is 0 '
    'everywhere counts as flat, that is as chance; *blank* says on how many fake and genuine frames.'
)


@dataclass(frozen=True)
class EnergyTable:
    """Metrics of one method.

    Attributes:
        method: Its name.
        rows: One a manipulation, and overall last.
        blank: Frames whose map was 0 everywhere by row: fake ones, genuine ones.
    """

    method: str
    rows: list[LocalizationRow]
    blank: dict[str, tuple[int, int]]


def region_energy(heat: FloatArray, mask: npt.NDArray[Any]) -> float:
    """Part of a map, (H, W), inside a mask; that of a flat map where the map is 0 everywhere."""
    return map_metrics(filled(heat), mask).energy


def filled(heat: FloatArray) -> FloatArray:
    """The map itself, or a flat one where it is 0 everywhere: it knows no more than chance."""
    return heat if np.any(heat > 0) else np.ones_like(heat)


class EnergyCollector:
    """Reduces faces to numbers, one at a time, so that any number of them can be looked at.

    Args:
        methods: Whose maps the faces carry.
    """

    def __init__(self, methods: Sequence[str]) -> None:
        self.metrics = {method: ArtifactLocalization(print_table=False) for method in methods}
        self.blank: dict[str, set[tuple[str, int]]] = {method: set() for method in methods}

    def add(self, view: FaceView) -> None:
        """Take a face into account."""
        sample = view.sample.to_dict()
        for method, metric in self.metrics.items():
            heat = view.maps[method]
            if not np.any(heat > 0):
                self.blank[method].add((str(sample['video_key']), int(sample['frame'])))
            sample['pred_heat'] = torch.from_numpy(np.ascontiguousarray(filled(heat)))
            # Boxes play no part in energies.
            sample['pred_instances'] = InstanceData(bboxes=torch.zeros(0, 4), scores=torch.zeros(0))
            metric.process(None, [sample])

    def tables(self, num_resamples: int = 1000, seed: int = 0) -> list[EnergyTable]:
        """Metrics of all methods.

        Raises:
            InputError: No fake has a mask.
        """
        tables = []
        for method, metric in self.metrics.items():
            samples = unique_samples([LocalizationSample._make(result) for result in metric.results])
            rows = localization_rows(samples, num_resamples=num_resamples, seed=seed)
            tables.append(EnergyTable(method, rows, self._blank(method, samples, rows)))
        return tables

    def _blank(
        self, method: str, samples: Sequence[LocalizationSample], rows: Sequence[LocalizationRow]
    ) -> dict[str, tuple[int, int]]:
        blank = [s for s in samples if (s.video_key, s.frame) in self.blank[method]]
        genuine = sum(s.state == GENUINE for s in blank)
        fakes = {row.name: 0 for row in rows}
        for sample in blank:
            if sample.state != SCORED:
                continue
            for name in {sample.method, sample.dataset, f'{sample.dataset}/{sample.method}', rows[-1].name}:
                if name in fakes:
                    fakes[name] += 1
        return {name: (count, genuine) for name, count in fakes.items()}


def collect_energy(views: Iterable[FaceView], methods: Sequence[str]) -> EnergyCollector:
    """Reduce faces, see :class:`EnergyCollector`."""
    collector = EnergyCollector(methods)
    for view in views:
        collector.add(view)
    return collector


def energy_markdown(tables: Sequence[EnergyTable], titles: dict[str, str]) -> str:
    """Lay the metrics out as a Markdown table with a note on what they mean.

    Args:
        tables: One a method.
        titles: What to call the methods.

    Returns:
        The text.
    """
    head = ['map', 'manipulation', *(title for title, _ in COLUMNS), 'frames', 'blank (fake, genuine)']
    lines = ['| ' + ' | '.join(head) + ' |', '|' + '---|' * 2 + '---:|' * (len(head) - 2)]
    for table in tables:
        for row in table.rows:
            fakes, genuine = table.blank[row.name]
            cells = [titles.get(table.method, table.method), row.name]
            cells += [_written(row, key) for _, key in COLUMNS]
            cells += [str(row.counts['scored']), f'{fakes}, {genuine}']
            lines.append('| ' + ' | '.join(cells) + ' |')
    return '\n'.join(lines) + f'\n\n{NOTE}\n'


def _written(row: LocalizationRow, key: str) -> str:
    value = row.metrics.get(key, math.nan)
    if math.isnan(value):
        return '-'
    if key not in row.intervals:
        return f'{100 * value:.1f}'
    low, high = row.intervals[key]
    return f'{100 * value:.1f} ({100 * low:.1f} to {100 * high:.1f})'


def energy_json(tables: Sequence[EnergyTable]) -> dict[str, Any]:
    """The metrics as data, fractions of 1; metrics that do not exist are null."""
    return {
        table.method: {
            row.name: {
                **{key: _known(row.metrics.get(key, math.nan)) for _, key in COLUMNS},
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


def _known(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
