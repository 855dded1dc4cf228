# SPDX-License-Identifier: Apache-2.0
"""Checks of the images of an index, which are decoded in parallel."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc
from tqdm import tqdm

from iid_mm.errors import InputError
from iid_mm.preparation.checking.findings import FindingList
from iid_mm.preparation.checking.image_decoding import (
    BROKEN,
    GOOD,
    MISSING,
    RESULT,
    ImageJob,
    ImageProblem,
    check_images,
    start_worker,
)
from iid_mm.preparation.checking.prepared_set import PreparedSet
from iid_mm.utils.workers import map_in_processes

ImageResults: TypeAlias = npt.NDArray[np.void]

CHUNK = 64
FEW_IMAGES = 512
"""Up to this many rows are decoded in this process: starting others would take longer."""
SAME_IMAGE = 0.05
"""Mean difference, gray levels, below which a fake is taken for its genuine frame: less than one gray
level in twenty pixels, which no manipulation leaves and recompression exceeds."""
OTHER_SCENE = 50.0
"""Mean difference, gray levels, above which a fake and its pair hardly show the same scene."""


def decode_set(
    prepared: PreparedSet,
    *,
    sample: int | None = None,
    digests: bool = False,
    num_workers: int = 0,
    progress: bool = True,
) -> tuple[ImageResults, list[ImageProblem]]:
    """Decode the images of a set.

    Args:
        prepared: The set.
        sample: Decode this many rows, evenly chosen; None decodes all.
        digests: Also compute digests of the image files.
        num_workers: Worker processes; 0 works in this process.
        progress: Show a progress bar.

    Returns:
        A ``RESULT`` array in the order of the rows, and the images that cannot be used.

    Raises:
        InputError: If a worker process died.
    """
    rows = _order(prepared)
    if sample is not None and sample < len(rows):
        rows = rows[np.unique(np.linspace(0, len(rows) - 1, sample).round().astype(np.int64))]
    check = partial(check_images, digests=digests)
    decoded: Iterator[tuple[ImageResults, list[ImageProblem]]] = map(check, _chunks(prepared, rows))
    if num_workers and len(rows) > FEW_IMAGES:
        decoded = map_in_processes(check, _chunks(prepared, rows), num_workers, start_worker)
    parts: list[ImageResults] = [np.zeros(0, RESULT)]
    problems: list[ImageProblem] = []
    # A log file is not a terminal: a line every half minute is enough there.
    interval = 0.2 if sys.stderr.isatty() else 30.0
    try:
        with tqdm(total=len(rows), unit='row', disable=not progress, mininterval=interval) as bar:
            for results, found in decoded:
                parts.append(results)
                problems.extend(found)
                bar.update(len(results))
    except BrokenProcessPool as error:
        raise InputError(
            'a worker process died: out of memory (try fewer --num-workers), or an image that makes the '
            'decoder crash (--num-workers 0 shows the crash)'
        ) from error
    results = np.concatenate(parts)
    return results[np.argsort(results['row'], kind='stable')], sorted(problems)


def _order(prepared: PreparedSet) -> npt.NDArray[np.int64]:
    """Rows in an order in which each genuine frame comes just before the fakes made from it."""
    pairs = prepared.column('source_image')
    groups = pc.coalesce(pairs, prepared.column('image')).dictionary_encode().indices
    paired = pairs.is_valid().to_numpy(zero_copy_only=False)
    return np.lexsort((paired, groups.to_numpy(zero_copy_only=False)))


def _chunks(prepared: PreparedSet, rows: npt.NDArray[np.int64]) -> Iterator[list[ImageJob]]:
    root = prepared.root.resolve().as_posix()
    for start in range(0, len(rows), CHUNK):
        chunk = rows[start : start + CHUNK]
        names = [prepared.texts(name, chunk) for name in ('image', 'source_image', 'mask')]
        paths = ([f'{root}/{name}' if name is not None else None for name in column] for column in names)
        yield [
            ImageJob(row, str(image), pair, mask)
            for row, image, pair, mask in zip(chunk.tolist(), *paths, strict=True)
        ]


def check_image_results(
    prepared: PreparedSet, results: ImageResults, problems: Sequence[ImageProblem], findings: FindingList
) -> None:
    """Report what is wrong with the images.

    Args:
        prepared: The set.
        results: From :func:`decode_set`.
        problems: From :func:`decode_set`.
        findings: Takes the findings.
    """
    rows = results['row']
    root = prepared.root.resolve().as_posix() + '/'
    for role, name in (('image', 'image'), ('pair', 'pair-image'), ('mask', 'mask')):
        for code, state in ((MISSING, 'missing'), (BROKEN, 'unreadable')):
            bad = set(rows[results[role] == code].tolist())
            own = [problem.reason for problem in problems if problem.role == role and problem.row in bad]
            reasons = dict.fromkeys(reason.removeprefix(root) for reason in own)
            findings.add(f'{state}-{name}', prepared.name, reasons, count=len(bad))
    findings.add_rows('blank-image', prepared, rows[results['flat']])
    findings.add_rows('colorless-image', prepared, rows[results['colorless'] & ~results['flat']])
    for role in ('pair', 'mask'):
        both = (results['image'] == GOOD) & (results[role] == GOOD)
        other = (results['size'] != results[f'{role}_size']).any(axis=1)
        findings.add_rows(f'{role}-of-other-size', prepared, rows[both & other])
    _check_differences(prepared, results, findings)


def _check_differences(prepared: PreparedSet, results: ImageResults, findings: FindingList) -> None:
    differences = np.full(prepared.rows, np.nan)
    differences[results['row']] = results['difference']
    compared = np.isfinite(differences) & (prepared.numbers('label') == 1)
    for kind, rows in prepared.rows_by_kind(np.flatnonzero(compared)):
        for check, wrong in (
            ('fake-equals-genuine', differences[rows] < SAME_IMAGE),
            ('pair-of-other-scene', differences[rows] > OTHER_SCENE),
        ):
            findings.add_rows(check, prepared, rows[wrong], kind, total=len(rows))


def check_copies(sets: Sequence[PreparedSet], results: Sequence[ImageResults], findings: FindingList) -> None:
    """Report byte-identical images in different splits or with different labels.

    Args:
        sets: The sets.
        results: Results of each, with digests.
        findings: Takes the findings.
    """
    good = [part[part['image'] == GOOD] for part in results]
    owners = np.repeat(np.arange(len(good)), [len(part) for part in good])
    rows = np.concatenate([part['row'] for part in good])
    keys = np.concatenate([part['digest'] for part in good]).view([('a', np.uint64), ('b', np.uint64)])
    order = np.lexsort((keys['b'], keys['a']))
    first, second = order[:-1], order[1:]
    # Copies lie side by side in this order. Of three, two pairs are looked at.
    twins = np.flatnonzero((keys['a'][first] == keys['a'][second]) & (keys['b'][first] == keys['b'][second]))
    roles = [_roles(sets, owners[side[twins]], rows[side[twins]]) for side in (first, second)]
    apart, mixed = [], []
    for (image, split, label), (other, other_split, other_label) in zip(*roles, strict=True):
        if image == other:
            continue
        if split != other_split:
            apart.append(f'{image} ({split}) = {other} ({other_split})')
        elif label != other_label:
            mixed.append(f'{image} = {other}')
    findings.add('copy-in-two-splits', 'all indexes', apart)
    findings.add('copy-with-both-labels', 'all indexes', mixed)


def _roles(
    sets: Sequence[PreparedSet], owners: npt.NDArray[np.int64], rows: npt.NDArray[np.int64]
) -> list[tuple[str, str, int]]:
    """Image with the name of its index, split and label of each row."""
    roles: list[tuple[str, str, int]] = [('', '', 0)] * len(rows)
    for number, prepared in enumerate(sets):
        mine = np.flatnonzero(owners == number)
        columns = [prepared.texts(name, rows[mine]) for name in ('image', 'split', 'label')]
        prefix = f'{prepared.name}: ' if len(sets) > 1 else ''
        for place, image, split, label in zip(mine.tolist(), *columns, strict=True):
            roles[place] = (f'{prefix}{image}', split, label)
    return roles
