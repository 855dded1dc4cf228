# SPDX-License-Identifier: Apache-2.0
"""What an index and its preparation report say of a test set: how it was made, and what is not in it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from iid_mm.errors import InputError
from iid_mm.evaluation.eval_sets import EvalSet
from iid_mm.utils.files import read_json, sha256
from iid_mm.utils.parquet import open_parquet

_SETTINGS_KEY = b'iid_mm.preparation'


def index_facts(test_set: EvalSet) -> list[dict[str, Any]]:
    """Describe the indices of a set.

    Args:
        test_set: The set.

    Returns:
        For every index ``file`` (name), ``sha256`` and ``preparation``: the settings it was made with,
        None where it does not say.
    """
    facts = []
    for path in test_set.indices:
        with open_parquet(path) as file:
            stored = (file.schema_arrow.metadata or {}).get(_SETTINGS_KEY)
        facts.append(
            {
                'file': path.name,
                'sha256': sha256(path),
                'preparation': None if stored is None else _settings(stored, path),
            }
        )
    return facts


def _settings(stored: bytes, path: Path) -> dict[str, Any]:
    try:
        settings = json.loads(stored)
    except (ValueError, RecursionError) as error:
        settings = error
    if not isinstance(settings, dict):
        raise InputError(
            f'{path}: its note {_SETTINGS_KEY.decode()} is no JSON object ({str(settings)[:80]!r})'
        )
    return settings


def coverage_facts(test_set: EvalSet, table: pa.Table, scored: npt.NDArray[Any]) -> dict[str, Any]:
    """Find out which videos have no score, and why.

    Args:
        test_set: The set.
        table: Its samples, from :func:`~iid_mm.evaluation.eval_sets.check_eval_set`.
        scored: Keys of the videos that have a score.

    Returns:
        Plain data:

        * ``videos``: videos in the index, one entry a dataset, method and label.
        * ``unscored``: videos in the index that have no score.
        * ``without_face``: prepared videos of this split in which no face was found, each with
          ``video_key``, ``dataset``, ``method``, ``label``; None if that is not known.
        * ``without_face_any_split``: how many such videos all splits have together; None if not known.
        * ``listed_but_absent``: videos that a list of the dataset names but that were not on disk.
        * ``left_out``: how many videos the preparation left out, by reason.
        * ``compressions``: compression levels.
    """
    videos = table.group_by(['video_key', 'dataset', 'method', 'compression', 'label']).aggregate([])
    counts = videos.group_by(['dataset', 'method', 'label']).aggregate([('video_key', 'count')])
    keys = set(videos['video_key'].to_pylist())
    reports = [_preparation_report(index.parent) for index in test_set.indices]
    try:
        return _coverage(videos, counts, keys, scored, reports, test_set)
    except (LookupError, TypeError, AttributeError, ValueError) as error:
        raise InputError(
            f'report.json beside an index of test set {test_set.name} lacks an entry or has one of the wrong '
            f'kind ({error!r}); prepare the set again, or remove it'
        ) from error


def _coverage(
    videos: pa.Table,
    counts: pa.Table,
    keys: set[str],
    scored: npt.NDArray[Any],
    reports: Sequence[dict[str, Any] | None],
    test_set: EvalSet,
) -> dict[str, Any]:
    return {
        'videos': sorted(
            (
                {name: row[name] for name in ('dataset', 'method', 'label')}
                | {'videos': row['video_key_count']}
                for row in counts.to_pylist()
            ),
            key=lambda row: (row['dataset'], row['method'], row['label']),
        ),
        'unscored': [video for video in _plain(videos) if video['video_key'] in keys - set(scored.tolist())],
        'without_face': _without_face(reports, test_set),
        'without_face_any_split': _sum(_faceless_count(report) for report in reports),
        'listed_but_absent': _sum(_length(report, 'missing') for report in reports),
        'left_out': _left_out(reports),
        'compressions': sorted(videos['compression'].unique().to_pylist()),
    }


def _plain(videos: pa.Table) -> list[dict[str, Any]]:
    rows = videos.select(['video_key', 'dataset', 'method', 'label']).to_pylist()
    return sorted(rows, key=lambda row: str(row['video_key']))


def _preparation_report(folder: Path) -> dict[str, Any] | None:
    path = folder / 'report.json'
    try:
        content = read_json(path)
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def _faceless_count(report: Mapping[str, Any] | None) -> int | None:
    methods = (report or {}).get('methods')
    if not isinstance(methods, dict):
        return None
    return sum(int(counts.get('videos_without_face', 0)) for counts in methods.values())


def _without_face(reports: Sequence[dict[str, Any] | None], test_set: EvalSet) -> list[dict[str, Any]] | None:
    """Videos without a face in the set's split, sorted; None if a report does not tell the splits."""
    found: list[dict[str, Any]] = []
    chosen = test_set.dataset.get('methods')
    for report in reports:
        listed = (report or {}).get('without_face')
        if isinstance(listed, list):
            for video in listed:
                is_chosen = chosen is None or not video['label'] or video['method'] in chosen
                if video['split'] == test_set.split and is_chosen:
                    dataset = str(video['key']).split('/', 1)[0]
                    kept = {'video_key': video['key'], 'dataset': dataset}
                    found.append(kept | {name: video[name] for name in ('method', 'label')})
        elif _faceless_count(report) != 0:
            return None
    return sorted(found, key=lambda video: str(video['video_key']))


def _length(report: Mapping[str, Any] | None, name: str) -> int | None:
    values = (report or {}).get(name)
    return len(values) if isinstance(values, list) else None


def _left_out(reports: Sequence[dict[str, Any] | None]) -> dict[str, int] | None:
    reasons: dict[str, int] = {}
    for report in reports:
        listed = (report or {}).get('left_out')
        if not isinstance(listed, dict):
            return None
        for reason in listed.values():
            reasons[str(reason)] = reasons.get(str(reason), 0) + 1
    return dict(sorted(reasons.items()))


def _sum(values: Iterable[int | None]) -> int | None:
    known = list(values)
    return None if any(value is None for value in known) else int(np.sum([v or 0 for v in known]))
