# SPDX-License-Identifier: Apache-2.0
"""A report as a folder: its files, and everything that is computed from the stored scores."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from iid_mm.errors import InputError
from iid_mm.evaluation.eval_sets import VALIDATION
from iid_mm.evaluation.functional.roc import choose_threshold
from iid_mm.evaluation.localization.samples import read_localization
from iid_mm.evaluation.metrics.artifact_localization import ArtifactLocalization
from iid_mm.evaluation.scores import FrameScores, read_scores
from iid_mm.reporting.metrics_table import Row, ScoredEvalSet, report_rows
from iid_mm.reporting.options import ReportOptions
from iid_mm.reporting.protocol import text_sha256
from iid_mm.utils.files import write_json, write_text

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
        raise InputError(f'{where} names {name!r}, which is not a regular file; it was not opened')
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
        localization: Localization metrics by test set; None where one is not defined.
    """

    sets: list[ScoredEvalSet]
    threshold: Threshold
    rows: list[Row]
    localization: dict[str, dict[str, float | None]]

    def complete(self, report: Mapping[str, Any]) -> dict[str, Any]:
        """Enter the metrics into a report."""
        test_sets = []
        for record, tested in zip(report['test_sets'], self.sets, strict=True):
            counts = tested.frame_counts
            frames = {
                'least': int(counts.min()),
                'median': float(np.median(counts)),
                'most': int(counts.max()),
            }
            metrics = self.localization[tested.name]
            test_sets.append({**record, 'frames_a_video': frames, 'localization': metrics})
        return {
            **report,
            'threshold': asdict(self.threshold),
            'test_sets': test_sets,
            'metrics': [asdict(row) for row in self.rows],
        }


def compute(folder: Path, report: Mapping[str, Any]) -> Computed:
    """Compute everything that follows from the stored scores.

    Args:
        folder: The report's folder.
        report: Content of ``report.json``; its ``options``, ``test_sets``, ``validation`` and
            ``no_validation_because`` are used.

    Raises:
        FileNotFoundError: A scores file is missing.
        InputError: An option is invalid, or scores cannot be used, for example because one is NaN.
    """
    options = ReportOptions.from_dict(report['options'])
    records, validation = report['test_sets'], report['validation']
    sets = [
        ScoredEvalSet.of(record['name'], read_scores(report_file(folder, record['scores']['file'])), options)
        for record in records
    ]
    chosen = None if validation is None else read_scores(report_file(folder, validation['scores']['file']))
    keys = {key for tested in sets for key in tested.scored.keys.tolist()}
    threshold = find_threshold(options, chosen, report['no_validation_because'] or '', keys)
    coverage = {record['name']: record['coverage'] for record in records}
    return Computed(
        sets=sets,
        threshold=threshold,
        rows=report_rows(sets, coverage, threshold.value, options),
        localization={record['name']: _localization(folder, record) for record in records},
    )


def _localization(folder: Path, record: Mapping[str, Any]) -> dict[str, float | None]:
    """Localization metrics of a test set from those of its frames; empty if it has none."""
    if not record['localization_scores']:
        return {}
    samples = read_localization(report_file(folder, record['localization_scores']['file']))
    return {
        f'localization/{name}': float(value) if math.isfinite(value) else None
        for name, value in sorted(ArtifactLocalization.calculate(samples).items())
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


def video_table(computed: Computed, report: Mapping[str, Any]) -> pa.Table:
    """One row for each video: its score, its label and the decision at the threshold.

    Videos in which no face was found are listed without a score, after the others of their set.
    """
    tables = []
    for tested, record in zip(computed.sets, report['test_sets'], strict=True):
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


def write_report(report: Mapping[str, Any], text: str, folder: Path) -> None:
    """Write ``report.json`` and ``report.md``; the former holds the hash of the latter."""
    write_text(folder / TEXT_FILE, text)
    run = {**report['run'], TEXT_HASH: text_sha256(text)}
    write_json(folder / REPORT_FILE, {**report, 'run': run})
