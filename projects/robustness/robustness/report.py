# SPDX-License-Identifier: Apache-2.0
"""The table of a robustness test, as data and as Markdown."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from iid_mm.datasets.functional.distortion import DISTORTIONS, strength
from iid_mm.errors import InputError
from iid_mm.evaluation.functional.aggregate import VideoScores, video_scores
from iid_mm.evaluation.scores import FrameScores
from iid_mm.evaluation.statistics.intervals import Interval
from robustness.cells import Cell
from robustness.functional.summary import Summary, summarize

FORMAT = 1
_DEFINITION = (
    'Drop: video AUC of the clean set minus that of the distorted one. Mean corruption drop: its mean over '
    'all distortions and levels of the table. Intervals: 95 %, DeLong, in drops with the covariance of both '
    'AUCs; of an AUC of 0 or 100 % Newcombe.'
)


def summaries(
    scores: Mapping[Cell, FrameScores],
    *,
    how: str = 'mean',
    identities: bool = False,
    per_method: bool = False,
) -> list[Summary]:
    """Compute the metrics of a whole set, of every dataset in it, and of every manipulation.

    Args:
        scores: Scores of all cells, the clean one among them.
        how: How frames make a video, see :func:`~iid_mm.evaluation.functional.video_scores`.
        identities: Whether videos of one identity (``target_id``) depend on each other in the intervals.
        per_method: Add a summary for every manipulation against the genuine videos of its dataset.

    Returns:
        The whole set first.

    Raises:
        InputError: Cells have scored different videos, or identities are asked for and unknown.
        OneClassError: A class is missing.
    """
    clean = scores[Cell()]
    videos = {cell: _videos(frames, how, cell) for cell, frames in scores.items()}
    reference = videos[Cell()]
    for cell, found in videos.items():
        if found.keys.tolist() != reference.keys.tolist() or len(scores[cell]) != len(clean):
            raise InputError(
                f'the scores of {cell.name} are of other faces than those of the clean set: run it anew'
            )
    methods, datasets = clean.method[reference.first], clean.dataset[reference.first]
    groups = None
    if identities:
        names = clean.target_id[reference.first]
        if all(name is None for name in names.tolist()):
            raise InputError(
                'intervals over identities: the index does not know whose faces these are (target_id)'
            )
        # The same name in two datasets is not the same person.
        pairs = zip(datasets, names, strict=True)
        groups = np.array([None if n is None else f'{dataset}/{n}' for dataset, n in pairs], dtype=object)
    fakes = reference.labels == 1
    subsets = [('overall', np.ones(fakes.shape, dtype=bool))]
    several = sorted(set(datasets.tolist()))
    for dataset in several:
        inside = datasets == dataset
        if len(several) > 1:
            subsets.append((dataset, inside))
        for method in sorted(set(methods[inside & fakes].tolist())) if per_method else ():
            title = f'{dataset}/{method}' if len(several) > 1 else method
            subsets.append((title, inside & (~fakes | (methods == method))))
    distorted = {(cell.kind, cell.level): videos[cell].scores for cell in videos if cell.level}
    return [
        summarize(
            reference.scores[chosen],
            {key: values[chosen] for key, values in distorted.items()},
            reference.labels[chosen],
            groups=None if groups is None else groups[chosen],
            name=name,
        )
        for name, chosen in subsets
    ]


def _videos(frames: FrameScores, how: str, cell: Cell) -> VideoScores:
    return video_scores(frames.score, frames.label, frames.video_key, how, name=cell.name)


def as_data(
    found: Sequence[Summary], protocol: Mapping[str, Any], seconds: Mapping[str, float]
) -> dict[str, Any]:
    """Bring the metrics into plain data for JSON; AUCs and drops are fractions of 1.

    Args:
        found: From :func:`summaries`.
        protocol: How the scores were made.
        seconds: Time of each cell, by name.
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
        'seconds': dict(seconds),
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
                'video_auc': _interval_data(cell.auc),
                'drop': _interval_data(cell.drop),
            }
            for cell in summary.cells.values()
        ],
    }


def _interval_data(interval: Interval) -> dict[str, float | str | None]:
    """JSON has no NaN: a limit that is not known is null."""
    low, high = (None if math.isnan(limit) else limit for limit in (interval.low, interval.high))
    return {'value': interval.value, 'low': low, 'high': high, 'method': interval.method}


def format_summary(summary: Summary) -> str:
    """Table of one summary in Markdown, in percent and percentage points."""
    levels = summary.levels
    head = ['distortion', 'clean', *(f'level {level}' for level in levels), 'mean drop']
    lines = [_row(head), _row(['---', *['---:'] * (len(head) - 1)])]
    clean = _percent(summary.clean)
    for kind in summary.kinds:
        cells = [_percent(summary.cells[kind, level].auc) for level in levels]
        lines.append(_row([DISTORTIONS[kind].title, clean, *cells, _points(summary.kind_drops[kind])]))
    means = [f'{100 * summary.mean_auc(level):.2f}' for level in levels]
    lines.append(_row(['**mean**', f'{100 * summary.clean.value:.2f}', *means, _points(summary.mean_drop)]))
    return '\n'.join(lines)


def as_markdown(found: Sequence[Summary], protocol: Mapping[str, Any]) -> str:
    """Write the report.

    Args:
        found: From :func:`summaries`.
        protocol: How the scores were made; plain values only.
    """
    parts = [f'# Robustness: {protocol.get("test_set", "")}', '', 'Video AUC, %.', '']
    for summary in found:
        genuine = summary.num_videos - summary.num_fake_videos
        title = f'{summary.name}: {genuine} genuine and {summary.num_fake_videos} fake videos'
        drop = f'Mean corruption drop: **{_points(summary.mean_drop)}** percentage points.'
        parts += [f'## {title}', '', format_summary(summary), '', drop, '']
    parts += [_DEFINITION, '', '## Distortions', '']
    parts += [
        _row(['distortion', 'parameter', *(f'{n}' for n in found[0].levels), 'source']),
        _row(['---'] * (3 + len(found[0].levels))),
    ]
    for kind in found[0].kinds:
        distortion = DISTORTIONS[kind]
        values = [f'{strength(kind, level):g}' for level in found[0].levels]
        parts.append(_row([distortion.title, distortion.parameter, *values, distortion.source]))
    parts += ['', '## Protocol', '']
    parts += [f'* {name.replace("_", " ")}: {_plain(value)}' for name, value in protocol.items()]
    return '\n'.join(parts) + '\n'


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return ', '.join(f'{name} {item}' for name, item in value.items())
    if isinstance(value, (list, tuple)):
        return ', '.join(map(str, value))
    return str(value)


def _row(cells: Sequence[str]) -> str:
    return f'| {" | ".join(cells)} |'


def _percent(interval: Interval) -> str:
    return f'{100 * interval.value:.2f}{_limits(interval)}'


def _rounded_points(value: float, digits: int) -> float:
    """100 times ``value``, rounded, and never minus zero: a drop of -0.0 points reads like a mistake."""
    return round(100 * value, digits) + 0.0


def _points(interval: Interval) -> str:
    return f'{_rounded_points(interval.value, 2):+.2f}{_limits(interval)}'


def _limits(interval: Interval) -> str:
    if math.isnan(interval.low):
        return ''
    low, high = (_rounded_points(value, 1) for value in (interval.low, interval.high))
    return f' ({low:.1f} to {high:.1f})'
