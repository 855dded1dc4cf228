# SPDX-License-Identifier: Apache-2.0
"""Videos in an index against those of the official set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from iid_mm.preparation.checking.facts import ANY_SPLIT, ExpectedVideos, facts_of
from iid_mm.preparation.checking.findings import FindingList
from iid_mm.preparation.checking.prepared_set import Video

SPLIT_ORDER = ('train', 'val', 'train+val', 'test', ANY_SPLIT)
Settings = Sequence[Mapping[str, Any]]


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
    for expected in _usable(facts.expected if facts else (), videos):
        mine = [v for v in videos if v.label == expected.label and _is_method(v.method, expected.method)]
        if not mine and expected.optional:
            continue
        counted.update((video.label, video.method) for video in mine)
        rows.extend(_compare(mine, expected, head, settings))
    for label, method in sorted({(video.label, video.method) for video in videos} - counted):
        mine = [video for video in videos if (video.label, video.method) == (label, method)]
        rows.extend(_rows(mine, (*head, label, method), [video.split for video in mine]))
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
    groups = {
        ('train', 'val', 'test') if split == ANY_SPLIT else tuple(split.split('+')): (split, number)
        for split, number in wanted.items()
    }
    required = _asked_for(expected, settings)
    full = (*head, expected.label, method)
    rows = [
        CountRow(*full, split, *_count(videos, parts), number, required)
        for parts, (split, number) in groups.items()
    ]
    seen = {split for parts in groups for split in parts}
    return rows + _rows(videos, full, [video.split for video in videos if video.split not in seen])


def _rows(videos: list[Video], head: tuple[str, str, int, str], splits: Iterable[str]) -> list[CountRow]:
    return [CountRow(*head, split, *_count(videos, (split,))) for split in dict.fromkeys(splits)]


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
    for dataset, compression in dict.fromkeys((row.dataset, row.compression) for row in rows):
        mine = [row for row in rows if (row.dataset, row.compression) == (dataset, compression)]
        where = f'{dataset}/{compression}'
        short = [row for row in mine if row.short]
        missing = sum((row.expected or 0) - row.found for row in short)
        findings.add(
            'note',
            'fewer-videos-than-official',
            where,
            f'{missing} videos of the official set are not in the index',
            count=missing,
            examples=[f'{row.method} {row.split}: {row.text}' for row in short],
            remedy='nothing, if a part of the set is meant; else see left_out and missing in report.json',
        )
        over = [row for row in mine if row.expected is not None and row.found > row.expected]
        findings.add(
            'warning',
            'more-videos-than-official',
            where,
            'the index has more videos than the official set: results are not comparable',
            count=sum(row.found - (row.expected or 0) for row in over),
            examples=[f'{row.method} {row.split}: {row.text}' for row in over],
            remedy='look for copies, other releases, or another split than the official one',
        )
