# SPDX-License-Identifier: Apache-2.0
"""The report of a robustness test: table, JSON, plot and contact image."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.config import Config

from iid_mm.datasets.functional.distortion import DISTORTIONS, strength
from iid_mm.datasets.functional.h264 import HOLD
from iid_mm.datasets.transforms.distort_face import VIDEO
from iid_mm.evaluation.eval_sets import EvalSet
from iid_mm.evaluation.scores import FrameScores, read_scores
from iid_mm.evaluation.statistics.intervals import Interval
from iid_mm.reporting.protocol import command_line, config_text, library_versions, text_sha256
from iid_mm.utils.files import write_json, write_text
from iid_mm.utils.tables import escaped, markdown_table
from iid_mm.visualization.drawing import write_image
from robustness.grid import Cell
from robustness.plots import distortion_sheet, plot_curves
from robustness.summary import Summary, summaries
from robustness.video_forgery_dataset import VideoForgeryDataset

FORMAT = 1
_DEFINITION = (
    'Drop: video AUC of the clean set minus that of the distorted one. Mean corruption drop: its mean over '
    'all distortions and levels of the table. Intervals: 95 %, DeLong, in drops with the covariance of both '
    'AUCs; of an AUC of 0 or 100 % Newcombe.'
)


@dataclass(frozen=True)
class ReportChoices:
    """How scores become metrics; see :func:`~robustness.summary.summaries`."""

    aggregation: str = 'mean'
    identities: bool = False
    per_method: bool = False


def write_report(
    folder: Path,
    records: Mapping[Cell, Mapping[str, Any]],
    test_set: EvalSet,
    cfg: Config,
    choices: ReportChoices,
    faces: VideoForgeryDataset,
) -> str:
    """Write ``report.json``, ``report.md``, ``curves.png`` and ``distortions.png``.

    Args:
        folder: The report's folder.
        records: By cell, what :func:`~iid_mm.reporting.scoring.score_sets` gives.
        test_set: The clean set.
        cfg: Config of the run.
        choices: How scores become metrics.
        faces: The clean samples, see :func:`plain_dataset`.

    Returns:
        The table as text.
    """
    scores = {cell: read_scores(folder / record['scores']['file']) for cell, record in records.items()}
    found = summaries(
        scores, how=choices.aggregation, identities=choices.identities, per_method=choices.per_method
    )
    protocol = _protocol(records[Cell()], test_set, scores[Cell()], cfg, choices, faces)
    write_json(folder / 'report.json', as_data(found, protocol))
    write_text(folder / 'report.md', as_markdown(found, protocol))
    plot_curves(found[0], folder / 'curves.png', title=f'Robustness on {test_set.name}')
    write_image(folder / 'distortions.png', distortion_sheet(faces, list(found[0].cells)))
    tables = [
        f'{summary.name}: video AUC (%) on {test_set.name}\n\n{format_summary(summary)}' for summary in found
    ]
    return '\n\n'.join(tables)


def plain_dataset(test_set: EvalSet, originals: dict[str, Any] | None = None) -> VideoForgeryDataset:
    """Build the clean set without a pipeline.

    Args:
        test_set: The set.
        originals: See :class:`~robustness.VideoForgeryDataset`.

    Raises:
        FileNotFoundError: Original videos are missing.
        InputError: No sample is left, or ``originals`` do not fit.
    """
    options = {
        key: value for key, value in test_set.dataset.items() if key not in ('type', 'pipeline', 'lazy_init')
    }
    return VideoForgeryDataset(**options, originals=originals)


def _protocol(
    record: Mapping[str, Any],
    test_set: EvalSet,
    clean: FrameScores,
    cfg: Config,
    choices: ReportChoices,
    faces: VideoForgeryDataset,
) -> dict[str, Any]:
    crops = f'crops of a video in order of time, each held for {HOLD} frames'
    return {
        'test_set': test_set.name,
        'command': command_line(sys.argv),
        'split': record['split'],
        'methods': record['methods'] or 'all',
        'frames_per_video': record['frames_per_video'] or 'all prepared ones',
        'faces': len(clean),
        'compression': record['coverage']['compressions'],
        'checkpoint_sha256': record['source']['checkpoint_sha256'],
        'config_sha256': text_sha256(config_text(cfg)),
        'index_sha256': record['source']['index_sha256'],
        'applied_to': 'stored face crops, before alignment; landmarks are those of the clean frames',
        VIDEO: 'whole original videos, then cropped' if faces.originals else crops,
        'aggregation': choices.aggregation,
        'intervals_over': 'identities' if choices.identities else 'videos',
        'versions': library_versions(),
    }


def as_data(found: Sequence[Summary], protocol: Mapping[str, Any]) -> dict[str, Any]:
    """Convert the metrics to plain data for JSON; AUCs and drops are fractions of 1.

    Args:
        found: From :func:`~robustness.summary.summaries`.
        protocol: How the scores were made.
    """
    return {
        'format': FORMAT,
        'protocol': dict(protocol),
        'definition': _DEFINITION,
        'distortions': {
            kind: {
                'title': DISTORTIONS[kind].title,
                'parameter': DISTORTIONS[kind].parameter,
                'values': {level: strength(kind, level) for level in found[0].levels},
                'source': DISTORTIONS[kind].source,
            }
            for kind in found[0].kinds
        },
        'results': [_summary_data(summary) for summary in found],
    }


def _summary_data(summary: Summary) -> dict[str, Any]:
    return {
        'name': summary.name,
        'videos': summary.num_videos,
        'fake_videos': summary.num_fake_videos,
        'clean_video_auc': _interval_data(summary.clean),
        'mean_corruption_drop': _interval_data(summary.mean_drop),
        'drop_per_distortion': {kind: _interval_data(drop) for kind, drop in summary.kind_drops.items()},
        'cells': [
            {
                'distortion': cell.kind,
                'level': cell.level,
                'video_auc': _interval_data(metrics.auc),
                'drop': _interval_data(metrics.drop),
            }
            for cell, metrics in summary.cells.items()
        ],
    }


def _interval_data(interval: Interval) -> dict[str, float | str | None]:
    """JSON has no NaN: a limit that is not defined is null."""
    low, high = (None if math.isnan(limit) else limit for limit in (interval.low, interval.high))
    return {'value': interval.value, 'low': low, 'high': high, 'method': interval.method}


def format_summary(summary: Summary) -> str:
    """Table of one summary in Markdown, in percent and percentage points."""
    levels = summary.levels
    table = [['distortion', 'clean', *(f'level {level}' for level in levels), 'mean drop']]
    clean = _percent(summary.clean)
    for kind in summary.kinds:
        cells = [_percent(summary.cells[Cell(kind, level)].auc) for level in levels]
        table.append([DISTORTIONS[kind].title, clean, *cells, _points(summary.kind_drops[kind])])
    means = [f'{100 * summary.mean_auc(level):.2f}' for level in (0, *levels)]
    table.append(['**mean**', *means, _points(summary.mean_drop)])
    return '\n'.join(markdown_table(table, texts=1))


def as_markdown(found: Sequence[Summary], protocol: Mapping[str, Any]) -> str:
    """Write the report.

    Args:
        found: From :func:`~robustness.summary.summaries`.
        protocol: How the scores were made; plain values only.
    """
    parts = [f'# Robustness: {escaped(protocol["test_set"])}', '', 'Video AUC, %.', '']
    for summary in found:
        genuine = summary.num_videos - summary.num_fake_videos
        title = f'{escaped(summary.name)}: {genuine} genuine and {summary.num_fake_videos} fake videos'
        drop = f'Mean corruption drop: **{_points(summary.mean_drop)}** percentage points.'
        parts += [f'## {title}', '', format_summary(summary), '', drop, '']
    levels = found[0].levels
    table = [['distortion', 'parameter', *map(str, levels), 'source']]
    for kind in found[0].kinds:
        distortion = DISTORTIONS[kind]
        values = [f'{strength(kind, level):g}' for level in levels]
        table.append([distortion.title, distortion.parameter, *values, distortion.source])
    parts += [_DEFINITION, '', '## Distortions', '', *markdown_table(table), '', '## Protocol', '']
    parts += [f'* {name.replace("_", " ")}: {escaped(_plain(value))}' for name, value in protocol.items()]
    return '\n'.join(parts) + '\n'


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return ', '.join(f'{name} {item}' for name, item in value.items())
    if isinstance(value, (list, tuple)):
        return ', '.join(map(str, value))
    return str(value)


def _percent(interval: Interval) -> str:
    return f'{100 * interval.value:.2f}{_limits(interval)}'


def _rounded_points(value: float, digits: int) -> float:
    """100 times ``value``, rounded, and never minus zero."""
    return round(100 * value, digits) + 0.0


def _points(interval: Interval) -> str:
    return f'{_rounded_points(interval.value, 2):+.2f}{_limits(interval)}'


def _limits(interval: Interval) -> str:
    if math.isnan(interval.low):
        return ''
    low, high = (_rounded_points(value, 1) for value in (interval.low, interval.high))
    return f' ({low:.1f} to {high:.1f})'
