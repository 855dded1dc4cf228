# SPDX-License-Identifier: Apache-2.0
"""Verifying a report: everything is recomputed from the stored scores and compared."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from iid_mm.errors import InputError
from iid_mm.reporting.document import (
    FORMAT,
    REPORT_FILE,
    TEXT_FILE,
    TEXT_HASH,
    VIDEO_SCORES_FILE,
    Computed,
    compute,
    report_file,
    video_table,
)
from iid_mm.reporting.protocol import CONFIG_FILE
from iid_mm.reporting.text import report_text
from iid_mm.utils.files import read_json, read_limited, sha256
from iid_mm.utils.parquet import read_parquet
from iid_mm.version import __version__

# Sums of floating-point numbers may differ in the last bits between machines.
_TOLERANCE = 1e-9
_MOST_LISTED = 20
"""Differences of one file that are listed one by one."""


@dataclass
class Verification:
    """The outcome.

    Attributes:
        problems: Differences, one sentence each; empty: the report agrees with its scores.
        checked: What agrees.
        unchecked: What was not checked.
    """

    problems: list[str] = field(default_factory=list)
    checked: list[str] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)

    def compare(self, problems: Sequence[str], checked: str) -> None:
        """Note the outcome of one check."""
        self.problems += problems[:_MOST_LISTED]
        if len(problems) > _MOST_LISTED:
            self.problems.append(f'{len(problems) - _MOST_LISTED} more differences like these')
        if not problems:
            self.checked.append(checked)


def verify_report(folder: Path, checkpoint: Path | None = None) -> Verification:
    """Compare a report with the scores in its folder.

    Args:
        folder: The report's folder.
        checkpoint: Weights that the report should be of.

    Returns:
        The outcome.

    Raises:
        FileNotFoundError: There is no report, or no checkpoint.
        InputError: ``report.json`` cannot be read.
    """
    report = _read_report(folder)
    found = Verification()
    try:
        found.compare(_check_files(folder, report), f'all files have the hashes that {REPORT_FILE} lists')
        _check_metrics(folder, report, found)
        if checkpoint is None:
            found.unchecked.append('the checkpoint (give it with --checkpoint)')
        else:
            found.compare(_check_checkpoint(report, checkpoint), 'the checkpoint')
    except InputError:
        raise
    except (LookupError, TypeError, AttributeError, ValueError, ArithmeticError, RecursionError) as error:
        raise InputError(
            f'{folder / REPORT_FILE} lacks an entry or has one of the wrong kind: {error!r}'
        ) from error
    return found


def _read_report(folder: Path) -> dict[str, Any]:
    path = folder / REPORT_FILE
    if not path.is_file():
        raise FileNotFoundError(
            f'{path} does not exist; name the folder that tools/test.py wrote a report to'
        )
    content = read_json(report_file(folder, REPORT_FILE))
    if not isinstance(content, dict) or content.get('format') != FORMAT:
        raise InputError(f'{path} is no report of this version: its format must be {FORMAT!r}')
    return content


def _records(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Records of the test sets and, where there is one, of the validation set."""
    return [*report['test_sets'], *([report['validation']] if report['validation'] else [])]


def _check_files(folder: Path, report: Mapping[str, Any]) -> list[str]:
    """Compare the hash of every file with all places of the report that give it."""
    listed = list(report['files'].items())
    for record in _records(report):
        entries = [record['scores'], record['localization_scores']]
        listed += [(entry['file'], entry['sha256']) for entry in entries if entry]
    listed.append((CONFIG_FILE, report['protocol']['config']['sha256']))
    problems = []
    for name, digest in dict.fromkeys(listed):
        try:
            actual = sha256(report_file(folder, name))
        except (InputError, OSError) as error:
            problems.append(str(error))
            continue
        if actual != digest:
            problems.append(f'{name} was changed: its SHA-256 is {actual}, {REPORT_FILE} says {digest}')
    return problems


def _check_checkpoint(report: Mapping[str, Any], checkpoint: Path) -> list[str]:
    actual, listed = sha256(checkpoint), {report['protocol']['checkpoint']['sha256']}
    listed.update(record['source']['checkpoint_sha256'] for record in _records(report))
    if listed == {actual}:
        return []
    return [
        f'checkpoint {checkpoint.name} has SHA-256 {actual}, the report is of {", ".join(sorted(listed))}'
    ]


def _check_metrics(folder: Path, report: Mapping[str, Any], found: Verification) -> None:
    """Recompute everything that follows from the scores."""
    try:
        computed = compute(folder, report)
    except (InputError, FileNotFoundError) as error:
        found.problems.append(f'the metrics cannot be computed from the stored scores: {error}')
        return
    true = computed.complete(report)
    problems = [f'{REPORT_FILE}, {text}' for text in differences(_by_name(report), _by_name(true))]
    if len(report['metrics']) != len({_title(row) for row in report['metrics']}):
        problems.append(f'{REPORT_FILE}: metrics has a row twice')
    found.compare(problems, f'the threshold and all {len(computed.rows)} rows of metrics')
    found.compare(_check_videos(folder, report, computed), f'all scores in {VIDEO_SCORES_FILE}')
    found.compare(_check_text(folder, true), f'all of {TEXT_FILE}')


def _by_name(report: Mapping[str, Any]) -> dict[str, Any]:
    """The computed entries of a report, with names in place of positions."""
    kinds = ('frames_a_video', 'localization')
    return {
        'threshold': report['threshold'],
        'metrics': {_title(row): row for row in report['metrics']},
        'test sets': {
            record['name']: {kind: record.get(kind) for kind in kinds} for record in report['test_sets']
        },
    }


def _title(row: Mapping[str, Any]) -> str:
    return f'{row["test_set"]} / {row["dataset"]} / {row["manipulation"] or "overall"}'


def differences(stored: Any, computed: Any, name: str = '') -> list[str]:
    """Compare plain data.

    Args:
        stored: Content of the report.
        computed: What the scores give.
        name: Name of the value in the sentences.

    Returns:
        A sentence for every value that differs.
    """
    if isinstance(stored, dict) and isinstance(computed, dict):
        sentences = []
        for key in sorted({*stored, *computed}):
            title = f'{name}, {key}' if name else str(key)
            if key not in stored:
                sentences.append(f'{title} is missing')
            elif key not in computed:
                sentences.append(f'{title} does not follow from the scores')
            else:
                sentences += differences(stored[key], computed[key], title)
        return sentences
    numbers = [value for value in (stored, computed) if isinstance(value, (int, float))]
    if len(numbers) == 2 and not isinstance(stored, bool):
        if math.isclose(stored, computed, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE):
            return []
    elif stored == computed:
        return []
    return [f'{name} is {stored!r}, the scores give {computed!r}']


def _check_videos(folder: Path, report: Mapping[str, Any], computed: Computed) -> list[str]:
    try:
        stored = read_parquet(report_file(folder, VIDEO_SCORES_FILE))
        mine, theirs = (_by_video(table) for table in (stored, video_table(computed, report)))
    except (OSError, InputError) as error:
        return [f'{VIDEO_SCORES_FILE} cannot be read: {error}']
    problems = [f'{VIDEO_SCORES_FILE}, {text}' for text in differences(mine, theirs)]
    if stored.num_rows != len(mine):
        problems.append(f'{VIDEO_SCORES_FILE} has a video twice')
    return problems


def _by_video(table: pa.Table) -> dict[str, dict[str, Any]]:
    if missing := {'test_set', 'video_key'} - set(table.column_names):
        raise InputError(f'it has no column {", ".join(sorted(missing))}')
    return {f'{row["test_set"]} / {row["video_key"]}': row for row in table.to_pylist()}


def _check_text(folder: Path, report: Mapping[str, Any]) -> list[str]:
    """Compare the text with what these metrics should read like, line by line."""
    try:
        text = read_limited(report_file(folder, TEXT_FILE)).decode()
    except (OSError, ValueError) as error:
        return [f'{TEXT_FILE} cannot be read: {error}']
    if report['protocol']['libraries']['iid-mm'] != __version__:
        # Other versions word it differently; the hash shows whether it was changed.
        actual, listed = sha256(folder / TEXT_FILE), report['run'][TEXT_HASH]
        return [f'{TEXT_FILE} was changed: its SHA-256 is {actual}, {REPORT_FILE} says {listed}'] * (
            actual != listed
        )
    lines, expected = text.splitlines(), report_text(report).splitlines()
    problems = [
        f'{TEXT_FILE}, line {number}: is {mine!r}, should be {theirs!r}'
        for number, (mine, theirs) in enumerate(zip(lines, expected, strict=False), 1)
        if mine != theirs
    ]
    if len(lines) != len(expected):
        problems.append(f'{TEXT_FILE} has {len(lines)} lines, it should have {len(expected)}')
    return problems
