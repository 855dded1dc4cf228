# SPDX-License-Identifier: Apache-2.0
"""Which manipulations each run of a cross-manipulation protocol is trained on."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from iid_mm.errors import InputError

MAX_SLUG = 80
SEPARATOR = '+'


@dataclass(frozen=True)
class TrainSet:
    """The manipulations of one row of the matrix.

    Attributes:
        methods: Names of the manipulations, as in the index.
        label: Name of the row in tables and plots.
    """

    methods: tuple[str, ...]
    label: str

    @property
    def slug(self) -> str:
        """Name for files and folders; two sets never share one."""
        name = SEPARATOR.join(self.methods)
        safe = re.sub(r'[^A-Za-z0-9_+-]+', '_', name)
        if safe == name and len(name) <= MAX_SLUG:
            return safe
        return f'{safe[:MAX_SLUG]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}'


def leave_one_out(methods: Sequence[str]) -> list[TrainSet]:
    """Train on all manipulations but one, once for each.

    Args:
        methods: All manipulations.

    Returns:
        As many sets as there are manipulations.

    Raises:
        InputError: There are fewer than two.
    """
    if len(methods) < 2:
        raise InputError(
            f'leave-one-out needs at least two manipulations and there is {", ".join(methods) or "none"}; '
            'prepare more of them or name them with --methods'
        )
    return [
        TrainSet(tuple(other for other in methods if other != left_out), f'all but {left_out}')
        for left_out in methods
    ]


def every_subset(methods: Sequence[str], size: int) -> list[TrainSet]:
    """Train on every choice of ``size`` manipulations; size 1 is "train on one, test on all".

    Args:
        methods: All manipulations.
        size: How many of them a run is trained on.

    Returns:
        The sets in the order of ``methods``.

    Raises:
        InputError: ``size`` does not leave at least one manipulation unseen.
    """
    if not 1 <= size < len(methods):
        raise InputError(
            f'training on {size} of {len(methods)} manipulation(s) ({", ".join(methods) or "none"}) leaves '
            'none that is unseen; prepare more of them, name them with --methods or train on fewer'
        )
    return [TrainSet(chosen, SEPARATOR.join(chosen)) for chosen in combinations(methods, size)]


def parse_train_sets(texts: Sequence[str], known: Sequence[str]) -> list[TrainSet]:
    """Read the sets of a command line, such as ``Deepfakes Face2Face+FaceSwap``.

    Args:
        texts: One set each, manipulations joined by ``+``.
        known: The manipulations of the index; one whose name holds a ``+`` is found whole.

    Returns:
        The sets in the order of ``texts``, the manipulations of each in the order of ``known``.

    Raises:
        InputError: A set is empty, names something unknown or twice, or two sets are equal.
    """
    sets: list[TrainSet] = []
    for text in texts:
        names = [text] if text in known else text.split(SEPARATOR)
        check_known(names, known, f'training set {text!r}')
        if len(set(names)) < len(names):
            raise InputError(f'training set {text!r} names a manipulation twice')
        methods = tuple(name for name in known if name in names)
        if any(other.methods == methods for other in sets):
            raise InputError(f'training set {text!r} is given twice; name each set once')
        sets.append(TrainSet(methods, SEPARATOR.join(methods)))
    return sets


def check_known(names: Sequence[str], known: Sequence[str], where: str) -> None:
    """Refuse manipulations that the index does not have.

    Args:
        names: What was asked for.
        known: The manipulations of the index.
        where: What the message calls the place of the names.

    Raises:
        InputError: Some are unknown; the message lists those of the index.
    """
    if unknown := [name for name in names if name not in known]:
        raise InputError(
            f'{where}: no manipulation {", ".join(map(repr, unknown))} in the index; it has '
            f'{", ".join(known) or "none"}'
        )
