# SPDX-License-Identifier: Apache-2.0
"""Choice of the faces of a probe, their identities, and the clips that stay together in a split."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from iid_mm.errors import InputError
from iid_mm.identity.extraction import FaceTable

Codes = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

FACES = ('genuine', 'fakes', 'both')
IDENTITIES = ('target', 'source')
TIME_BLOCKS = 4


@dataclass(frozen=True)
class Clips:
    """N faces with identity and clip.

    Attributes:
        rows: (N,) rows of the face table.
        identity: (N,) codes 0..K-1.
        clip: (N,) codes; a clip belongs to one identity and is on one side of a split as a whole.
        names: Names of the K identities.
        notes: Caveats for readers of the metrics.
    """

    rows: Codes
    identity: Codes
    clip: Codes
    names: list[str]
    notes: list[str] = field(default_factory=list)


def select_clips(
    faces: FaceTable, which: str = 'genuine', identity: str = 'target', *, split_time: bool = False
) -> Clips:
    """Select faces and number their identities and clips.

    A clip is a genuine recording (with all fakes made of it, which show the same frames) of one index.

    Args:
        faces: The extracted faces.
        which: One of :data:`FACES`.
        identity: Identity of a fake: ``target`` (person of the head and scene) or ``source`` (person of the
            inserted face). A genuine face is its own target and source.
        split_time: Cut clips into blocks of time, separated by a gap of one frame, and treat the blocks as
            clips.

    Returns:
        The faces of all identities that have at least two clips.

    Raises:
        InputError: An argument is unknown, the index has no identities, or fewer than two identities have
            two clips.
    """
    if which not in FACES or identity not in IDENTITIES:
        raise InputError(f'--faces {which} --identity {identity}: choose of {FACES} and {IDENTITIES}')
    label = faces.column('label').astype(np.int64)
    people = faces.column('target_id')
    if identity == 'source':
        people = np.where(label == 1, faces.column('source_id'), people)
    chosen = np.ones(label.size, bool) if which == 'both' else label == (which == 'fakes')
    if not chosen.any():
        raise InputError(f'--faces {which}: the index has no such faces')
    known = np.array([person is not None for person in people]) & chosen
    if not known.any():
        raise InputError(
            f'the index names no {identity} identity of its {which} faces, so there is nothing to probe; '
            f'prepare the set from a layout that knows people, or fill in the column {identity}_id'
        )
    notes = []
    if missing := int((chosen & ~known).sum()):
        notes.append(f'{missing} faces without a known identity are left out.')
    rows = np.flatnonzero(known)
    columns = (faces.column('take')[rows], faces.column('recording')[rows], people[rows])
    keys = [f'{take}|{recording}|{person}' for take, recording, person in zip(*columns, strict=True)]
    clip = np.unique(keys, return_inverse=True)[1].astype(np.int64)
    names, codes = np.unique(people[rows].astype(str), return_inverse=True)
    if split_time:
        clip = time_blocks(clip, faces.column('frame')[rows].astype(np.int64))
        notes.append(
            'WEAK SPLIT (--split-time): blocks of one recording share light, pose, clothes and '
            'background, so these accuracies say less about identity than a split by clips.'
        )
        keep = clip >= 0
        rows, codes, clip = rows[keep], codes[keep], clip[keep]
    if which != 'genuine' and identity == 'source':
        notes += _confusion(faces, rows)
    kept = _recognizable(codes, clip, len(names), split_time)
    if dropped := len(names) - kept.size:
        notes.append(f'{dropped} of {len(names)} identities have one clip only and are left out.')
    keep = np.isin(codes, kept)
    clip = np.unique(clip[keep], return_inverse=True)[1].astype(np.int64)
    return Clips(rows[keep], np.searchsorted(kept, codes[keep]), clip, [names[i] for i in kept], notes)


def _confusion(faces: FaceTable, rows: Codes) -> list[str]:
    """A note if sources and targets are confounded in this set."""
    fakes = rows[faces.column('label')[rows].astype(np.int64) == 1]
    pairs = set(zip(faces.column('source_id')[fakes], faces.column('target_id')[fakes], strict=True))
    if len({source for source, _ in pairs}) == len(pairs):
        return [
            'Every source identity occurs with one target only: the probe may recognize the target '
            '(hair, scene) and be credited with the source.'
        ]
    return []


def _recognizable(identity: Codes, clip: Codes, people: int, split_time: bool) -> Codes:
    """Codes of the identities with at least two clips."""
    pairs = np.unique(np.stack([identity, clip]), axis=1)
    kept = np.flatnonzero(np.bincount(pairs[0], minlength=people) >= 2)
    if kept.size < 2:
        raise InputError(
            f'{kept.size} of {people} identities have two clips or more; a probe needs at least 2 such '
            'identities: give further indexes with other clips of the same people (--index A B ...)'
            + ('' if split_time else ', or split clips in time with --split-time, which is weaker')
        )
    return kept


def time_blocks(clip: Codes, order: Codes) -> Codes:
    """Cut each clip into :data:`TIME_BLOCKS` blocks of time with a gap between them.

    Args:
        clip: (N,) codes.
        order: (N,) frame numbers.

    Returns:
        (N,) codes of blocks; -1: in a gap. Frames of the same number stay together.

    Raises:
        InputError: A clip has too few frames.
    """
    result = np.full(clip.size, -1, dtype=np.int64)
    for code in np.unique(clip):
        places = np.flatnonzero(clip == code)
        frames, rank = np.unique(order[places], return_inverse=True)
        if frames.size < 2 * TIME_BLOCKS:
            raise InputError(
                f'--split-time: a clip has {frames.size} frames; {TIME_BLOCKS} blocks with a gap need '
                f'{2 * TIME_BLOCKS}: prepare more frames a video'
            )
        block = np.arange(frames.size) * TIME_BLOCKS // frames.size
        gap = np.append(np.diff(block) > 0, False)
        result[places] = np.where(gap, -1, code * TIME_BLOCKS + block)[rank]
    return result


def draw_split(
    identity: Codes, clip: Codes, seed: int, share: float = 0.25, train_clips: int | None = None
) -> tuple[Mask, Mask]:
    """Draw test clips, of every identity about ``share``, at least one, never all; and training clips.

    Args:
        identity: (N,) codes; every identity has at least two clips.
        clip: (N,) codes.
        seed: Seed of the draw.
        share: Part of an identity's clips that is tested on.
        train_clips: Draw this many training clips of every identity; None: all that are not tested on.

    Returns:
        (N,) bool, true for faces of training clips, and the same for test clips.
    """
    test = _draw_clips(identity, clip, seed, lambda clips: min(max(1, round(share * clips)), clips - 1))
    train = ~test
    if train_clips is not None:
        train[train] = _draw_clips(identity[train], clip[train], [seed, 2], lambda clips: train_clips)
    return train, test


def _draw_clips(identity: Codes, clip: Codes, seed: int | list[int], count_of: Callable[[int], int]) -> Mask:
    """Faces of some clips of every identity, ``count_of(number of its clips)`` of them."""
    generator = np.random.Generator(np.random.PCG64(seed))
    chosen = []
    for code in np.unique(identity):
        own = np.unique(clip[identity == code])
        chosen.append(generator.permutation(own)[: count_of(own.size)])
    return np.isin(clip, np.concatenate(chosen))


def shuffle_identities(identity: Codes, clip: Codes, seed: int) -> Codes:
    """Give whole clips the identities of others: the control task of Hewitt and Liang (2019).

    Args:
        identity: (N,) codes.
        clip: (N,) codes.
        seed: Seed of the draw.

    Returns:
        (N,) codes; every identity has as many clips as before.
    """
    clips, first = np.unique(clip, return_index=True)
    labels = identity[first]
    drawn = np.random.Generator(np.random.PCG64([seed, 1])).permutation(labels)
    return np.asarray(drawn[np.searchsorted(clips, clip)])
