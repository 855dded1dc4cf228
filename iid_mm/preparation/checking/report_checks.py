# SPDX-License-Identifier: Apache-2.0
"""What the report of a preparation says about videos that the index lacks."""

from __future__ import annotations

from collections import Counter
from typing import Any

from iid_mm.preparation.checking.findings import FindingList, plural
from iid_mm.preparation.checking.loading import PreparedSet

MANY_GIVEN_UP = 0.01
"""Part of the frames without a face above which a run deserves a look."""


def check_report(prepared: PreparedSet, findings: FindingList) -> None:
    """Check what lies in ``report.json``; keys that an older report lacks are passed over.

    Args:
        prepared: The set.
        findings: Takes the findings.
    """
    report = prepared.report
    if report is None:
        findings.add(
            'note',
            'no-report',
            prepared.name,
            f'{prepared.report_problem}: what was left out is unknown',
            count=1,
            remedy='keep report.json with the index, or prepare the set again',
        )
        return
    asked, found = _number(report, 'frames_asked'), _number(report, 'frames_found')
    if found is not None and found != prepared.rows:
        findings.add(
            'warning',
            'report-of-other-run',
            prepared.name,
            f'report.json tells of {found} frames, the index has {prepared.rows} rows',
            count=abs(found - prepared.rows),
            remedy='they are from different runs; prepare the set again (finished videos are kept)',
        )
    _check_faceless(prepared, report, findings)
    _check_given_up(prepared, report, asked, found, findings)
    _check_lists(prepared, report, findings)


def faceless_videos(prepared: PreparedSet) -> tuple[int, list[str]]:
    """Videos that gave no sample: their number, and the names that the report gives."""
    report = prepared.report or {}
    methods = report.get('methods')
    counted = 0
    if isinstance(methods, dict):
        counts = [
            entry.get('videos_without_face', 0) for entry in methods.values() if isinstance(entry, dict)
        ]
        counted = sum(count for count in counts if isinstance(count, int))
    listed = {video.key for video in prepared.videos}
    named = set(_given_up(report)) | {problem['video'] for problem in _problems(report)}
    names = sorted(named - listed)
    return max(counted, len(names)), names


def _check_faceless(prepared: PreparedSet, report: dict[str, Any], findings: FindingList) -> None:
    count, names = faceless_videos(prepared)
    reasons = {problem['video']: str(problem.get('reason', '')) for problem in _problems(report)}
    findings.add(
        'warning',
        'video-without-face',
        prepared.name,
        f'{plural(count, "video")} gave no frame with a face',
        count=count,
        examples=[f'{name}: {reasons[name]}' if reasons.get(name) else name for name in names],
        remedy='results on fewer videos than the protocol has are not comparable: try another analyzer, '
        'or state the number',
    )


def _check_given_up(
    prepared: PreparedSet,
    report: dict[str, Any],
    asked: int | None,
    found: int | None,
    findings: FindingList,
) -> None:
    given_up = _given_up(report)
    count = sum(len(frames) for frames in given_up.values())
    if not given_up and asked is not None and found is not None:
        count = max(asked - found, 0)
    share = count / asked if asked else 0.0
    findings.add(
        'warning' if share > MANY_GIVEN_UP else 'note',
        'frames-given-up',
        prepared.name,
        f'{plural(count, "frame")} given up' + (f' ({100 * share:.2f} % of {asked})' if asked else ''),
        count=count,
        examples=[f'{key}: {_short(frames)}' for key, frames in sorted(given_up.items())],
        remedy='no face or another person was found there, or the video is damaged: see problems in '
        'report.json',
    )
    problems = _problems(report)
    findings.add(
        'note',
        'problems',
        prepared.name,
        f'{plural(len(problems), "problem")} noted while preparing',
        count=len(problems),
        examples=[f'{problem["video"]}: {problem.get("reason", "")}' for problem in problems],
        remedy='see problems in report.json',
    )


def _check_lists(prepared: PreparedSet, report: dict[str, Any], findings: FindingList) -> None:
    missing = report.get('missing')
    if isinstance(missing, list):
        findings.add(
            'warning',
            'listed-but-missing',
            prepared.name,
            f'{plural(len(missing), "video")} named by a list file of the dataset, but not on disk',
            count=len(missing),
            examples=sorted(map(str, missing)),
            remedy='complete the download and run the preparation again',
        )
    left_out = report.get('left_out')
    if isinstance(left_out, dict):
        reasons = Counter(map(str, left_out.values()))
        findings.add(
            'note',
            'left-out',
            prepared.name,
            f'{plural(len(left_out), "video")} on disk left out',
            count=len(left_out),
            examples=[f'{count}: {reason}' for reason, count in reasons.most_common()],
            remedy='see left_out in report.json',
        )


def _number(report: dict[str, Any], name: str) -> int | None:
    value = report.get(name)
    return value if isinstance(value, int) else None


def _problems(report: dict[str, Any]) -> list[dict[str, Any]]:
    problems = report.get('problems')
    if not isinstance(problems, list):
        return []
    return [p for p in problems if isinstance(p, dict) and isinstance(p.get('video'), str)]


def _given_up(report: dict[str, Any]) -> dict[str, list[int]]:
    given_up = report.get('given_up')
    if not isinstance(given_up, dict):
        return {}
    return {str(key): frames for key, frames in given_up.items() if isinstance(frames, list) and frames}


def _short(frames: list[int], most: int = 8) -> str:
    shown = ', '.join(map(str, frames[:most]))
    return f'{shown}, ... ({len(frames)} frames)' if len(frames) > most else shown
