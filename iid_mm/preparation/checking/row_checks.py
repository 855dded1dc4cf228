# SPDX-License-Identifier: Apache-2.0
"""Checks of the rows of one index that need no image; none of them loops over rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from iid_mm.datasets.index import SPLITS
from iid_mm.preparation.checking.findings import FindingList, Severity, plural
from iid_mm.preparation.checking.loading import PreparedSet

BoolArray = npt.NDArray[np.bool_]

FAR_OUTSIDE = 0.25
"""Landmarks this far outside of a crop, as part of its longer side, are not those of its face."""
SMALL_FACE = 0.1
"""Landmarks that span less than this part of a crop are not those of its face."""


def check_rows(prepared: PreparedSet, findings: FindingList) -> None:
    """Check the rows of an index without opening an image.

    Args:
        prepared: The set.
        findings: Takes the findings.
    """
    if not prepared.rows:
        findings.add(
            'error',
            'empty-index',
            prepared.name,
            'the index has no rows',
            count=1,
            remedy='look into report.json for the reasons, then prepare the set again',
        )
        return
    _check_listed_twice(prepared, findings)
    _check_pairs(prepared, findings)
    _check_labels(prepared, findings)
    _check_windows(prepared, findings)
    _check_frames(prepared, findings)


def _add(
    prepared: PreparedSet,
    findings: FindingList,
    severity: Severity,
    check: str,
    message: str,
    bad: BoolArray,
    remedy: str,
) -> None:
    """Report the rows where ``bad`` is true; ``{}`` in the message stands for their number."""
    rows = np.flatnonzero(bad)
    if len(rows):
        message = message.format(plural(len(rows), 'row'))
        few = prepared.places(rows[:5])
        findings.add(severity, check, prepared.name, message, count=len(rows), examples=few, remedy=remedy)


def _check_listed_twice(prepared: PreparedSet, findings: FindingList) -> None:
    images = prepared.column('image').dictionary_encode()
    codes = images.indices.to_numpy(zero_copy_only=False)
    counts = np.bincount(codes, minlength=len(images.dictionary))
    twice = counts > 1
    if not twice.any():
        return
    rows = np.flatnonzero(twice[codes])
    values = {name: prepared.texts(name, rows) for name in ('image', 'split', 'label')}
    seen: dict[str, set[tuple[Any, ...]]] = {}
    for image, split, label in zip(*values.values(), strict=True):
        seen.setdefault(image, set()).add((split, label))
    apart = [image for image, uses in seen.items() if len(uses) > 1]
    findings.add(
        'error',
        'image-in-two-roles',
        prepared.name,
        f'{plural(len(apart), "image file")} listed in more than one split or with both labels',
        count=len(apart),
        examples=apart,
        remedy='prepare the set again: one file can be only one sample',
    )
    same = [image for image, uses in seen.items() if len(uses) == 1]
    findings.add(
        'warning',
        'image-listed-twice',
        prepared.name,
        f'{plural(len(same), "image file")} listed more than once: it counts more than others',
        count=len(same),
        examples=same,
        remedy='prepare the set again, or drop the copies',
    )


def pair_rows(prepared: PreparedSet) -> npt.NDArray[np.int64]:
    """Row of the genuine frame of each row: -1 if none is named, -2 if it is not a row of this index."""
    named = prepared.column('source_image')
    rows = pc.index_in(named, value_set=prepared.column('image'))
    found = pc.fill_null(rows, -2).to_numpy(zero_copy_only=False).astype(np.int64)
    found[named.is_null().to_numpy(zero_copy_only=False)] = -1
    return found


def _check_pairs(prepared: PreparedSet, findings: FindingList) -> None:
    pairs = pair_rows(prepared)
    label = prepared.numbers('label')
    _report_unpaired(prepared, findings, (label == 1) & (pairs == -1))
    _add(
        prepared,
        findings,
        'warning',
        'genuine-with-pair',
        '{} of genuine frames name a pair',
        (label == 0) & (pairs != -1),
        'only fakes have a genuine counterpart; prepare the set again',
    )
    _add(
        prepared,
        findings,
        'note',
        'pair-not-listed',
        '{} name a pair that is no sample of the index itself',
        pairs == -2,
        'nothing: the pair is used for facial swaps, it is only not a genuine sample',
    )
    linked = np.flatnonzero(pairs >= 0)
    other = pairs[linked]
    split = _codes(prepared, 'split')
    frame = prepared.numbers('frame')
    rules: tuple[tuple[Severity, str, str, BoolArray, str], ...] = (
        (
            'error',
            'pair-is-fake',
            '{} have a fake, or themselves, as genuine counterpart',
            (label[other] == 1) | (other == linked),
            'facial swaps with these pairs carry wrong labels; prepare the set again',
        ),
        (
            'error',
            'pair-in-other-split',
            '{} have their genuine frame in another split: a test video is seen in training',
            split[other] != split[linked],
            'give a fake and the video it was made from one split',
        ),
        (
            'warning',
            'pair-of-other-frame',
            '{} have a genuine frame with another number',
            frame[other] != frame[linked],
            'pose and background differ in such pairs; prepare the set again',
        ),
    )
    for severity, check, message, wrong, remedy in rules:
        bad = np.zeros(prepared.rows, dtype=bool)
        bad[linked[wrong]] = True
        _add(prepared, findings, severity, check, message, bad, remedy)


def _report_unpaired(prepared: PreparedSet, findings: FindingList, unpaired: BoolArray) -> None:
    fakes = np.bincount(prepared.video_codes, minlength=len(prepared.videos))
    alone = np.bincount(prepared.video_codes[unpaired], minlength=len(prepared.videos))
    kinds: dict[str, list[int]] = {}
    for number, video in enumerate(prepared.videos):
        if video.label == 1:
            kinds.setdefault(f'{video.dataset}/{video.method}/{video.compression}', []).append(number)
    for kind, videos in sorted(kinds.items()):
        count, total = int(alone[videos].sum()), int(fakes[videos].sum())
        if not count:
            continue
        everything = count == total
        of_kind = np.zeros(len(prepared.videos), dtype=bool)
        of_kind[videos] = True
        rows = np.flatnonzero(unpaired & of_kind[prepared.video_codes])
        findings.add(
            'note' if everything else 'warning',
            'fake-without-pair',
            f'{prepared.name}: {kind}',
            f'{count} of {plural(total, "fake frame")} without a genuine counterpart',
            count=count,
            examples=prepared.places(rows[:5]),
            remedy='they serve as plain fakes; facial swaps need pairs (require_pair=True drops the others)'
            + ('' if everything else '; see problems in report.json for the reason'),
        )


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


def _check_windows(prepared: PreparedSet, findings: FindingList) -> None:
    windows = _windows(prepared)
    begins_outside = (windows[:, :2] < 0).any(axis=1)
    bad = np.asarray(begins_outside | (windows[:, 2:] <= windows[:, :2]).any(axis=1))
    _add(
        prepared,
        findings,
        'error',
        'bad-crop-window',
        '{} with an empty crop window or one that begins outside of the frame',
        bad,
        'crop_window is x0, y0, x1, y1 with 0 <= x0 < x1 and 0 <= y0 < y1; prepare the set again',
    )


def window_sizes(prepared: PreparedSet) -> npt.NDArray[np.float64]:
    """(n, 2) width and height in which crops are stored, as far as the index alone tells.

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
    degenerate = np.asarray((extent < 1).any(axis=1))
    small = ~degenerate & (extent.max(axis=1) < SMALL_FACE * side)
    center = (boxes[:, :2] + boxes[:, 2:]) / 2
    away = np.asarray(((center < -0.5) | (center > sizes - 0.5)).any(axis=1))
    beyond = np.maximum(-boxes[:, :2], boxes[:, 2:] - (sizes - 1)).max(axis=1)
    outside = ~away & (beyond > FAR_OUTSIDE * side)
    rules: tuple[tuple[Severity, str, str, BoolArray], ...] = (
        ('error', 'degenerate-landmarks', '{} whose landmarks lie on one point or line', degenerate),
        ('error', 'landmarks-outside', '{} whose landmarks are centered outside of the crop', away),
        ('warning', 'landmarks-far-out', '{} with landmarks far outside of the crop', outside),
        ('warning', 'tiny-landmarks', '{} whose landmarks span less than a tenth of the crop', small),
    )
    remedy = 'look at them (--picture); prepare the set again with another analyzer if they are wrong'
    for severity, check, message, bad in rules:
        _add(prepared, findings, severity, check, message, bad, remedy)


def _check_frames(prepared: PreparedSet, findings: FindingList) -> None:
    kinds = np.unique(prepared.points).tolist()
    if len(kinds) > 1:
        findings.add(
            'warning',
            'mixed-landmarks',
            prepared.name,
            f'frames with {" and with ".join(map(str, kinds))} landmarks in one index',
            count=int((prepared.points != kinds[0]).sum()),
            remedy='face hulls differ in height between them; use one analyzer for all videos',
        )
    wanted = (prepared.settings or {}).get('frames')
    if not isinstance(wanted, int):
        return
    few = [video for video in prepared.videos if video.frames < wanted / 2]
    findings.add(
        'note',
        'few-frames',
        prepared.name,
        f'{plural(len(few), "video")} with less than half of the {wanted} frames that were wanted',
        count=len(few),
        examples=[f'{video.key}: {video.frames}' for video in few],
        remedy='short or damaged videos, or no face in the others: see problems in report.json',
    )


def split_counts(prepared: PreparedSet) -> dict[str, int]:
    """Rows of each split that has any."""
    codes = _dictionary(prepared, 'split')
    found = dict(
        zip(codes.dictionary.to_pylist(), np.bincount(codes.indices.to_numpy()).tolist(), strict=True)
    )
    return {split: found[split] for split in SPLITS if split in found}


def _dictionary(prepared: PreparedSet, name: str) -> pa.DictionaryArray:
    return prepared.column(name).dictionary_encode()


def _codes(prepared: PreparedSet, name: str) -> npt.NDArray[np.int64]:
    return np.asarray(_dictionary(prepared, name).indices.to_numpy(zero_copy_only=False), np.int64)


def _windows(prepared: PreparedSet) -> npt.NDArray[np.int64]:
    values = prepared.column('crop_window').flatten().to_numpy(zero_copy_only=False)
    return np.asarray(values, np.int64).reshape(-1, 4)
