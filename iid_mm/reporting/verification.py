# SPDX-License-Identifier: Apache-2.0
"""Checking a report: everything is computed again from the stored scores and compared."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from iid_mm.errors import InputError
from iid_mm.evaluation.localization.file import read_localization
from iid_mm.evaluation.metrics.artifact_localization import ArtifactLocalization
from iid_mm.reporting.card import CONFIG_FILE
from iid_mm.reporting.document import (
    FORMAT,
    REPORT_FILE,
    TEXT_FILE,
    VIDEO_SCORES_FILE,
    Computed,
    compute,
    report_file,
    video_table,
)
from iid_mm.reporting.options import ReportOptions
from iid_mm.reporting.source_verification import all_records, check_checkpoint, check_config, check_index
from iid_mm.reporting.text_verification import check_text
from iid_mm.utils.files import read_json, sha256
from iid_mm.utils.parquet import read_parquet

# Sums of floating-point numbers may differ in the last bits between machines.
_TOLERANCE = 1e-9


@dataclass
class Verification:
    """What was found.

    Attributes:
        problems: What does not agree, one sentence each; empty: the report is sound.
        checked: What agrees.
        unchecked: What the stored files cannot show.
    """

    problems: list[str] = field(default_factory=list)
    checked: list[str] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)

    def compare(self, problems: Sequence[str], checked: str) -> None:
        """Note the outcome of one check."""
        self.problems += problems
        if not problems:
            self.checked.append(checked)


def read_report(folder: Path) -> dict[str, Any]:
    """Read ``report.json``.

    Raises:
        FileNotFoundError: There is none.
        InputError: It is damaged or of another format.
    """
    path = folder / REPORT_FILE
    if not path.is_file():
        raise FileNotFoundError(
            f'{path} does not exist; name the folder that tools/test.py wrote a report to'
        )
    content = read_json(report_file(folder, REPORT_FILE))
    if not isinstance(content, dict) or content.get('format') != FORMAT:
        raise InputError(f'{path} is no report of this version: its format must be {FORMAT!r}')
    return content


def verify_report(
    folder: Path,
    *,
    checkpoint: Path | None = None,
    config: Path | None = None,
    indices: Mapping[str, Path] | None = None,
) -> Verification:
    """Check a report against the files beside it, and against its sources where they are given.

    Args:
        folder: The report's folder.
        checkpoint: Weights that the report should be of.
        config: Config that it should have been made with.
        indices: By test set, the index that it should have been made on.

    Returns:
        What was found.

    Raises:
        FileNotFoundError: There is no report, or a given file does not exist.
        InputError: ``report.json`` cannot be read, or a set is unknown.
    """
    report = read_report(folder)
    found = Verification()
    try:
        _check_all(folder, report, found)
        _check_sources(folder, report, checkpoint, config, indices or {}, found)
    except InputError:
        raise
    except (LookupError, TypeError, AttributeError, ValueError, ArithmeticError, RecursionError) as error:
        raise InputError(
            f'{folder / REPORT_FILE} lacks an entry or has one of the wrong kind: {error!r}'
        ) from error
    return found


def _check_all(folder: Path, report: Mapping[str, Any], found: Verification) -> None:
    """Check a report against the files beside it."""
    found.compare(_check_files(folder, report), 'all files have the hashes that report.json lists')
    try:
        options = ReportOptions.from_dict(report['options'])
        obstacle = report['no_validation_because'] or ''
        computed = compute(folder, report['test_sets'], report['validation'], obstacle, options)
    except (InputError, FileNotFoundError) as error:
        found.problems.append(f'the metrics cannot be computed from the stored scores: {error}')
        return
    found.compare(_check_threshold(report, computed), 'the threshold follows from the stored scores')
    found.compare(_check_metrics(report, computed), f'all {len(computed.rows)} rows of metrics')
    found.compare(_check_sets(folder, report, computed), 'what is said of the test sets')
    found.compare(_check_videos(folder, report, computed), f'all scores in {VIDEO_SCORES_FILE}')
    if any(record['localization'] or record['localization_scores'] for record in report['test_sets']):
        found.compare(_check_localization(folder, report), 'the metrics of localization')
    problems, obstacle = check_text(folder, report, computed)
    found.compare(problems, f'the table in {TEXT_FILE}' if obstacle else f'all of {TEXT_FILE}')
    if obstacle:
        found.unchecked.append(f'the wording of {TEXT_FILE}: {obstacle}')


def _check_sources(
    folder: Path,
    report: Mapping[str, Any],
    checkpoint: Path | None,
    config: Path | None,
    indices: Mapping[str, Path],
    found: Verification,
) -> None:
    if checkpoint is None:
        found.unchecked.append('the checkpoint (give it with --checkpoint)')
    else:
        found.compare(check_checkpoint(report, checkpoint), 'the checkpoint')
    if config is None:
        found.unchecked.append('the config (give it with --config)')
    else:
        problems, excuse = check_config(folder, report, config)
        if excuse:
            found.unchecked += [f'{problem}; {excuse}' for problem in problems]
        else:
            found.compare(problems, 'the config')
    for name, path in indices.items():
        found.compare(check_index(report, name, path), f'the index of {name}')
    names = [record['name'] for record in all_records(report)]
    if missing := [name for name in names if name not in indices]:
        found.unchecked.append(f'the index of {", ".join(missing)} (give it with --index NAME=PATH)')


def _check_files(folder: Path, report: Mapping[str, Any]) -> list[str]:
    problems = []
    for name, digest in report['files'].items():
        try:
            actual = sha256(report_file(folder, name))
        except (InputError, OSError) as error:
            problems.append(str(error))
            continue
        if actual != digest:
            problems.append(f'{name} was changed: its SHA-256 is {actual}, {REPORT_FILE} says {digest}')
    for record in all_records(report):
        name = record['scores']['file']
        if record['scores']['sha256'] != report['files'].get(name):
            problems.append(f'{REPORT_FILE}: the two hashes that it gives of {name} differ')
    config = report['protocol']['config']
    if config['sha256'] != report['files'].get(CONFIG_FILE):
        problems.append(f'{REPORT_FILE}: protocol.config.sha256 is not the hash of {CONFIG_FILE}')
    return problems


def differences(stored: Any, computed: Any, name: str) -> list[str]:
    """Compare plain data.

    Args:
        stored: What the report says.
        computed: What the scores give.
        name: What to call the value in the sentences.

    Returns:
        A sentence for every value that differs.
    """
    if isinstance(stored, dict) and isinstance(computed, dict):
        sentences = []
        for key in sorted({*stored, *computed}):
            title = f'{name}.{key}' if name else str(key)
            if key not in stored:
                sentences.append(f'{title} is missing, the scores give {computed[key]!r}')
            elif key not in computed:
                sentences.append(f'{title} is {stored[key]!r}, which the scores do not give')
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


def _check_threshold(report: Mapping[str, Any], computed: Computed) -> list[str]:
    return [
        f'{REPORT_FILE}: {sentence}'
        for sentence in differences(report['threshold'], computed.threshold.as_dict(), 'threshold')
    ]


def _check_metrics(report: Mapping[str, Any], computed: Computed) -> list[str]:
    def key(row: Mapping[str, Any]) -> tuple[Any, ...]:
        return row.get('test_set'), row.get('dataset'), row.get('manipulation')

    stored = {key(row): row for row in report['metrics']}
    problems = []
    if len(stored) != len(report['metrics']):
        problems.append(f'{REPORT_FILE}: metrics has a row twice')
    for row in computed.rows:
        plain = row.as_dict()
        if (mine := stored.pop(key(plain), None)) is None:
            problems.append(f'{REPORT_FILE}: the row {row.title} is missing')
        else:
            problems += [f'{REPORT_FILE}, {row.title}: {s}' for s in differences(mine, plain, '')]
    for name in stored:
        title = ' / '.join(str(part or 'overall') for part in name)
        problems.append(f'{REPORT_FILE}: there are no scores for the row {title}')
    return problems


def _check_sets(folder: Path, report: Mapping[str, Any], computed: Computed) -> list[str]:
    problems = []
    frames = computed.frames_a_video()
    for record in all_records(report):
        name = record['name']
        if name in frames:
            sentences = differences(record.get('frames_a_video'), frames[name], 'frames_a_video')
            problems += [f'{REPORT_FILE}, test set {name}: {sentence}' for sentence in sentences]
        path = Path(record['scores']['file']).with_suffix('.json')
        try:
            kept = read_json(report_file(folder, path.as_posix()))
        except (OSError, ValueError) as error:
            problems.append(f'{path.name}, the record of test set {name}, cannot be read: {error}')
            continue
        mine = {key: value for key, value in record.items() if key != 'frames_a_video'}
        problems += [
            f'{REPORT_FILE} and {path.name} differ on test set {name}: {sentence}'.replace(
                'the scores give', f'{path.name} says'
            )
            for sentence in differences(mine, kept, '')
        ]
    return problems


def _check_localization(folder: Path, report: Mapping[str, Any]) -> list[str]:
    """Compute the metrics of localization again from those of single frames."""
    problems = []
    for record in report['test_sets']:
        if not record['localization'] and not record['localization_scores']:
            continue
        if not record['localization_scores']:
            problems.append(
                f'{REPORT_FILE}, test set {record["name"]}: no file has the scores of localization'
            )
            continue
        try:
            samples = read_localization(report_file(folder, record['localization_scores']['file']))
            metrics = ArtifactLocalization.calculate(samples)
        except (InputError, FileNotFoundError) as error:
            problems.append(f'localization of {record["name"]} cannot be computed again: {error}')
            continue
        expected = {
            f'localization/{name}': float(value) if math.isfinite(value) else None
            for name, value in metrics.items()
        }
        sentences = differences(record['localization'], expected, '')
        problems += [f'{REPORT_FILE}, test set {record["name"]}: {sentence}' for sentence in sentences]
    return problems


def _check_videos(folder: Path, report: Mapping[str, Any], computed: Computed) -> list[str]:
    expected = video_table(computed, report['test_sets'])
    try:
        stored = read_parquet(report_file(folder, VIDEO_SCORES_FILE))
    except (OSError, InputError) as error:
        return [f'{VIDEO_SCORES_FILE} cannot be read: {error}']
    if stored.column_names != expected.column_names or stored.num_rows != expected.num_rows:
        return [
            f'{VIDEO_SCORES_FILE} has {stored.num_rows} rows with {", ".join(stored.column_names)}; the '
            f'frame scores give {expected.num_rows} rows with {", ".join(expected.column_names)}'
        ]
    problems = []
    for name in expected.column_names:
        mine, theirs = stored[name].to_pylist(), expected[name].to_pylist()
        if name == 'score':
            near = np.isclose(_numbers(mine), _numbers(theirs), rtol=0, atol=_TOLERANCE, equal_nan=True)
            wrong = np.flatnonzero(~near)
        else:
            wrong = np.flatnonzero([a != b for a, b in zip(mine, theirs, strict=True)])
        if wrong.size:
            first = int(wrong[0])
            problems.append(
                f'{VIDEO_SCORES_FILE}: {name} of {expected["video_key"][first].as_py()} is {mine[first]!r}, '
                f'the frame scores give {theirs[first]!r} ({wrong.size} such rows)'
            )
    return problems


def _numbers(values: Sequence[Any]) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.array([math.nan if value is None else value for value in values], dtype=np.float64)
