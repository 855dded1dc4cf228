# SPDX-License-Identifier: Apache-2.0
"""A report as a folder: everything that follows from the stored scores, written and computed again."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from iid_mm.errors import InputError
from iid_mm.evaluation.scores import read_scores
from iid_mm.reporting.metrics_table import Row, ScoredVideos, report_rows
from iid_mm.reporting.options import ReportOptions
from iid_mm.reporting.provenance import text_sha256
from iid_mm.reporting.scoring import write_json
from iid_mm.reporting.threshold import Threshold, find_threshold
from iid_mm.utils.files import sha256, write_text

FORMAT = 'iid_mm test report, version 1'
REPORT_FILE = 'report.json'
TEXT_FILE = 'report.md'
TEXT_HASH = 'text_sha256'
VIDEO_SCORES_FILE = 'video_scores.parquet'
PICTURES_FOLDER = 'pictures'
MAX_FILE = 4 * 2**30
"""Bytes of a file of a report; the scores of 100 million faces take less."""
_PARTS = re.compile(
    r'report\.json|report\.md|config\.py|video_scores\.parquet|pictures/[^/\\]+\.png|'
    r'frame_scores/[^/\\]+\.(?:parquet|json)|localization/[^/\\]+\.parquet'
)


def report_file(folder: Path, name: Any) -> Path:
    """Find a file that a report names.

    Reports come from strangers: nothing is opened that lies outside of the folder, links included, that no
    report has, or that could be waited for without end.

    Args:
        folder: The report's folder.
        name: Path relative to it, with ``/``.

    Raises:
        InputError: It is no such file.
        FileNotFoundError: It does not exist.
    """
    where = f'{REPORT_FILE} of {folder}'
    if not isinstance(name, str) or not _PARTS.fullmatch(name) or not name.isprintable():
        raise InputError(
            f'{where} names {str(name)[:200]!r}, which is no file of a report; it was not opened'
        )
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise InputError(f'{where} names {name!r}, a link out of the folder; it was not opened')
    if not path.exists():
        raise FileNotFoundError(f'{name}, which {REPORT_FILE} lists, does not exist')
    if not path.is_file():
        raise InputError(f'{where} names {name!r}, which is not a regular file; it was not opened')
    if path.stat().st_size > MAX_FILE:
        raise InputError(f'{where} names {name!r}, which has more than {MAX_FILE} bytes; it was not opened')
    return path


@dataclass(frozen=True)
class Computed:
    """What follows from the stored scores.

    Attributes:
        sets: The scored test sets.
        threshold: The threshold.
        rows: The rows of the table.
    """

    sets: list[ScoredVideos]
    threshold: Threshold
    rows: list[Row]

    def frames_a_video(self) -> dict[str, dict[str, float]]:
        """Scored frames of the videos of each set."""
        return {
            scored.test_set: {
                'least': int(scored.videos.frames.min()),
                'median': float(np.median(scored.videos.frames)),
                'most': int(scored.videos.frames.max()),
            }
            for scored in self.sets
        }


def compute(
    folder: Path,
    records: Sequence[Mapping[str, Any]],
    validation: Mapping[str, Any] | None,
    obstacle: str,
    options: ReportOptions,
) -> Computed:
    """Compute everything from the stored scores.

    Args:
        folder: The report's folder.
        records: Records of the test sets, from :meth:`~.scoring.ScoringJob.score`.
        validation: Record of the validation set; None: no threshold was chosen on it.
        obstacle: Why not, in words.
        options: How scores become metrics.

    Raises:
        FileNotFoundError: A scores file is missing.
        InputError: Scores cannot be used, for example because one is NaN.
    """
    sets = [
        ScoredVideos.of(record['name'], read_scores(report_file(folder, record['scores']['file'])), options)
        for record in records
    ]
    chosen = None if validation is None else read_scores(report_file(folder, validation['scores']['file']))
    tested = {key for scored in sets for key in scored.videos.keys.tolist()}
    threshold = find_threshold(options, chosen, obstacle, tested)
    coverage = {record['name']: record['coverage'] for record in records}
    return Computed(sets, threshold, report_rows(sets, coverage, threshold.value, options))


def video_table(computed: Computed, records: Sequence[Mapping[str, Any]]) -> pa.Table:
    """One row a video: its score, its label and what it is called at the threshold.

    Videos in which no face was found are listed without a score, after the others of their set.
    """
    columns: dict[str, list[Any]] = {name: [] for name in _VIDEO_SCHEMA.names}
    for scored, record in zip(computed.sets, records, strict=True):
        videos = scored.videos
        called = np.where(videos.scores >= computed.threshold.value, 'fake', 'genuine')
        faceless = record['coverage']['without_face'] or []
        values = {
            'test_set': [scored.test_set] * (videos.labels.size + len(faceless)),
            'dataset': [*scored.dataset, *(video['dataset'] for video in faceless)],
            'method': [*scored.method, *(video['method'] for video in faceless)],
            'video_key': [*videos.keys, *(video['video_key'] for video in faceless)],
            'label': [*videos.labels.tolist(), *(video['label'] for video in faceless)],
            'frames': [*videos.frames.tolist(), *(0 for _ in faceless)],
            'score': [*videos.scores.tolist(), *(None for _ in faceless)],
            'called': [*called.tolist(), *(None for _ in faceless)],
        }
        for name, column in columns.items():
            column.extend(values[name])
    return pa.table(columns, schema=_VIDEO_SCHEMA)


_VIDEO_SCHEMA = pa.schema(
    [
        ('test_set', pa.string()),
        ('dataset', pa.string()),
        ('method', pa.string()),
        ('video_key', pa.string()),
        ('label', pa.int8()),
        ('frames', pa.int32()),
        ('score', pa.float64()),
        ('called', pa.string()),
    ]
)


def write_video_table(table: pa.Table, path: Path) -> None:
    """Write the table of :func:`video_table`; equal tables give equal files."""
    pq.write_table(table, path, compression='zstd')


def report_content(
    computed: Computed,
    card: Mapping[str, Any],
    records: Sequence[Mapping[str, Any]],
    validation: Mapping[str, Any] | None,
    obstacle: str,
    options: ReportOptions,
    run: Mapping[str, Any],
    files: Mapping[str, str],
) -> dict[str, Any]:
    """Put a report together.

    Args:
        computed: What follows from the scores.
        card: The protocol card.
        records: Records of the test sets.
        validation: Record of the validation set; None: there is none.
        obstacle: Why there is none, in words.
        options: How scores became metrics.
        run: Date and command; with the hash of the text the only part that differs between two runs of
            the same test.
        files: SHA-256 of the report's other files, by name.
    """
    frames = computed.frames_a_video()
    return {
        'format': FORMAT,
        'run': dict(run),
        'protocol': dict(card),
        'options': options.as_dict(),
        'threshold': computed.threshold.as_dict(),
        'no_validation_because': obstacle or None,
        'test_sets': [dict(record) | {'frames_a_video': frames[record['name']]} for record in records],
        'validation': None if validation is None else dict(validation),
        'metrics': [row.as_dict() for row in computed.rows],
        'files': dict(sorted(files.items())),
    }


def file_hashes(folder: Path, names: Sequence[str]) -> dict[str, str]:
    """SHA-256 of files of a report's folder."""
    return {name: sha256(folder / name) for name in names}


def write_report(content: Mapping[str, Any], text: str, folder: Path) -> None:
    """Write ``report.json`` and ``report.md``; the former notes the hash of the latter."""
    write_text(folder / TEXT_FILE, text)
    run = {**content['run'], TEXT_HASH: text_sha256(text)}
    write_json({**content, 'run': run}, folder / REPORT_FILE)
