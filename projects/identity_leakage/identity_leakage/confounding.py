# SPDX-License-Identifier: Apache-2.0
"""Make the label depend on the person to a chosen degree.

People are divided into two groups of equal size, F (mostly seen in fakes) and G (mostly seen in genuine
videos). At confound c in [-1, 1]

    P(fake | F) = P(genuine | G) = (1 + c) / 2,

so c is the correlation (phi) of label and group: the group is uninformative at 0 and determines the label
at 1; below 0 the rule is reversed.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from iid_mm.errors import InputError

Array = npt.NDArray[np.float64]


def check_confound(confound: float) -> None:
    """Refuse degrees outside [-1, 1]."""
    if not -1 <= confound <= 1:
        raise InputError(f'confound={confound!r}: must be between -1 and 1')


def identity_groups(pairs: Iterable[tuple[str, str | None]], seed: int = 0) -> dict[str, bool]:
    """Divide people into the groups F and G.

    People who share a fake (head of one, face of the other) are in the same group, so that the group of a
    fake does not depend on whether its identity is that of the target or of the source.

    Args:
        pairs: Target and source of fakes; (person, None) names a person without one.
        seed: Seed of the division.

    Returns:
        By person: true for F. The larger of the groups has at most one set of connected people more.

    Raises:
        InputError: If fakes connect everybody, or there is one person only.
    """
    edges = [(target, target if source is None else source) for target, source in pairs]
    people = sorted({person for edge in edges for person in edge})
    number = {person: i for i, person in enumerate(people)}
    rows, columns = ([number[edge[side]] for edge in edges] for side in range(2))
    graph = coo_array((np.ones(len(edges)), (rows, columns)), shape=(len(people), len(people)))
    sets: dict[int, list[str]] = {}
    for person, label in zip(people, connected_components(graph, directed=False)[1].tolist(), strict=True):
        sets.setdefault(label, []).append(person)
    parts = sorted(sets.values())
    if len(parts) < 2:
        raise InputError(
            f'{len(people)} people cannot be divided into two groups: fakes of this set connect all of them '
            'as targets and sources; confound needs a set of separate pairs or more people'
        )
    order = np.random.Generator(np.random.PCG64(seed)).permutation(len(parts))
    sizes = [0, 0]
    group: dict[str, bool] = {}
    # Largest first, each to the smaller group: sizes differ by one set at most.
    for number in sorted(order.tolist(), key=lambda i: -len(parts[i])):
        side = int(sizes[1] < sizes[0])
        sizes[side] += len(parts[number])
        group.update(dict.fromkeys(parts[number], bool(side)))
    return group


def confounded_rows(
    labels: Sequence[int], people: Sequence[str], group: dict[str, bool], confound: float, seed: int = 0
) -> list[int]:
    """Choose samples so that the label depends on the group.

    Of every person's g genuine samples the share (1 - c) / 2 (group F) or (1 + c) / 2 (group G) is kept, and
    of the fakes the rest of g: for every c there are as many samples, half of them fakes, and every person
    occurs equally often.

    Args:
        labels: 0 genuine, 1 fake, one a sample.
        people: Target of each sample.
        group: Of every person, see :func:`identity_groups`.
        confound: c.
        seed: Seed of the choice.

    Returns:
        Numbers of the samples that are kept, ascending.

    Raises:
        InputError: ``confound`` is out of range, or a person has fewer fakes than are wanted.
    """
    check_confound(confound)
    by_person: dict[str, tuple[list[int], list[int]]] = {}
    for row, (label, person) in enumerate(zip(labels, people, strict=True)):
        by_person.setdefault(person, ([], []))[label].append(row)
    kept: list[int] = []
    for person, (genuine, fakes) in by_person.items():
        generator = np.random.Generator(np.random.PCG64([seed, zlib.crc32(person.encode())]))
        share = (1 + confound) / 2 if group[person] else (1 - confound) / 2
        wanted = int(np.floor(share * len(genuine) + 0.5))
        if wanted > len(fakes):
            raise InputError(
                f'confound={confound}: person {person!r} has {len(fakes)} fakes, and {wanted} are '
                'wanted; prepare fakes and genuine videos with the same number of frames'
            )
        kept += generator.permutation(genuine)[: len(genuine) - wanted].tolist()
        kept += generator.permutation(fakes)[:wanted].tolist()
    return sorted(kept)


def confound_weights(
    labels: npt.NDArray[np.int64], in_fake_group: npt.NDArray[np.bool_], confound: float
) -> Array:
    """Weights that turn a set with c = 0 into one with the given confound, in expectation.

    Args:
        labels: (N,) 0 genuine, 1 fake.
        in_fake_group: (N,) true for people of group F.
        confound: c.

    Returns:
        (N,) (1 + c) / 2 where label and group agree, else (1 - c) / 2.

    Raises:
        InputError: ``confound`` is out of range.
    """
    check_confound(confound)
    agrees = (np.asarray(labels) == 1) == np.asarray(in_fake_group)
    return np.where(agrees, (1 + confound) / 2, (1 - confound) / 2)
