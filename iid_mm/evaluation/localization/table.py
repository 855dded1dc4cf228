# SPDX-License-Identifier: Apache-2.0
"""Localization metrics of a set: overall and of every manipulation, with intervals over videos."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from iid_mm.errors import InputError
from iid_mm.evaluation.functional.inputs import factorize
from iid_mm.evaluation.functional.per_method import Level, subsets
from iid_mm.evaluation.localization.box_precision import (
    box_average_precision,
    collect_detections,
    mean_average_precision,
)
from iid_mm.evaluation.localization.maps import GRID, HALF, LEVELS, map_metrics
from iid_mm.evaluation.localization.samples import (
    EMPTY_MASK,
    GENUINE,
    NO_MASK,
    SCORED,
    LocalizationSample,
)
from iid_mm.utils.tables import UNDEFINED, markdown_table

Values = npt.NDArray[np.float64]
MAP_KEYS = ('pointing', 'energy', 'iou_half', 'iou_best')
INTERVAL_KEYS = ('box_ap50', 'box_ap50_local', *MAP_KEYS, *(f'gain_{key}' for key in MAP_KEYS))
"""Metrics that come with an interval."""
LOCAL_SHARE = 0.9
"""Boxes that cover at least this share of the canvas are not local."""
CONFIDENCE = 0.95
"""Level of the intervals."""
_COLUMNS = {
    'box AP50': 'box_ap50',
    'box AP': 'box_ap',
    'local box AP50': 'box_ap50_local',
    'local box AP': 'box_ap_local',
    'pointing': 'pointing',
    'energy': 'energy',
    'IoU at half': 'iou_half',
    'best IoU': 'iou_best',
}
_BASELINES = {'genuine frame': 'genuine_', 'gain over it': 'gain_', 'center': 'center_', 'chance': 'chance_'}


@dataclass(frozen=True)
class LocalizationRow:
    """Metrics of the whole set, of a dataset or of a manipulation, see :func:`localization_rows`.

    Attributes:
        name: ``overall``, the dataset or the manipulation (with several datasets after the set's).
        metrics: Metrics by name, fractions of 1; undefined ones are NaN or absent.
        intervals: Lower and upper end by name, of the metrics that have an interval.
        counts: Numbers of frames and videos by name.
    """

    name: str
    metrics: dict[str, float]
    intervals: dict[str, tuple[float, float]] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)

    def text(self, key: str) -> str:
        """A metric in percent, with its interval if it has one."""
        value = self.metrics.get(key, math.nan)
        if math.isnan(value):
            return UNDEFINED
        if key not in self.intervals:
            return f'{100 * value:.1f}'
        low, high = self.intervals[key]
        return f'{100 * value:.1f} ({100 * low:.1f} to {100 * high:.1f})'


def localization_rows(
    samples: Sequence[LocalizationSample],
    *,
    num_resamples: int = 1000,
    seed: int = 0,
) -> list[LocalizationRow]:
    """Metrics of every manipulation, of every dataset where there are several, and overall.

    Map metrics are means over the fake frames that have a mask. Box metrics count the boxes on these
    frames and on all genuine frames of the row's datasets, where every box is wrong;
    ``..._fakes`` leaves the genuine frames out. ``..._local`` leaves out boxes of (almost) the whole
    canvas, which every fake has by training and which do not localize anything. ``iou_half`` cuts every
    map at half its maximum; ``iou_best`` cuts all maps of the row at the share of the maximum with the
    highest mean overlap (``best_level``), an upper bound.

    Baselines are the metrics of maps and boxes that do not depend on the artifact:

    * ``genuine_...``: the map of the genuine frame of the same scene, compared with the fake's mask. Faces
      are aligned, so a map that is high in the middle of any face does well without an artifact.
      ``gain_...`` is the metric of the fake's own map minus this one; it shows whether the detector
      looks at the artifact. Both are computed on a grid of 28 x 28 cells, for fakes whose genuine frame
      is in the set (``paired``).
    * ``center_...``: a map that falls off from the middle, or the best of ten centered boxes with the
      face's probability of fake as score (``center_..._local``: of those smaller than the canvas).
    * ``chance_...``: a flat map, or a box of the canvas with this score.

    Args:
        samples: Frames, each once.
        num_resamples: Resamples of the bootstrap over videos, genuine and fake ones separately, for 95 %
            percentile intervals; 0: no intervals.
        seed: Seed of the resampling.

    Returns:
        One row per manipulation, and the whole set last.

    Raises:
        InputError: No fake frame has a mask.
    """
    if not any(sample.state == SCORED for sample in samples):
        counts = _counts(samples)
        raise InputError(
            f'localization: of {counts["fakes"]} fake frames {counts["without_mask"]} have no mask and '
            f'{counts["empty_masks"]} an empty one, so there is nothing to compare with; prepare the set '
            'with --masks and put LoadForgeryMask into the test pipeline'
        )
    datasets, methods = (factorize([getattr(s, key) for s in samples]) for key in ('dataset', 'method'))
    labels = np.array([int(sample.state != GENUINE) for sample in samples])
    level = Level(np.zeros(labels.size), labels, datasets, methods, 'frames')
    rows = []
    for subset in subsets(level):
        chosen = [samples[i] for i in np.flatnonzero(level.mask(subset))]
        row = LocalizationRow(subset.name, {}, {}, _counts(chosen))
        if row.counts['scored']:
            prepared = _Prepared(chosen)
            row.metrics.update(prepared.metrics())
            row.counts['paired'] = int(prepared.paired.sum())
            if num_resamples:
                rng = np.random.default_rng(seed)
                row.intervals.update(prepared.intervals(num_resamples, rng))
        rows.append(row)
    return rows


def flat_metrics(rows: Sequence[LocalizationRow]) -> dict[str, float]:
    """Name every metric: the whole set's plainly, a row's as ``pointing/<row>``; NaN ones are left out."""
    flat = dict(rows[-1].metrics) | {f'num_{key}': float(value) for key, value in rows[-1].counts.items()}
    for row in rows[:-1]:
        flat |= {f'{key}/{row.name}': row.metrics.get(key, math.nan) for key in INTERVAL_KEYS}
    return {key: value for key, value in flat.items() if not math.isnan(value)}


def format_localization(rows: Sequence[LocalizationRow]) -> str:
    """Format the metrics as a Markdown table, in percent, each row above its baselines.

    Args:
        rows: Output of :func:`localization_rows`.

    Returns:
        The table.
    """
    table = [['', *_COLUMNS, 'frames', 'no mask']]
    for row in rows:
        missing = row.counts['without_mask'] + row.counts['empty_masks']
        metrics = [row.text(key) for key in _COLUMNS.values()]
        table.append([row.name, *metrics, str(row.counts['scored']), str(missing)])
        for title, prefix in _BASELINES.items():
            table.append([f'  {title}', *(row.text(prefix + key) for key in _COLUMNS.values()), '', ''])
    return '\n'.join(markdown_table(table, texts=1))


def _counts(samples: Sequence[LocalizationSample]) -> dict[str, int]:
    states = [sample.state for sample in samples]
    return {
        'fakes': len(states) - states.count(GENUINE),
        'scored': states.count(SCORED),
        'without_mask': states.count(NO_MASK),
        'empty_masks': states.count(EMPTY_MASK),
        'genuine': states.count(GENUINE),
        'videos': len({sample.video_key for sample in samples if sample.state == SCORED}),
    }


class _Prepared:
    """A row's frames as arrays, without fakes that have no usable mask."""

    def __init__(self, samples: Sequence[LocalizationSample]) -> None:
        used = [sample for sample in samples if sample.state in (GENUINE, SCORED)]
        self.scored = np.array([sample.state == SCORED for sample in used])
        keys = [sample.video_key for sample in used]
        self.video = np.unique(keys, return_inverse=True)[1]
        self.maps = np.stack([sample.maps for sample in used if sample.state == SCORED])
        self.face_scores = np.array([sample.score for sample in used])
        self.center = np.stack([sample.center for sample in used])
        boxes = [sample.boxes for sample in used]
        self.boxes = {'': boxes, '_local': [some[some[:, 2] < LOCAL_SHARE] for some in boxes]}
        means = self.maps.mean(axis=0)
        self.best = [int(np.argmax(row[2:])) for row in means]
        self.found = {name: collect_detections(boxes) for name, boxes in self.boxes.items()}
        self.pairs, self.paired = _pairs(used)
        empty = np.zeros((2, 2 + len(LEVELS)))
        pair_means = self.pairs[self.paired].mean(axis=0) if self.paired.any() else empty
        self.pair_best = [int(np.argmax(row[2:])) for row in pair_means]

    def metrics(self) -> dict[str, float]:
        """All metrics."""
        total = int(self.scored.sum())
        metrics: dict[str, float] = {}
        on_fakes = {
            f'{name}_fakes': collect_detections([boxes[i] for i in np.flatnonzero(self.scored)])
            for name, boxes in self.boxes.items()
        }
        for name, found in (self.found | on_fakes).items():
            metrics[f'box_ap50{name}'] = box_average_precision(found, total, 0.5)
            metrics[f'box_ap{name}'] = mean_average_precision(found, total)
        metrics |= self._box_baselines(total)
        for number, name in enumerate(('', 'center_', 'chance_')):
            mean = self.maps[:, number].mean(axis=0)
            metrics |= {
                f'{name}pointing': float(mean[0]),
                f'{name}energy': float(mean[1]),
                f'{name}iou_half': float(mean[2 + HALF]),
                f'{name}iou_best': float(mean[2 + self.best[number]]),
            }
        for key, column in self._pair_columns().items():
            metrics[key] = float(column[self.paired].mean()) if self.paired.any() else math.nan
        metrics['best_level'] = math.nan if math.isnan(metrics['iou_best']) else LEVELS[self.best[0]]
        return metrics

    def _pair_columns(self) -> dict[str, Values]:
        """Metrics of the genuine frame's map, and the gain of the own map over it, of every fake."""
        columns = [(0, 0), (1, 1), (2 + HALF, 2 + HALF), (2 + self.pair_best[0], 2 + self.pair_best[1])]
        metrics = {}
        for key, (own, genuine) in zip(MAP_KEYS, columns, strict=True):
            metrics[f'genuine_{key}'] = self.pairs[:, 1, genuine]
            metrics[f'gain_{key}'] = self.pairs[:, 0, own] - self.pairs[:, 1, genuine]
        return metrics

    def _box_baselines(self, total: int) -> dict[str, float]:
        """Box precision of one centered box per face; the last one is the canvas, the others are local."""
        ap50, ap = [], []
        for ious in self.center.T:
            found = collect_detections(list(np.stack([self.face_scores, ious], axis=1)[:, None]))
            ap50.append(box_average_precision(found, total, 0.5))
            ap.append(mean_average_precision(found, total))
        return {
            'center_box_ap50': max(ap50),
            'center_box_ap': max(ap),
            'center_box_ap50_local': max(ap50[:-1]),
            'center_box_ap_local': max(ap[:-1]),
            'chance_box_ap50': ap50[-1],
            'chance_box_ap': ap[-1],
        }

    def intervals(self, num_resamples: int, rng: np.random.Generator) -> dict[str, tuple[float, float]]:
        """Percentile intervals; resamples keep the row's ``best_level``."""
        fake = np.zeros(self.video.max() + 1, dtype=bool)
        fake[self.video[self.scored]] = True
        groups = [np.flatnonzero(fake), np.flatnonzero(~fake)]
        own = self.maps[:, 0]
        columns = [own[:, 0], own[:, 1], own[:, 2 + HALF], own[:, 2 + self.best[0]]]
        gains = [column for key, column in self._pair_columns().items() if key.startswith('gain')]
        video = self.video[self.scored]
        counted = [np.ones(video.size)] * len(columns) + [self.paired.astype(np.float64)] * len(gains)
        values = [np.where(count > 0, c, 0.0) for c, count in zip(columns + gains, counted, strict=True)]
        sums = np.stack([np.bincount(video, v, minlength=fake.size) for v in values], axis=1)
        counts = np.stack([np.bincount(video, c, minlength=fake.size) for c in counted], axis=1)
        drawn = np.full((num_resamples, len(INTERVAL_KEYS)), math.nan)
        for row in drawn:
            times = np.zeros(fake.size)
            for group in groups:
                if group.size:
                    chosen = rng.integers(group.size, size=group.size)
                    times[group] = np.bincount(chosen, minlength=group.size)
            weights = times[self.video]
            total = float(weights[self.scored].sum())
            row[:2] = [box_average_precision(f, total, 0.5, weights) for f in self.found.values()]
            np.divide(times @ sums, times @ counts, out=row[2:], where=times @ counts > 0)
        tail = (1 - CONFIDENCE) / 2
        intervals = {}
        for key, column in zip(INTERVAL_KEYS, drawn.T, strict=True):
            # A resample may hold no pair.
            known = column[~np.isnan(column)]
            if known.size:
                low, high = np.quantile(known, [tail, 1 - tail])
                intervals[key] = (float(low), float(high))
        return intervals


def _pairs(samples: Sequence[LocalizationSample]) -> tuple[Values, npt.NDArray[np.bool_]]:
    """Compare the maps of fakes and of their genuine frames with the masks, on the grid.

    Returns:
        Metrics of the own and of the genuine map, (F, 2, 2 + L), of all scored fakes, and which of them
        have a genuine frame and a mask that is not empty on the grid, (F,).
    """
    genuine: dict[tuple[str, str, str, int], bytes] = {}
    for sample in samples:
        if sample.state == GENUINE and sample.scene is not None and sample.grid:
            genuine[sample.scene] = sample.grid
    scored = [sample for sample in samples if sample.state == SCORED]
    metrics = np.zeros((len(scored), 2, 2 + len(LEVELS)))
    paired = np.zeros(len(scored), dtype=bool)
    for number, sample in enumerate(scored):
        other = genuine.get(sample.scene) if sample.scene is not None else None
        if other is None or not sample.grid:
            continue
        bits = np.unpackbits(np.frombuffer(sample.mask_grid, dtype=np.uint8))
        mask = bits[: GRID * GRID].reshape(GRID, GRID).astype(bool)
        if mask.any():
            paired[number] = True
            for row, data in enumerate((sample.grid, other)):
                grid = np.frombuffer(data, dtype=np.uint8).reshape(GRID, GRID).astype(np.float64)
                metrics[number, row] = map_metrics(grid, mask).as_vector()
    return metrics, paired
