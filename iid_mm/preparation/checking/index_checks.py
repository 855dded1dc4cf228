# SPDX-License-Identifier: Apache-2.0
"""Checks of one index and the report beside it that need no image; none of them loops over rows."""

from __future__ import annotations

from collections import Counter

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from iid_mm.datasets.index import SPLITS
from iid_mm.preparation.checking.findings import FindingList
from iid_mm.preparation.checking.prepared_set import PreparedSet, Report

FAR_OUTSIDE = 0.25
"""Landmarks this far outside of a crop, as part of its longer side, are not those of its face."""
SMALL_FACE = 0.1
"""Landmarks that span less than this part of a crop are not those of its face."""
MANY_GIVEN_UP = 0.01
"""Share of frames without a face above which it is a warning."""


# Rows


def check_rows(prepared: PreparedSet, findings: FindingList) -> None:
    """Check the rows of an index without opening an image.

    Args:
        prepared: The set.
        findings: Takes the findings.
    """
    if not prepared.rows:
        findings.add('empty-index', prepared.name, count=1)
        return
    _check_listed_twice(prepared, findings)
    _check_pairs(prepared, findings)
    _check_labels(prepared, findings)
    starts, ends = np.split(prepared.windows, 2, axis=1)
    bad = ((starts < 0) | (ends <= starts)).any(axis=1)
    findings.add_rows('bad-crop-window', prepared, np.flatnonzero(bad))
    _check_frames(prepared, findings)


def _check_listed_twice(prepared: PreparedSet, findings: FindingList) -> None:
    uses = [([], 'count_all'), ('split', 'count_distinct'), ('label', 'count_distinct')]
    images = prepared.table.group_by('image', use_threads=False).aggregate(uses)
    twice = images.filter(pc.greater(images['count_all'], 1))
    apart = pc.greater(pc.max_element_wise(twice['split_count_distinct'], twice['label_count_distinct']), 1)
    for check, chosen in (('image-in-two-roles', apart), ('image-listed-twice', pc.invert(apart))):
        findings.add(check, prepared.name, twice['image'].filter(chosen).to_pylist())


def _check_pairs(prepared: PreparedSet, findings: FindingList) -> None:
    named = prepared.column('source_image')
    unnamed = named.is_null().to_numpy(zero_copy_only=False)
    # Row of the genuine frame of each row; -1 if it is not a row of this index.
    pairs = pc.fill_null(pc.index_in(named, value_set=prepared.column('image')), -1)
    pairs = np.where(unnamed, -1, pairs.to_numpy(zero_copy_only=False))
    label, frame = prepared.numbers('label'), prepared.numbers('frame')
    _check_unpaired(prepared, findings, (label == 1) & unnamed)
    linked = np.flatnonzero(pairs >= 0)
    other = pairs[linked]
    split = _dictionary(prepared, 'split').indices.to_numpy(zero_copy_only=False)
    for check, rows in (
        ('genuine-with-pair', np.flatnonzero((label == 0) & ~unnamed)),
        ('pair-not-listed', np.flatnonzero(~unnamed & (pairs < 0))),
        ('pair-is-fake', linked[(label[other] == 1) | (other == linked)]),
        ('pair-in-other-split', linked[split[other] != split[linked]]),
        ('pair-of-other-frame', linked[frame[other] != frame[linked]]),
    ):
        findings.add_rows(check, prepared, rows)


def _check_unpaired(prepared: PreparedSet, findings: FindingList, unpaired: npt.NDArray[np.bool_]) -> None:
    fakes = prepared.numbers('label') == 1
    for kind, mine in prepared.rows_by_kind(np.flatnonzero(fakes)):
        rows = mine[unpaired[mine]]
        every = len(rows) == len(mine)
        more = '' if every else '; see problems in report.json for the reason'
        severity = 'note' if every else 'warning'
        findings.add_rows(
            'fake-without-pair', prepared, rows, kind, total=len(mine), more=more, severity=severity
        )


def _check_labels(prepared: PreparedSet, findings: FindingList) -> None:
    """A split with one class only cannot be learned from, and has no ROC curve."""
    label, split = prepared.numbers('label'), _dictionary(prepared, 'split')
    for code, name in enumerate(split.dictionary.to_pylist()):
        present = np.unique(label[split.indices.to_numpy() == code]).tolist()
        if len(present) == 1:
            kind = 'fake' if present == [1] else 'genuine'
            findings.add('one-class-only', prepared.name, count=1, split=name, kind=kind)


def _check_frames(prepared: PreparedSet, findings: FindingList) -> None:
    kinds = np.unique(prepared.points).tolist()
    other = int((prepared.points != kinds[0]).sum())
    findings.add('mixed-landmarks', prepared.name, count=other, kinds=' and with '.join(map(str, kinds)))
    wanted = (prepared.settings or {}).get('frames')
    if isinstance(wanted, int):
        few = [f'{video.key}: {video.frames}' for video in prepared.videos if video.frames < wanted / 2]
        findings.add('few-frames', prepared.name, few, wanted=wanted)


def split_counts(prepared: PreparedSet) -> dict[str, int]:
    """Rows of each split that has any."""
    counts = prepared.table['split'].value_counts().to_pylist()
    found = {item['values']: item['counts'] for item in counts}
    return {split: found[split] for split in SPLITS if split in found}


def _dictionary(prepared: PreparedSet, name: str) -> pa.DictionaryArray:
    return prepared.column(name).dictionary_encode()


# Landmarks


def window_sizes(prepared: PreparedSet) -> npt.NDArray[np.float64]:
    """(n, 2) width and height in which crops are stored, as far as the index alone says.

    Windows are shrunk to the ``max_side`` of the settings and never enlarged.
    """
    windows = prepared.windows.astype(np.float64)
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
    low, high = np.split(prepared.boxes.astype(np.float64), 2, axis=1)
    extent, center, side = high - low, (low + high) / 2, sizes.max(axis=1)
    flat = (extent < 1).any(axis=1)
    away = ((center < -0.5) | (center > sizes - 0.5)).any(axis=1)
    beyond = np.maximum(-low, high - (sizes - 1)).max(axis=1)
    for check, wrong in (
        ('degenerate-landmarks', flat),
        ('landmarks-outside', away),
        ('landmarks-far-out', ~away & (beyond > FAR_OUTSIDE * side)),
        ('tiny-landmarks', ~flat & (extent.max(axis=1) < SMALL_FACE * side)),
    ):
        findings.add_rows(check, prepared, np.flatnonzero(wrong))


# Report


def check_report(prepared: PreparedSet, findings: FindingList) -> None:
    """Check ``report.json``; keys that an older report lacks are skipped.

    Args:
        prepared: The set.
        findings: Takes the findings.
    """
    report, name = prepared.report, prepared.name
    if report.problem:
        findings.add('no-report', name, count=1, problem=report.problem)
        return
    if (found := report.found) is not None:
        rows = prepared.rows
        findings.add('report-of-other-run', name, count=abs(found - rows), found=found, rows=rows)
    faceless, names = prepared.faceless
    reasons = dict(report.problems)
    examples = (f'{video}: {reasons[video]}' if reasons.get(video) else video for video in names)
    findings.add('video-without-face', name, examples, count=faceless)
    _check_given_up(name, report, findings)
    findings.add('problems', name, [f'{video}: {reason}' for video, reason in report.problems])
    findings.add('listed-but-missing', name, report.missing)
    kinds = Counter(report.left_out).most_common()
    findings.add(
        'left-out', name, [f'{count}: {reason}' for reason, count in kinds], count=len(report.left_out)
    )


def _check_given_up(name: str, report: Report, findings: FindingList) -> None:
    asked, found = report.asked, report.found
    count = sum(map(len, report.given_up.values()))
    if not report.given_up and asked is not None and found is not None:
        count = asked - found
    share = count / asked if asked else 0.0
    findings.add(
        'frames-given-up',
        name,
        (f'{key}: {_short(frames)}' for key, frames in sorted(report.given_up.items())),
        count=count,
        severity='warning' if share > MANY_GIVEN_UP else 'note',
        share=f' ({100 * share:.2f} % of {asked})' if asked else '',
    )


def _short(frames: list[int], most: int = 8) -> str:
    shown = ', '.join(map(str, frames[:most]))
    return f'{shown}, ... ({len(frames)} frames)' if len(frames) > most else shown
