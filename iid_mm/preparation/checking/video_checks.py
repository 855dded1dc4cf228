# SPDX-License-Identifier: Apache-2.0
"""Checks of the videos of all indexes: against those of official sets, and what splits have in common."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from typing import Any, TypeAlias

from iid_mm.datasets.index import SPLITS
from iid_mm.preparation.checking.facts import (
    ANY_SPLIT,
    FACTS,
    SHARED_TARGETS,
    ExpectedVideos,
    facts_name,
    facts_of,
)
from iid_mm.preparation.checking.findings import FindingList
from iid_mm.preparation.checking.prepared_set import PreparedSet, Video

SPLIT_ORDER = ('train', 'val', 'train+val', 'test', ANY_SPLIT)
Settings: TypeAlias = Sequence[Mapping[str, Any]]
ALL = 'all indexes'
REMEDIES = {
    'error': 'use the official split files; results with people seen in training are too good',
    'by design': 'say so when in-dataset results are reported; cross-dataset results are not concerned',
    'unknown': 'split by identity if in-dataset results are reported: a detector can learn who is in it',
}


@dataclass(frozen=True)
class CountRow:
    """Videos of one kind.

    Attributes:
        dataset: Name in the index.
        compression: Compression level.
        label: 0 = genuine, 1 = fake.
        method: Method; ``all`` where the label is counted as a whole.
        split: Split, ``train+val`` or ``any``.
        found: Videos in the index.
        frames: Their frames.
        expected: Videos of the official set; None if unknown.
        required: Whether fewer videos than expected are a shortfall.
    """

    dataset: str
    compression: str
    label: int
    method: str
    split: str
    found: int
    frames: int
    expected: int | None = None
    required: bool = False

    @property
    def text(self) -> str:
        """The number found, against the one expected where that is known."""
        return f'{self.found}' if self.expected is None else f'{self.found} of {self.expected}'

    @property
    def short(self) -> bool:
        """Whether videos are missing."""
        return self.required and self.expected is not None and self.found < self.expected


def count_videos(videos: Iterable[Video], settings: Mapping[str, Settings] | None = None) -> list[CountRow]:
    """Count videos by dataset, compression, method and split, beside the official numbers.

    Args:
        videos: The videos, of one or more indexes; a key that occurs more than once counts once.
        settings: Settings of the preparations of each dataset: methods that were not asked for are
            not missing, and ``val_fraction`` has moved videos from train to val.

    Returns:
        Rows in the order of dataset, compression, label, method and split.
    """
    sets: dict[tuple[str, str], dict[str, Video]] = {}
    for video in videos:
        sets.setdefault((video.dataset, video.compression), {}).setdefault(video.key, video)
    rows: list[CountRow] = []
    for head, members in sorted(sets.items()):
        rows.extend(_count_set(head, list(members.values()), (settings or {}).get(head[0], ())))
    return rows


def _count_set(head: tuple[str, str], videos: list[Video], settings: Settings) -> list[CountRow]:
    facts = facts_of(head[0])
    rows: list[CountRow] = []
    counted: set[tuple[int, str]] = set()
    for expected in _usable(facts.expected, videos):
        mine = [v for v in videos if v.label == expected.label and _is_method(v.method, expected.method)]
        if not mine and expected.optional:
            continue
        counted.update((video.label, video.method) for video in mine)
        rows.extend(_compare(mine, expected, head, settings))
    for label, method in sorted({(video.label, video.method) for video in videos} - counted):
        mine = [video for video in videos if (video.label, video.method) == (label, method)]
        rows.extend(_split_rows((*head, label, method), mine, {}))
    rows.sort(key=lambda row: (row.label, row.method != 'all', row.method, SPLIT_ORDER.index(row.split)))
    return rows


def _usable(expected: Sequence[ExpectedVideos], videos: list[Video]) -> list[ExpectedVideos]:
    """Expectations by method where the index has such methods, else one for the whole label."""
    chosen: list[ExpectedVideos] = []
    for label in (0, 1):
        own = [item for item in expected if item.label == label]
        methods = {video.method for video in videos if video.label == label}
        known = [item for item in own if any(_is_method(method, item.method) for method in methods)]
        must = [item for item in own if not item.optional]
        # Sets processed by others name methods in their own ways. The sum is meant only if it is one of
        # the whole label: nobody knows which of four manipulations an unknown name stands for.
        if methods and not known and must and (label == 0 or len(own) == 1):
            total: Counter[str] = Counter()
            for item in must:
                total.update(item.videos)
            chosen.append(ExpectedVideos(label, None, dict(total)))
        elif not methods or known:
            chosen.extend(own)
    return chosen


def _is_method(method: str, expected: str | None) -> bool:
    return expected is None or method.casefold() == expected.casefold()


def _asked_for(expected: ExpectedVideos, settings: Settings) -> bool:
    """Whether a method was to be prepared; genuine videos always are."""
    if expected.method is None or expected.label == 0 or not settings:
        return True
    chosen = [run.get('methods') for run in settings]
    return None in chosen or any(expected.method in methods for methods in chosen if methods)


def _compare(
    videos: list[Video], expected: ExpectedVideos, head: tuple[str, str], settings: Settings
) -> list[CountRow]:
    """Rows of one expectation; val counts with train where the set has no val or it was cut from train."""
    names = {video.method for video in videos}
    method = names.pop() if len(names) == 1 else expected.method or 'all'
    wanted = dict(expected.videos)
    has_val = any(video.split == 'val' for video in videos)
    moved = any(run.get('val_fraction') for run in settings)
    if ANY_SPLIT not in wanted and ((has_val and 'val' not in wanted) or moved):
        wanted['train+val'] = wanted.pop('train', 0) + wanted.pop('val', 0)
    return _split_rows((*head, expected.label, method), videos, wanted, _asked_for(expected, settings))


def _split_rows(
    head: tuple[str, str, int, str], videos: list[Video], wanted: Mapping[str, int], required: bool = False
) -> list[CountRow]:
    """Rows of the splits with an expected number, then of the other splits that have videos."""
    rows: list[CountRow] = []
    rest = dict.fromkeys(video.split for video in videos)
    for split, number in wanted.items():
        parts = SPLITS if split == ANY_SPLIT else split.split('+')
        rows.append(CountRow(*head, split, *_count(videos, parts), number, required))
        rest = {other: None for other in rest if other not in parts}
    return rows + [CountRow(*head, split, *_count(videos, (split,))) for split in rest]


def _count(videos: list[Video], splits: Sequence[str]) -> tuple[int, int]:
    """Number of the videos in some splits, and of their frames."""
    mine = [video for video in videos if video.split in splits]
    return len(mine), sum(video.frames for video in mine)


def check_counts(rows: Sequence[CountRow], findings: FindingList) -> None:
    """Report what official sets have and the index does not, and the other way round.

    Args:
        rows: From :func:`count_videos`.
        findings: Takes the findings.
    """
    for head, group in groupby(rows, attrgetter('dataset', 'compression')):
        mine = list(group)
        short = [row for row in mine if row.short]
        over = [row for row in mine if row.expected is not None and row.found > row.expected]
        for check, wrong in (('fewer-videos-than-official', short), ('more-videos-than-official', over)):
            examples = [f'{row.method} {row.split}: {row.text}' for row in wrong]
            count = sum(abs(row.found - (row.expected or 0)) for row in wrong)
            findings.add(check, '/'.join(head), examples, count=count)


# Splits


def check_splits(sets: Sequence[PreparedSet], findings: FindingList) -> None:
    """Check all indexes together.

    Args:
        sets: The sets.
        findings: Takes the findings.
    """
    _check_keys(sets, findings)
    videos = [video for prepared in sets for video in prepared.videos]
    _check_compressions(videos, findings)
    for dataset in sorted({video.dataset for video in videos}):
        _check_identities(dataset, [video for video in videos if video.dataset == dataset], findings)
    _check_shared_targets(videos, findings)


def shared_identities(videos: Iterable[Video]) -> dict[str, set[str]]:
    """People that appear in more than one split.

    Args:
        videos: Videos of one dataset.

    Returns:
        Identity -> its splits, sorted by identity.
    """
    splits: dict[str, set[str]] = {}
    for video in videos:
        for identity in video.identities:
            splits.setdefault(identity, set()).add(video.split)
    return {name: found for name, found in sorted(splits.items()) if len(found) > 1}


def _in_order(splits: Iterable[str]) -> str:
    return ' and '.join(sorted(splits, key=SPLITS.index))


def _check_keys(sets: Sequence[PreparedSet], findings: FindingList) -> None:
    places: dict[str, list[tuple[str, str]]] = {}
    for prepared in sets:
        for video in prepared.videos:
            places.setdefault(video.key, []).append((prepared.name, video.split))
    apart, same = [], []
    for key, found in sorted(places.items()):
        splits = {split for _, split in found}
        if len(splits) > 1:
            apart.append(f'{key}: {_in_order(splits)}')
        elif len(found) > 1:
            same.append(f'{key}: {", ".join(name for name, _ in found)}')
    findings.add('video-in-two-splits', ALL, apart)
    findings.add('video-in-two-indexes', ALL, same)


def _check_compressions(videos: Iterable[Video], findings: FindingList) -> None:
    levels: dict[str, dict[str, set[str]]] = {}
    for video in videos:
        name = f'{video.dataset}/{video.method}/{video.name}'
        levels.setdefault(name, {}).setdefault(video.compression, set()).add(video.split)
    bad = []
    for name, found in sorted(levels.items()):
        # One key in two splits of two indexes has a check of its own.
        clear = {level: next(iter(splits)) for level, splits in sorted(found.items()) if len(splits) == 1}
        if len(set(clear.values())) > 1:
            bad.append(f'{name}: ' + ', '.join(f'{level} in {split}' for level, split in clear.items()))
    findings.add('compressions-in-two-splits', ALL, bad)


def _check_identities(dataset: str, videos: Sequence[Video], findings: FindingList) -> None:
    shared = shared_identities(videos)
    facts = facts_of(dataset)
    pairs = Counter(_in_order(splits) for splits in shared.values())
    by_design = '; known and by design of the official split' if facts.shared == 'by design' else ''
    findings.add(
        'identity-in-two-splits',
        dataset,
        [f'{name}: {_in_order(splits)}' for name, splits in shared.items()],
        severity='error' if facts.shared == 'error' else 'warning',
        parts=', '.join(f'{count} in {name}' for name, count in sorted(pairs.items())),
        why=by_design + (f': {facts.explanation}' if facts.explanation else ''),
        remedy=REMEDIES[facts.shared],
    )


def _check_shared_targets(videos: Sequence[Video], findings: FindingList) -> None:
    """Sets made from the videos of another set: its training videos are their test videos."""

    def targets(name: str, split: str) -> set[str]:
        mine = (video for video in videos if facts_name(video.dataset) == name and video.split == split)
        return {video.target_id for video in mine if video.target_id is not None}

    for derived, original in SHARED_TARGETS:
        shared = sorted(targets(derived, 'test') & targets(original, 'train'))
        title, other = FACTS[derived].title, FACTS[original].title
        findings.add('targets-of-other-set', derived, shared, title=title, other=other)
