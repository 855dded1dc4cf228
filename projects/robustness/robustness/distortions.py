# SPDX-License-Identifier: Apache-2.0
"""Choice of distortions and levels."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from iid_mm.datasets.functional.distortion import CLEAN, DISTORTIONS, LEVELS, find_distortion
from iid_mm.errors import InputError


def choose(kinds: Sequence[str] | None, levels: Iterable[int]) -> tuple[list[str], list[int]]:
    """Check a choice and bring it into the order of the table.

    Args:
        kinds: Names; None takes all.
        levels: Levels of each; 0 may be there, the clean set is tested in any case.

    Returns:
        Names in the order of :data:`DISTORTIONS` and levels from 1, ascending, both without repeats.

    Raises:
        InputError: If a name is unknown, a level is out of range, or nothing is chosen.
    """
    names = list(DISTORTIONS) if kinds is None else list(kinds)
    for name in names:
        find_distortion(name)
    wanted = set(levels) - {CLEAN}
    if bad := sorted(wanted - set(LEVELS)):
        raise InputError(f'level {bad[0]} is out of range; levels are 1 to {LEVELS[-1]}')
    if not names or not wanted:
        raise InputError('nothing to test: name at least one distortion and one level from 1 to 5')
    return [name for name in DISTORTIONS if name in names], sorted(wanted)
