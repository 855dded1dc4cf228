# SPDX-License-Identifier: Apache-2.0
"""Sampler that gives classes, manipulations and videos equal shares."""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from iid_mm.datasets.resumable_sampler import ResumableSampler
from iid_mm.errors import InputError
from iid_mm.registry import DATA_SAMPLERS

KEYS = {
    'label': 'gt_label',
    'dataset': 'dataset',
    'method': 'method',
    'video': 'video_key',
    'target': 'target_id',
}
"""What samples can be grouped by, and the key of a sample that holds it."""

Indices = npt.NDArray[np.int64]


class RepeatedIndex(int):
    """An index that occurs again in an epoch; ``repeat`` is 1 for the second time.

    :class:`~iid_mm.datasets.forgery_dataset.ForgeryDataset` draws another augmentation for each repeat.
    """

    repeat: int

    def __new__(cls, index: int, repeat: int) -> RepeatedIndex:
        """Make the index."""
        made = super().__new__(cls, index)
        made.repeat = repeat
        return made

    # Wrapping datasets compute with indices: RepeatDataset takes remainders, ConcatDataset differences.
    def __mod__(self, other: int) -> RepeatedIndex:
        """Keep ``repeat``."""
        return RepeatedIndex(int(self) % other, self.repeat)

    def __sub__(self, other: int) -> RepeatedIndex:
        """Keep ``repeat``."""
        return RepeatedIndex(int(self) - other, self.repeat)

    def __reduce__(self) -> tuple[type[RepeatedIndex], tuple[int, int]]:
        """Take ``repeat`` along to data workers."""
        return RepeatedIndex, (int(self), self.repeat)


@DATA_SAMPLERS.register_module()
class BalancedSampler(ResumableSampler):
    """Give every group an equal share of the epoch, level by level.

    With ``by=('label', 'method', 'video')`` half of the samples are genuine, every manipulation has an equal
    share of the fakes, and every video an equal share of its manipulation, however many frames it has.
    Shares that cannot be equal differ by one sample, in every epoch for other groups. Within a group samples
    are drawn without repeats until all were drawn, and samples that repeat within an epoch are augmented
    differently. The order depends on the seed and the epoch only, and a run resumes within an epoch.

    Args:
        dataset: Dataset whose samples have the keys to group by.
        by: The levels, outermost first: ``label``, ``dataset``, ``method``, ``video``, ``target`` (the
            person shown).
        size: Samples of an epoch over all processes; None: the size of the dataset.
        seed: Seed of the order; the same in all processes.
        round_up: Without ``drop_last``: whether to repeat samples so that all processes get equally many.
        drop_last: Whether to leave samples out instead, as in :class:`ResumableSampler`.

    Raises:
        InputError: If a level is unknown or named twice, ``size`` is below 1, the set is empty, or ``label``
            is asked for and there are genuine or fake samples only.
    """

    def __init__(
        self,
        dataset: Any,
        by: Sequence[str] = ('label', 'video'),
        size: int | None = None,
        seed: int | None = None,
        round_up: bool = True,
        drop_last: bool = True,
    ) -> None:
        by = (by,) if isinstance(by, str) else tuple(by)
        if not by or len(set(by)) < len(by) or not set(by) <= set(KEYS):
            raise InputError(f'by={list(by)!r}: name one or more of {", ".join(KEYS)}, each once')
        if size is not None and size < 1:
            raise InputError(f'size={size!r}: must be at least 1, or None')
        if not len(dataset):
            raise InputError('the training set is empty: there is nothing to balance')
        self.by = by
        self.size = len(dataset) if size is None else size
        super().__init__(range(self.size), shuffle=True, seed=seed, round_up=round_up, drop_last=drop_last)
        # Only what millions of samples are grouped by, and each string once.
        infos = [_keys(dataset.get_data_info(number), by) for number in range(len(dataset))]
        if 'label' in by:
            _check_classes(infos, by.index('label'))
        self.groups = _tree(infos, np.arange(len(infos)), len(by))

    def _indices(self) -> list[int]:
        generator = np.random.default_rng([self.seed, self.epoch])
        indices = generator.permutation(np.concatenate(list(_draw(self.groups, self.size, generator))))
        times: dict[int, int] = defaultdict(int)
        order: list[int] = []
        for index in indices.tolist():
            order.append(RepeatedIndex(index, times[index]) if times[index] else index)
            times[index] += 1
        # As in the parent: repeat from the start until all processes get equally many, then deal in turn.
        if self.total_size > len(order):
            order = (order * -(-self.total_size // len(order)))[: self.total_size]
        return order[self.rank : self.total_size : self.world_size]


def _keys(info: dict[str, Any], by: Sequence[str]) -> tuple[str, ...]:
    return tuple(sys.intern(str(info[KEYS[level]])) for level in by)


def _check_classes(infos: Sequence[tuple[str, ...]], level: int) -> None:
    """Check that every group above the level of the labels has both."""
    counts = Counter((info[:level], info[level]) for info in infos)
    for group in sorted({above for above, _ in counts}):
        for label, name in (('0', 'genuine'), ('1', 'fake')):
            if (group, label) not in counts:
                of = f' of {", ".join(group)}' if group else ''
                total = sum(count for (above, _), count in counts.items() if above == group)
                raise InputError(
                    f"by: 'label' asks for equal shares of both classes, and the training set{of} has no "
                    f'{name} sample among its {total}; check split, methods, paired_only and genuine_only of '
                    "the dataset, or leave 'label' out"
                )


def _tree(infos: Sequence[tuple[str, ...]], members: Indices, depth: int, level: int = 0) -> Any:
    """Nest samples by level: a list of groups, each a list or, innermost, the numbers of its samples."""
    if level == depth:
        return members
    groups: dict[str, list[int]] = defaultdict(list)
    for number in members.tolist():
        groups[infos[number][level]].append(number)
    # Sorted, so that the order does not depend on that of the index.
    return [_tree(infos, np.array(groups[key]), depth, level + 1) for key in sorted(groups)]


def _draw(group: Any, count: int, generator: np.random.Generator) -> Iterator[Indices]:
    """Draw ``count`` samples of a group, in equal shares of its groups."""
    if count == 0:
        return
    if isinstance(group, np.ndarray):
        whole, rest = divmod(count, len(group))
        yield np.tile(group, whole)
        yield generator.permutation(group)[:rest]
        return
    shares = np.full(len(group), count // len(group))
    shares[generator.permutation(len(group))[: count % len(group)]] += 1
    for part, share in zip(group, shares.tolist(), strict=True):
        yield from _draw(part, share, generator)
