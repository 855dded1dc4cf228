# SPDX-License-Identifier: Apache-2.0
"""Checks of the images of an index: they are decoded, as many as wanted, in parallel."""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc
from tqdm import tqdm

from iid_mm.errors import InputError
from iid_mm.preparation.checking.findings import FindingList, Severity, plural
from iid_mm.preparation.checking.images import (
    BROKEN,
    GOOD,
    MISSING,
    RESULT,
    ImageJob,
    ImageProblem,
    check_images,
    start_worker,
)
from iid_mm.preparation.checking.loading import PreparedSet
from iid_mm.preparation.worker import no_interrupts

ImageResults: TypeAlias = npt.NDArray[np.void]

CHUNK = 64
FEW_IMAGES = 512
"""So few rows are decoded in this process: starting others would take longer."""
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
        digests: Also take digests of the image files.
        num_workers: Worker processes; 0 works in this process.
        progress: Show a progress bar.

    Returns:
        A ``RESULT`` array in the order of the rows, and what cannot be used.
    """
    rows = _order(prepared)
    if sample is not None and sample < len(rows):
        rows = rows[np.unique(np.linspace(0, len(rows) - 1, sample).round().astype(np.int64))]
    if len(rows) <= FEW_IMAGES:
        num_workers = 0
    parts: list[ImageResults] = [np.zeros(0, RESULT)]
    problems: list[ImageProblem] = []
    # A log file is not a terminal: a line every half minute is enough there.
    interval = 0.2 if sys.stderr.isatty() else 30.0
    with tqdm(total=len(rows), unit='row', disable=not progress, mininterval=interval) as bar:
        for results, found in _run(_chunks(prepared, rows), digests, num_workers):
            parts.append(results)
            problems.extend(found)
            bar.update(len(results))
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


def _run(
    chunks: Iterator[list[ImageJob]], digests: bool, num_workers: int
) -> Iterator[tuple[ImageResults, list[ImageProblem]]]:
    if num_workers == 0:
        for chunk in chunks:
            yield check_images(chunk, digests)
        return
    executor = ProcessPoolExecutor(
        num_workers,
        # Not fork: libraries of this process may hold threads and locks.
        mp_context=multiprocessing.get_context('spawn'),
        initializer=start_worker,
    )
    waiting: set[Future[Any]] = set()
    try:
        for chunk in chunks:
            with no_interrupts():
                waiting.add(executor.submit(check_images, chunk, digests))
            if len(waiting) >= 4 * num_workers:
                ready, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in ready)
        yield from (future.result() for future in waiting)
    except BrokenProcessPool as error:
        raise InputError(
            'a worker process died: out of memory (try fewer --num-workers), or an image that makes the '
            'decoder crash (--num-workers 0 shows the crash)'
        ) from error
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


def check_image_results(
    prepared: PreparedSet,
    results: ImageResults,
    problems: Sequence[ImageProblem],
    findings: FindingList,
) -> None:
    """Report what is wrong with the images.

    Args:
        prepared: The set.
        results: From :func:`decode_set`.
        problems: From :func:`decode_set`.
        findings: Takes the findings.
    """
    _check_readable(prepared, results, problems, findings)
    _check_contents(prepared, results, findings)
    _check_sizes(prepared, results, findings)
    _check_differences(prepared, results, findings)


def _check_readable(
    prepared: PreparedSet, results: ImageResults, problems: Sequence[ImageProblem], findings: FindingList
) -> None:
    names = {'image': 'an image', 'pair': 'a pair image', 'mask': 'a mask'}
    kinds = ((MISSING, 'missing', 'missing'), (BROKEN, 'unreadable', 'unreadable'))
    root = prepared.root.resolve().as_posix() + '/'
    for role, name in names.items():
        for code, kind, word in kinds:
            rows = results['row'][results[role] == code]
            bad = set(rows.tolist())
            reasons = dict.fromkeys(
                problem.reason.removeprefix(root)
                for problem in problems
                if problem.role == role and problem.row in bad
            )
            findings.add(
                'error',
                f'{kind}-{name.split(" ", 1)[1].replace(" ", "-")}',
                prepared.name,
                f'{plural(len(rows), "row")} with {name} that is {word}',
                count=len(rows),
                examples=reasons,
                remedy='training stops at such a row: copy the prepared folder again, or prepare it again '
                'with --overwrite',
            )


def _add(
    prepared: PreparedSet,
    findings: FindingList,
    severity: Severity,
    check: str,
    message: str,
    rows: npt.NDArray[np.int64],
    remedy: str,
) -> None:
    if len(rows):
        text = message.format(plural(len(rows), 'row'))
        few = prepared.places(rows[:5])
        findings.add(severity, check, prepared.name, text, count=len(rows), examples=few, remedy=remedy)


def _check_contents(prepared: PreparedSet, results: ImageResults, findings: FindingList) -> None:
    flat = results['row'][results['flat']]
    _add(
        prepared,
        findings,
        'error',
        'blank-image',
        '{} whose image is of one color: it shows no face',
        flat,
        'damaged video or a fade to black; prepare the video again or drop these rows',
    )
    gray = results['row'][results['colorless'] & ~results['flat']]
    _add(
        prepared,
        findings,
        'note',
        'colorless-image',
        '{} whose image has no color',
        gray,
        'nothing if the video is black and white; a detector must not learn a class from it',
    )


def _check_sizes(prepared: PreparedSet, results: ImageResults, findings: FindingList) -> None:
    for role, name in (('pair', 'genuine counterpart'), ('mask', 'mask')):
        both = (results['image'] == GOOD) & (results[role] == GOOD)
        other = (results['width'] != results[f'{role}_width']) | (
            results['height'] != results[f'{role}_height']
        )
        _add(
            prepared,
            findings,
            'error',
            f'{role}-of-other-size',
            '{} whose ' + name + ' has another size than the image',
            results['row'][both & other],
            'landmarks and facial swaps do not fit such pairs; prepare the set again',
        )


def _check_differences(prepared: PreparedSet, results: ImageResults, findings: FindingList) -> None:
    compared = results[np.isfinite(results['difference'])]
    compared = compared[prepared.numbers('label')[compared['row']] == 1]
    kinds = [f'{video.dataset}/{video.method}/{video.compression}' for video in prepared.videos]
    names, codes = np.unique(np.array(kinds, dtype=np.str_), return_inverse=True)
    kind_of_row = codes[prepared.video_codes[compared['row']]]
    for code, method in enumerate(names.tolist()):
        mine = compared[kind_of_row == code]
        same = mine['row'][mine['difference'] < SAME_IMAGE]
        findings.add(
            'warning',
            'fake-equals-genuine',
            f'{prepared.name}: {method}',
            f'{len(same)} of {plural(len(mine), "fake frame")} equal to the genuine frame: '
            'nothing is manipulated there, and the label is wrong',
            count=len(same),
            examples=prepared.places(same[:5]),
            remedy='known of some videos of public sets: drop these rows, or say so next to the scores',
        )
        far = mine['row'][mine['difference'] > OTHER_SCENE]
        findings.add(
            'warning',
            'pair-of-other-scene',
            f'{prepared.name}: {method}',
            f'{len(far)} of {plural(len(mine), "fake frame")} hardly alike their genuine frame',
            count=len(far),
            examples=prepared.places(far[:5]),
            remedy='compare them (--picture): a shifted or wrong counterpart makes facial swaps useless',
        )


def check_copies(sets: Sequence[PreparedSet], results: Sequence[ImageResults], findings: FindingList) -> None:
    """Report byte-identical images in different splits or with different labels.

    Args:
        sets: The sets.
        results: Results of each, with digests.
        findings: Takes the findings.
    """
    digests = np.concatenate([part['digest'][part['image'] == GOOD] for part in results])
    owners = np.concatenate([np.full((part['image'] == GOOD).sum(), n) for n, part in enumerate(results)])
    rows = np.concatenate([part['row'][part['image'] == GOOD] for part in results])
    keys = digests.view([('a', np.uint64), ('b', np.uint64)])
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
    findings.add(
        'error',
        'copy-in-two-splits',
        'all indexes',
        f'{plural(len(apart), "pair")} of byte-identical images in different splits',
        count=len(apart),
        examples=apart,
        remedy='a test image is seen in training: find out which video is filed twice',
    )
    findings.add(
        'warning',
        'copy-with-both-labels',
        'all indexes',
        f'{plural(len(mixed), "pair")} of byte-identical images, one genuine and one fake',
        count=len(mixed),
        examples=mixed,
        remedy='nothing is manipulated there, or a video is filed wrongly',
    )


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
