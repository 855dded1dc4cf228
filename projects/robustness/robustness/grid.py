# SPDX-License-Identifier: Apache-2.0
"""The grid of distortions and levels as evaluation sets."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from iid_mm.datasets.functional.distortion import CLEAN, DISTORTIONS, LEVELS, find_distortion
from iid_mm.datasets.transforms.distort_face import VIDEO
from iid_mm.errors import InputError
from iid_mm.evaluation.eval_sets import EvalSet
from iid_mm.utils.config import insert_step, type_name


@dataclass(frozen=True)
class Cell:
    """One distortion at one level.

    Attributes:
        kind: Name of the distortion, '' for the clean set.
        level: 1 to 5, 0 for the clean set.
    """

    kind: str = ''
    level: int = CLEAN

    @property
    def name(self) -> str:
        """Name of its evaluation set."""
        return f'{self.kind}_{self.level}' if self.level else 'clean'


def make_cells(kinds: Sequence[str] | None, levels: Iterable[int]) -> list[Cell]:
    """Check a choice of distortions and levels.

    Args:
        kinds: Names of distortions; None: all.
        levels: Levels of each; the clean set is always tested, whether or not 0 is among them.

    Returns:
        The clean set, then the distortions in the order of
        :data:`~iid_mm.datasets.functional.distortion.DISTORTIONS`, each at ascending levels.

    Raises:
        InputError: A name is unknown, a level is out of range, or nothing is chosen.
    """
    names = list(DISTORTIONS) if kinds is None else list(kinds)
    for name in names:
        find_distortion(name)
    wanted = sorted(set(levels) - {CLEAN})
    if bad := [level for level in wanted if level not in LEVELS]:
        raise InputError(f'level {bad[0]} is out of range; levels are 1 to {LEVELS[-1]}')
    if not names or not wanted:
        raise InputError('nothing to test: name at least one distortion and one level from 1 to 5')
    return [Cell(), *(Cell(kind, level) for kind in DISTORTIONS if kind in names for level in wanted)]


def distorted_set(test_set: EvalSet, cell: Cell, originals: dict[str, Any] | None = None) -> EvalSet:
    """Insert a distortion into the pipeline of a test set.

    Args:
        test_set: The clean set.
        cell: The distortion.
        originals: Where the original videos are, see :class:`~robustness.VideoForgeryDataset`; None: compress
            the crops.

    Returns:
        A new set.

    Raises:
        InputError: The pipeline does not load images with LoadForgeryPair, or the dataset cannot give whole
            videos.
    """
    loader = copy.deepcopy(test_set.dataloader)
    if cell.level == CLEAN:
        return EvalSet(cell.name, loader)
    dataset = loader['dataset']
    transform = 'DistortOriginal' if originals is not None and cell.kind == VIDEO else 'DistortFace'
    step = dict(type=transform, kind=cell.kind, level=cell.level)
    dataset['pipeline'] = insert_step(dataset['pipeline'], step, after='LoadForgeryPair')
    if cell.kind == VIDEO:
        if type_name(dataset) != 'ForgeryDataset':
            raise InputError(f'{VIDEO} needs the dataset ForgeryDataset, the config has {dataset["type"]}')
        dataset['type'] = 'VideoForgeryDataset'
        dataset['originals'] = originals
        # The batch sampler takes only the dataset from it.
        loader['sampler'] = dict(type='DefaultSampler', shuffle=False)
        loader['batch_sampler'] = dict(type='VideoBatchSampler')
    return EvalSet(cell.name, loader)
