# SPDX-License-Identifier: Apache-2.0
"""Videos that an official set has against those that an index lists."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from iid_mm.preparation.checking.facts import ANY_SPLIT, ExpectedVideos, facts_of
from iid_mm.preparation.checking.findings import FindingList
from iid_mm.preparation.checking.loading import Video

SPLIT_ORDER = ('train', 'val', 'train+val', 'test', ANY_SPLIT)


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

    def to_dict(self) -> dict[str, Any]:
        """The row as plain data."""
        return asdict(self)


def count_videos(
    videos: Iterable[Video], settings: Mapping[str, Sequence[Mapping[str, Any]]] | None = None
) -> list[CountRow]:
    """Count videos by dataset, compression, method and split, and put the official numbers beside.

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
    for (dataset, compression), members in sorted(sets.items()):
        own = (settings or {}).get(dataset, ())
        rows.extend(_count_set(dataset, compression, list(members.values()), own))
    return rows


def _count_set(
    dataset: str, compression: str, videos: list[Video], settings: Sequence[Mapping[str, Any]]
) -> list[CountRow]:
    facts = facts_of(dataset)
    rows: list[CountRow] = []
    counted: set[tuple[int, str]] = set()
    for expected in _usable(facts.expected if facts else (), videos):
        mine = [v for v in videos if v.label == expected.label and _is_method(v.method, expected.method)]
        if not mine and expected.optional:
            continue
        counted.update((video.label, video.method) for video in mine)
        name = _spelling(mine, expected.method)
        required = expected.method is None or _asked_for(expected, settings)
        rows.extend(_compare(mine, expected, name, (dataset, compression), required, _moved(settings)))
    rest = [video for video in videos if (video.label, video.method) not in counted]
    for label, method in sorted({(video.label, video.method) for video in rest}):
        mine = [video for video in rest if (video.label, video.method) == (label, method)]
        rows.extend(_plain_rows(mine, (dataset, compression, label, method), {v.split for v in mine}))
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


def _spelling(videos: list[Video], expected: str | None) -> str:
    names = {video.method for video in videos}
    if expected is None:
        return names.pop() if len(names) == 1 else 'all'
    return names.pop() if len(names) == 1 else expected


def _asked_for(expected: ExpectedVideos, settings: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a method was to be prepared; genuine videos always are."""
    if expected.label == 0 or not settings:
        return True
    chosen = [run.get('methods') for run in settings]
    if any(methods is None for methods in chosen):
        return True
    return expected.method in {method for methods in chosen if methods for method in methods}


def _moved(settings: Sequence[Mapping[str, Any]]) -> bool:
    return any(run.get('val_fraction') for run in settings)


def _compare(
    videos: list[Video],
    expected: ExpectedVideos,
    method: str,
    head: tuple[str, str],
    required: bool,
    moved: bool,
) -> list[CountRow]:
    """Rows of one expectation; val counts with train where the set has no val or it was cut from train."""
    wanted = dict(expected.videos)
    if ANY_SPLIT in wanted:
        groups = {ANY_SPLIT: {'train', 'val', 'test'}}
    else:
        has_val = any(video.split == 'val' for video in videos)
        groups = {split: {split} for split in wanted}
        if (has_val and 'val' not in wanted) or moved:
            wanted['train+val'] = wanted.pop('train', 0) + wanted.pop('val', 0)
            groups = {split: set(split.split('+')) for split in wanted}
    rows = []
    for split, parts in groups.items():
        mine = [video for video in videos if video.split in parts]
        frames = sum(video.frames for video in mine)
        label = expected.label
        rows.append(CountRow(*head, label, method, split, len(mine), frames, wanted[split], required))
    seen = {split for parts in groups.values() for split in parts}
    other = {video.split for video in videos} - seen
    return rows + _plain_rows(videos, (*head, expected.label, method), other)


def _plain_rows(videos: list[Video], head: tuple[str, str, int, str], splits: set[str]) -> list[CountRow]:
    rows = []
    for split in splits:
        mine = [video for video in videos if video.split == split]
        rows.append(CountRow(*head, split, len(mine), sum(video.frames for video in mine)))
    return rows


def check_counts(rows: Sequence[CountRow], findings: FindingList) -> None:
    """Report what official sets have and the index has not, and the other way round.

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
