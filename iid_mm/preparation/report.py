# SPDX-License-Identifier: Apache-2.0
"""The report of a preparation run."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from iid_mm.preparation.settings import Settings

# Reasons that are listed at the end of a run.
MAX_REASONS = 12


def build_report(
    settings: Settings,
    groups: Sequence[dict[str, Any]],
    left_out: Mapping[str, str],
    missing: Sequence[str] = (),
) -> dict[str, Any]:
    """Sum up the outcome of every video.

    Args:
        settings: Settings of the run.
        groups: Reports of the groups (:meth:`GroupResult.report`).
        left_out: Videos that were not prepared -> reason.
        missing: Videos that a list of the dataset names but that are not on disk.

    Returns:
        Plain data: ``settings``, ``videos``, ``frames_asked``, ``frames_found``, ``methods``
        (counts per method), ``splits`` (samples per split and method), ``left_out``, ``missing``,
        ``without_face`` (videos that gave no sample), ``given_up`` (video -> numbers of the frames
        without a face of its person), ``problems``, ``seconds`` (a stage), ``cpu_seconds`` and
        ``frames_analyzed``.
    """
    videos = sorted((v for group in groups for v in group['videos']), key=lambda v: v['key'])
    methods: dict[str, Counter[str]] = {}
    splits: dict[str, Counter[str]] = {}
    seconds: Counter[str] = Counter()
    for video in videos:
        counts = methods.setdefault(video['method'], Counter())
        counts.update(
            videos=1,
            videos_without_face=int(video['found'] == 0),
            frames_asked=video['asked'],
            frames_found=video['found'],
            frames_paired=video['paired'],
            masks=video['masks'],
        )
        splits.setdefault(video['split'], Counter())[video['method']] += video['found']
    for group in groups:
        seconds.update(group['seconds'])
    return {
        'settings': json.loads(settings.to_json()),
        'videos': len(videos),
        'frames_asked': sum(video['asked'] for video in videos),
        'frames_found': sum(video['found'] for video in videos),
        'methods': {method: dict(counts) for method, counts in sorted(methods.items())},
        'splits': {split: dict(sorted(counts.items())) for split, counts in sorted(splits.items())},
        'left_out': dict(sorted(left_out.items())),
        'missing': sorted(missing),
        'without_face': [
            {name: video[name] for name in ('key', 'method', 'split', 'label')}
            for video in videos
            if video['found'] == 0
        ],
        'given_up': {video['key']: video['given_up'] for video in videos if video['given_up']},
        'problems': [
            {'video': video['key'], 'reason': problem} for video in videos for problem in video['problems']
        ],
        'seconds': {stage: round(value, 2) for stage, value in sorted(seconds.items())},
        'cpu_seconds': round(sum(group['cpu_seconds'] for group in groups), 2),
        'frames_analyzed': sum(group['analyzed'] for group in groups),
    }


def format_report(report: dict[str, Any], max_problems: int = 10) -> str:
    """Write a report as a few lines for people.

    Args:
        report: From :func:`build_report`.
        max_problems: How many problems are listed.

    Returns:
        Text without a line break at the end.
    """
    heads = ('videos', 'no face', 'frames', 'found', 'paired')
    lines = [f'{"method":<20}' + ''.join(f' {head:>8}' for head in heads)]
    for method, counts in report['methods'].items():
        names = ('videos', 'videos_without_face', 'frames_asked', 'frames_found', 'frames_paired')
        lines.append(f'{method:<20}' + ''.join(f' {counts[name]:>8}' for name in names))
    asked, found = report['frames_asked'], report['frames_found']
    share = 100 * found / asked if asked else 0.0
    videos = report['videos']
    lines.append(f'{videos} videos, {found} of {asked} frames with a face ({share:.2f} %)')
    for split, counts in report['splits'].items():
        parts = ', '.join(f'{method} {count}' for method, count in counts.items())
        lines.append(f'{split}: {parts}')
    reasons = Counter(report['left_out'].values())
    for reason, count in sorted(reasons.most_common(MAX_REASONS)):
        lines.append(f'left out: {count}, {reason}')
    if reasons:
        more = f' for {len(reasons)} reasons' if len(reasons) > MAX_REASONS else ''
        lines.append(
            f'left out in all: {len(report["left_out"])} files or folders{more}; '
            'each is listed with its reason under left_out in report.json'
        )
    if report['missing']:
        lines.append(
            f'missing: {len(report["missing"])} listed videos are not there, e.g. {report["missing"][0]}'
        )
    total = sum(report['seconds'].values())
    if total > 0:
        stages = ', '.join(
            f'{stage} {100 * value / total:.0f} %' for stage, value in report['seconds'].items()
        )
        lines.append(f'work: {total:.1f} s ({stages})')
    if cpu := report['cpu_seconds']:
        rate = report['frames_analyzed'] / cpu
        lines.append(f'CPU time: {cpu:.1f} s, {rate:.1f} frames/s per core')
    problems = report['problems']
    lines.extend(f'problem: {p["video"]}: {p["reason"]}' for p in problems[:max_problems])
    if len(problems) > max_problems:
        lines.append(f'... and {len(problems) - max_problems} more problems, see report.json')
    return '\n'.join(lines)
