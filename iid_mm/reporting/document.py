# SPDX-License-Identifier: Apache-2.0
"""A report as a folder: its files, and everything that is computed from the stored scores."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from iid_mm.errors import InputError
from iid_mm.evaluation.eval_sets import VALIDATION
from iid_mm.evaluation.functional.roc import choose_threshold
from iid_mm.evaluation.scores import FrameScores, read_scores
from iid_mm.reporting.metrics_table import Row, ScoredEvalSet, report_rows
from iid_mm.reporting.options import ReportOptions
from iid_mm.reporting.protocol import text_sha256
from iid_mm.utils.files import replacing, write_json, write_text

FORMAT = 'iid_mm test report, version 1'
REPORT_FILE = 'report.json'
TEXT_FILE = 'report.md'
TEXT_HASH = 'text_sha256'
VIDEO_SCORES_FILE = 'video_scores.parquet'
PLOTS_FOLDER = 'plots'
MAX_FILE = 4 * 2**30
"""Bytes of a file of a report; the scores of 100 million faces take less."""
DEFAULT_THRESHOLD = 0.5
_PARTS = re.compile(
    r'report\.json|report\.md|config\.py|video_scores\.parquet|plots/[^/\\]+\.png|'
    r'frame_scores/[^/\\]+\.(?:parquet|json)|localization/[^/\\]+\.parquet'
)


def report_file(folder: Path, name: Any) -> Path:
    """Find a file that a report names.

    Reports come from strangers: nothing is opened that lies outside of the folder (links included), that no
    report has, or that would block (a pipe or device).

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
        raise InputError(f'{where} names {name!r}, which is no ordinary file; it was not opened')
    if path.stat().st_size > MAX_FILE:
        raise InputError(f'{where} names {name!r}, which has more than {MAX_FILE} bytes; it was not opened')
    return path


@dataclass(frozen=True)
class Threshold:
    """A threshold with its origin.

    Attributes:
        value: A video score >= this counts as fake.
        origin: 'validation': chosen on the validation split; 'given': by the user; 'default': neither.
        text: The origin in words.
        validation: What it was chosen on: ``videos``, ``fake_videos``, ``false_positive_rate`` and
            ``false_negative_rate`` there; None: it was not chosen.
    """

    value: float
    origin: str
    text: str
    validation: dict[str, Any] | None = None


@dataclass(frozen=True)
class Computed:
    """What is computed from the stored scores.

    Attributes:
        sets: The scored test sets.
        threshold: The threshold.
        rows: The rows of the table.
    """

    sets: list[ScoredEvalSet]
    threshold: Threshold
    rows: list[Row]

    def frames_a_video(self) -> dict[str, dict[str, float]]:
        """Scored frames of the videos of each set."""
        return {
            tested.name: {
                'least': int(tested.frame_counts.min()),
                'median': float(np.median(tested.frame_counts)),
                'most': int(tested.frame_counts.max()),
            }
            for tested in self.sets
        }


def find_threshold(
    options: ReportOptions,
    validation: FrameScores | None,
    obstacle: str = '',
    tested: Collection[str] = (),
) -> Threshold:
    """Find the threshold.

    Args:
        options: Their ``threshold`` is used if it is a number.
        validation: Scores of the validation split; None: there are none.
        obstacle: Why there are none, in words.
        tested: Keys of the test videos. They should not be among those of the validation split; the text
            says so if some are.

    Returns:
        The threshold.

    Raises:
        InputError: The validation scores cannot be used.
    """
    if options.threshold is not None:
        return Threshold(options.threshold, 'given', 'given by the user before the test')
    if validation is None:
        return Threshold(DEFAULT_THRESHOLD, 'default', f'0.5, because none could be chosen: {obstacle}')
    scored = ScoredEvalSet.of(VALIDATION, validation, options).scored
    scores, labels = scored.videos.scores, scored.videos.labels
    value = choose_threshold(scores, labels, name='the validation split')
    called, fakes = scores >= value, labels == 1
    return Threshold(
        value,
        'validation',
        'chosen on the validation split of the source data, where false alarms and missed fakes are equally '
        f'frequent; {_shared(set(scored.keys) & set(tested), fakes.size)}',
        {
            'videos': int(fakes.size),
            'fake_videos': int(fakes.sum()),
            'false_positive_rate': float((called & ~fakes).sum() / (~fakes).sum()),
            'false_negative_rate': float((~called & fakes).sum() / fakes.sum()),
        },
    )


def _shared(keys: set[str], total: int) -> str:
    """Say whether test videos took part in the choice."""
    if not keys:
        return 'no test video took part'
    return (
        f'{len(keys)} of its {total} videos are test videos, so the decisions are better than they would be '
        'on new videos, and so is every metric if the checkpoint was chosen on this split'
    )


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
        ScoredEvalSet.of(record['name'], read_scores(report_file(folder, record['scores']['file'])), options)
        for record in records
    ]
    chosen = None if validation is None else read_scores(report_file(folder, validation['scores']['file']))
    keys = {key for tested in sets for key in tested.scored.keys.tolist()}
    threshold = find_threshold(options, chosen, obstacle, keys)
    coverage = {record['name']: record['coverage'] for record in records}
    return Computed(sets, threshold, report_rows(sets, coverage, threshold.value, options))


def video_table(computed: Computed, records: Sequence[Mapping[str, Any]]) -> pa.Table:
    """One row for each video: its score, its label and the decision at the threshold.

    Videos in which no face was found are listed without a score, after the others of their set.
    """
    tables = []
    for tested, record in zip(computed.sets, records, strict=True):
        videos = tested.scored.videos
        scored = {
            'test_set': [tested.name] * videos.labels.size,
            'dataset': videos.datasets,
            'method': videos.methods,
            'video_key': tested.scored.keys,
            'label': videos.labels,
            'frames': tested.frame_counts,
            'score': videos.scores,
            'called': np.where(videos.scores >= computed.threshold.value, 'fake', 'genuine').astype(object),
        }
        missing = [
            {**video, 'test_set': tested.name, 'frames': 0}
            for video in record['coverage']['without_face'] or []
        ]
        tables += [
            pa.table(scored, schema=_VIDEO_SCHEMA),
            pa.Table.from_pylist(missing, schema=_VIDEO_SCHEMA),
        ]
    return pa.concat_tables(tables).combine_chunks()


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
    with replacing(path) as temporary:
        pq.write_table(table, temporary, compression='zstd')


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
        computed: What was computed from the scores.
        card: The protocol card.
        records: Records of the test sets.
        validation: Record of the validation set; None: there is none.
        obstacle: Why there is none, in words.
        options: How scores became metrics.
        run: Date and command, the only part, with the hash of the text, that differs between two runs of the
            same test.
        files: SHA-256 of the report's other files, by name.
    """
    frames = computed.frames_a_video()
    return {
        'format': FORMAT,
        'run': dict(run),
        'protocol': dict(card),
        'options': asdict(options),
        'threshold': asdict(computed.threshold),
        'no_validation_because': obstacle or None,
        'test_sets': [dict(record) | {'frames_a_video': frames[record['name']]} for record in records],
        'validation': None if validation is None else dict(validation),
        'metrics': [asdict(row) for row in computed.rows],
        'files': dict(sorted(files.items())),
    }


def write_report(content: Mapping[str, Any], text: str, folder: Path) -> None:
    """Write ``report.json`` and ``report.md``; the former notes the hash of the latter."""
    write_text(folder / TEXT_FILE, text)
    run = {**content['run'], TEXT_HASH: text_sha256(text)}
    write_json(folder / REPORT_FILE, {**content, 'run': run})
