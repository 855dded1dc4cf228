# SPDX-License-Identifier: Apache-2.0
"""Checks of one index and the report beside it that need no image; none of them loops over rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from iid_mm.datasets.index import SPLITS
from iid_mm.preparation.checking.findings import FindingList, Severity, plural
from iid_mm.preparation.checking.prepared_set import PreparedSet

IntArray: TypeAlias = npt.NDArray[np.int64]
RowRule: TypeAlias = tuple[Severity, str, str, IntArray, str]
"""Severity, name of the check, message with ``{}`` for the number of rows, the rows, and the remedy."""

FAR_OUTSIDE = 0.25
"""Landmarks this far outside of a crop, as part of its longer side, are not those of its face."""
SMALL_FACE = 0.1
"""Landmarks that span less than this part of a crop are not those of its face."""
MANY_GIVEN_UP = 0.01
"""Share of frames without a face above which it is a warning."""


def add_rows(
    prepared: PreparedSet, findings: FindingList, rules: Sequence[RowRule], where: str | None = None
) -> None:
    """Report rows that break a rule, each with the images of the first few.

    Args:
        prepared: The set.
        findings: Takes the findings.
        rules: The rules, with the rows that break them.
        where: What the findings are about; None for the index.
    """
    for severity, check, message, rows, remedy in rules:
        text = message.replace('{}', plural(len(rows), 'row'), 1)
        few = prepared.places(rows[:5])
        findings.add(
            severity, check, where or prepared.name, text, count=len(rows), examples=few, remedy=remedy
        )


# Rows


def check_rows(prepared: PreparedSet, findings: FindingList) -> None:
    """Check the rows of an index without opening an image.

    Args:
        prepared: The set.
        findings: Takes the findings.
    """
    if not prepared.rows:
        remedy = 'look into report.json for the reasons, then prepare the set again'
        findings.add('error', 'empty-index', prepared.name, 'the index has no rows', count=1, remedy=remedy)
        return
    _check_listed_twice(prepared, findings)
    _check_pairs(prepared, findings)
    _check_labels(prepared, findings)
    windows = _windows(prepared)
    begins_outside = (windows[:, :2] < 0).any(axis=1)
    rule: RowRule = (
        'error',
        'bad-crop-window',
        '{} with an empty crop window or one that begins outside of the frame',
        np.flatnonzero(begins_outside | (windows[:, 2:] <= windows[:, :2]).any(axis=1)),
        'crop_window is x0, y0, x1, y1 with 0 <= x0 < x1 and 0 <= y0 < y1; prepare the set again',
    )
    add_rows(prepared, findings, [rule])
    _check_frames(prepared, findings)


def _check_listed_twice(prepared: PreparedSet, findings: FindingList) -> None:
    images = prepared.column('image').dictionary_encode()
    codes = images.indices.to_numpy(zero_copy_only=False)
    twice = np.bincount(codes, minlength=len(images.dictionary)) > 1
    rows = np.flatnonzero(twice[codes])
    columns = [prepared.texts(name, rows) for name in ('image', 'split', 'label')]
    seen: dict[str, set[tuple[Any, ...]]] = {}
    for image, split, label in zip(*columns, strict=True):
        seen.setdefault(image, set()).add((split, label))
    apart = [image for image, uses in seen.items() if len(uses) > 1]
    message = '{} listed in more than one split or with both labels'
    remedy = 'prepare the set again: one file can be only one sample'
    findings.add_each('error', 'image-in-two-roles', prepared.name, message, apart, remedy, 'image file')
    same = [image for image, uses in seen.items() if len(uses) == 1]
    message = '{} listed more than once: it counts more than others'
    remedy = 'prepare the set again, or drop the copies'
    findings.add_each('warning', 'image-listed-twice', prepared.name, message, same, remedy, 'image file')


def _pair_rows(prepared: PreparedSet) -> IntArray:
    """Row of the genuine frame of each row: -1 if none is named, -2 if it is not a row of this index."""
    named = prepared.column('source_image')
    rows = pc.index_in(named, value_set=prepared.column('image'))
    found = pc.fill_null(rows, -2).to_numpy(zero_copy_only=False).astype(np.int64)
    found[named.is_null().to_numpy(zero_copy_only=False)] = -1
    return found


def _check_pairs(prepared: PreparedSet, findings: FindingList) -> None:
    pairs = _pair_rows(prepared)
    label, frame = prepared.numbers('label'), prepared.numbers('frame')
    _report_unpaired(prepared, findings, (label == 1) & (pairs == -1))
    linked = np.flatnonzero(pairs >= 0)
    other = pairs[linked]
    split = _dictionary(prepared, 'split').indices.to_numpy(zero_copy_only=False)
    rules: list[RowRule] = [
        (
            'warning',
            'genuine-with-pair',
            '{} of genuine frames name a pair',
            np.flatnonzero((label == 0) & (pairs != -1)),
            'only fakes have a genuine counterpart; prepare the set again',
        ),
        (
            'note',
            'pair-not-listed',
            '{} name a pair that is no sample of the index itself',
            np.flatnonzero(pairs == -2),
            'nothing: the pair is used for facial swaps, it is only not a genuine sample',
        ),
        (
            'error',
            'pair-is-fake',
            '{} have a fake, or themselves, as genuine counterpart',
            linked[(label[other] == 1) | (other == linked)],
            'facial swaps with these pairs carry wrong labels; prepare the set again',
        ),
        (
            'error',
            'pair-in-other-split',
            '{} have their genuine frame in another split: a test video is seen in training',
            linked[split[other] != split[linked]],
            'give a fake and the video it was made from one split',
        ),
        (
            'warning',
            'pair-of-other-frame',
            '{} have a genuine frame with another number',
            linked[frame[other] != frame[linked]],
            'pose and background differ in such pairs; prepare the set again',
        ),
    ]
    add_rows(prepared, findings, rules)


def _report_unpaired(prepared: PreparedSet, findings: FindingList, unpaired: npt.NDArray[np.bool_]) -> None:
    kinds: dict[str, list[int]] = {}
    for number, video in enumerate(prepared.videos):
        if video.label == 1:
            kinds.setdefault(f'{video.dataset}/{video.method}/{video.compression}', []).append(number)
    for kind, videos in sorted(kinds.items()):
        mine = np.isin(prepared.video_codes, videos)
        rows, total = np.flatnonzero(unpaired & mine), int(mine.sum())
        everything = len(rows) == total
        rule: RowRule = (
            'note' if everything else 'warning',
            'fake-without-pair',
            f'{len(rows)} of {plural(total, "fake frame")} without a genuine counterpart',
            rows,
            'they serve as plain fakes; facial swaps need pairs (require_pair=True drops the others)'
            + ('' if everything else '; see problems in report.json for the reason'),
        )
        add_rows(prepared, findings, [rule], f'{prepared.name}: {kind}')


def _check_labels(prepared: PreparedSet, findings: FindingList) -> None:
    """A split with one class only cannot be learned from, and has no ROC curve."""
    label, split = prepared.numbers('label'), _dictionary(prepared, 'split')
    for code, name in enumerate(split.dictionary.to_pylist()):
        present = set(np.unique(label[split.indices.to_numpy() == code]).tolist())
        if len(present) == 1:
            kind = 'fake' if present == {1} else 'genuine'
            findings.add(
                'warning',
                'one-class-only',
                prepared.name,
                f'split {name} holds {kind} frames only: no AUC can be computed on it alone',
                count=1,
                remedy='use it together with an index that holds the other class',
            )


def _check_frames(prepared: PreparedSet, findings: FindingList) -> None:
    kinds = np.unique(prepared.points).tolist()
    findings.add(
        'warning',
        'mixed-landmarks',
        prepared.name,
        f'frames with {" and with ".join(map(str, kinds))} landmarks in one index',
        count=int((prepared.points != kinds[0]).sum()),
        remedy='face hulls differ in height between them; use one analyzer for all videos',
    )
    wanted = (prepared.settings or {}).get('frames')
    if isinstance(wanted, int):
        few = [f'{video.key}: {video.frames}' for video in prepared.videos if video.frames < wanted / 2]
        message = f'{{}} with less than half of the {wanted} frames that were wanted'
        remedy = 'short or damaged videos, or no face in the others: see problems in report.json'
        findings.add_each('note', 'few-frames', prepared.name, message, few, remedy)


# Landmarks


def window_sizes(prepared: PreparedSet) -> npt.NDArray[np.float64]:
    """(n, 2) width and height in which crops are stored, as far as the index alone says.

    Windows are shrunk to the ``max_side`` of the settings and never enlarged.
    """
    windows = _windows(prepared).astype(np.float64)
    sizes = np.maximum(windows[:, 2:] - windows[:, :2], 1)
    limit = (prepared.settings or {}).get('max_side')
    if isinstance(limit, (int, float)) and limit > 0:
        sizes *= np.minimum(1, limit / sizes.max(axis=1))[:, None]
    return sizes


def check_landmarks(prepared: PreparedSet, sizes: npt.NDArray[np.float64], findings: FindingList) -> None:
    """Report landmarks that cannot be those of the face in the crop.

    Args:
        prepared: The set.
        sizes: (n, 2) width and height of the stored crops.
        findings: Takes the findings.
    """
    boxes = prepared.boxes.astype(np.float64)
    extent = boxes[:, 2:] - boxes[:, :2]
    side = sizes.max(axis=1)
    flat = (extent < 1).any(axis=1)
    degenerate, small = np.flatnonzero(flat), np.flatnonzero(~flat & (extent.max(axis=1) < SMALL_FACE * side))
    center = (boxes[:, :2] + boxes[:, 2:]) / 2
    off_center = ((center < -0.5) | (center > sizes - 0.5)).any(axis=1)
    beyond = np.maximum(-boxes[:, :2], boxes[:, 2:] - (sizes - 1)).max(axis=1)
    away, outside = np.flatnonzero(off_center), np.flatnonzero(~off_center & (beyond > FAR_OUTSIDE * side))
    remedy = 'look at them (--sheet); prepare the set again with another analyzer if they are wrong'
    rules: list[RowRule] = [
        ('error', 'degenerate-landmarks', '{} whose landmarks lie on one point or line', degenerate, remedy),
        ('error', 'landmarks-outside', '{} whose landmarks are centered outside of the crop', away, remedy),
        ('warning', 'landmarks-far-out', '{} with landmarks far outside of the crop', outside, remedy),
        ('warning', 'tiny-landmarks', '{} whose landmarks span less than a tenth of the crop', small, remedy),
    ]
    add_rows(prepared, findings, rules)


def split_counts(prepared: PreparedSet) -> dict[str, int]:
    """Rows of each split that has any."""
    codes = _dictionary(prepared, 'split')
    counts = np.bincount(codes.indices.to_numpy()).tolist()
    found = dict(zip(codes.dictionary.to_pylist(), counts, strict=True))
    return {split: found[split] for split in SPLITS if split in found}


def _dictionary(prepared: PreparedSet, name: str) -> pa.DictionaryArray:
    return prepared.column(name).dictionary_encode()


def _windows(prepared: PreparedSet) -> IntArray:
    values = prepared.column('crop_window').flatten().to_numpy(zero_copy_only=False)
    return np.asarray(values, np.int64).reshape(-1, 4)


# Report


def check_report(prepared: PreparedSet, findings: FindingList) -> None:
    """Check ``report.json``; keys that an older report lacks are skipped.

    Args:
        prepared: The set.
        findings: Takes the findings.
    """
    report, name = prepared.report, prepared.name
    if report is None:
        message = f'{prepared.report_problem}: what was left out is unknown'
        remedy = 'keep report.json with the index, or prepare the set again'
        findings.add('note', 'no-report', name, message, count=1, remedy=remedy)
        return
    asked, found = (
        value if isinstance(value := report.get(key), int) else None
        for key in ('frames_asked', 'frames_found')
    )
    if found is not None:
        findings.add(
            'warning',
            'report-of-other-run',
            name,
            f'report.json counts {found} frames, the index has {prepared.rows} rows',
            count=abs(found - prepared.rows),
            remedy='they are from different runs; prepare the set again (finished videos are kept)',
        )
    _check_given_up(prepared, report, asked, found, findings)
    if isinstance(missing := report.get('missing'), list):
        message = '{} named by a list file of the dataset, but not on disk'
        remedy = 'complete the download and run the preparation again'
        missing = sorted(map(str, missing))
        findings.add_each('warning', 'listed-but-missing', name, message, missing, remedy)
    if isinstance(left_out := report.get('left_out'), dict):
        reasons = Counter(map(str, left_out.values()))
        findings.add(
            'note',
            'left-out',
            name,
            f'{plural(len(left_out), "video")} on disk left out',
            count=len(left_out),
            examples=[f'{count}: {reason}' for reason, count in reasons.most_common()],
            remedy='see left_out in report.json',
        )


def faceless_videos(prepared: PreparedSet) -> tuple[int, list[str]]:
    """Videos that gave no sample: their number, and the names that the report gives."""
    report = prepared.report or {}
    methods = report.get('methods')
    entries = methods.values() if isinstance(methods, dict) else ()
    counts = [entry.get('videos_without_face', 0) for entry in entries if isinstance(entry, dict)]
    counted = sum(count for count in counts if isinstance(count, int))
    listed = {video.key for video in prepared.videos}
    named = set(_given_up(report)) | {problem['video'] for problem in _problems(report)}
    names = sorted(named - listed)
    return max(counted, len(names)), names


def _check_given_up(
    prepared: PreparedSet, report: dict[str, Any], asked: int | None, found: int | None, findings: FindingList
) -> None:
    problems = [(problem['video'], str(problem.get('reason', ''))) for problem in _problems(report)]
    faceless, names = faceless_videos(prepared)
    reasons = dict(problems)
    findings.add(
        'warning',
        'video-without-face',
        prepared.name,
        f'{plural(faceless, "video")} gave no frame with a face',
        count=faceless,
        examples=[f'{name}: {reasons[name]}' if reasons.get(name) else name for name in names],
        remedy='results on fewer videos than the protocol has are not comparable: try another analyzer, '
        'or state the number',
    )
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
    message, remedy = '{} noted while preparing', 'see problems in report.json'
    noted = [f'{video}: {reason}' for video, reason in problems]
    findings.add_each('note', 'problems', prepared.name, message, noted, remedy, 'problem')


def _problems(report: dict[str, Any]) -> list[dict[str, Any]]:
    problems = report.get('problems')
    listed = problems if isinstance(problems, list) else []
    return [p for p in listed if isinstance(p, dict) and isinstance(p.get('video'), str)]


def _given_up(report: dict[str, Any]) -> dict[str, list[int]]:
    given_up = report.get('given_up')
    listed = given_up if isinstance(given_up, dict) else {}
    return {str(key): frames for key, frames in listed.items() if isinstance(frames, list) and frames}


def _short(frames: list[int], most: int = 8) -> str:
    shown = ', '.join(map(str, frames[:most]))
    return f'{shown}, ... ({len(frames)} frames)' if len(frames) > most else shown
