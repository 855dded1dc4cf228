# SPDX-License-Identifier: Apache-2.0
"""Videos that are prepared together, and the result of preparing them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from iid_mm.structures.video_record import GENUINE, VideoRecord
from iid_mm.utils.files import printable


@dataclass(frozen=True)
class VideoGroup:
    """A genuine video with all fakes made from it: what is decoded and cropped together.

    Attributes:
        name: Key of the genuine video, whether it is there or not; of the video itself if it has no
            counterpart.
        genuine: The genuine video; None if it is not on disk.
        fakes: Its fakes, sorted by key.
    """

    name: str
    genuine: VideoRecord | None
    fakes: tuple[VideoRecord, ...] = ()

    @property
    def records(self) -> list[VideoRecord]:
        """All videos of the group, the genuine one first."""
        return [*([self.genuine] if self.genuine else []), *self.fakes]


def group_records(records: list[VideoRecord]) -> list[VideoGroup]:
    """Put each genuine video together with its fakes.

    Args:
        records: Videos with unique keys.

    Returns:
        Groups sorted by name; every record is in exactly one of them.
    """
    genuine = {record.key: record for record in records if record.label == GENUINE}
    fakes: dict[str, list[VideoRecord]] = {}
    for record in records:
        if record.label != GENUINE:
            fakes.setdefault(record.pair or record.key, []).append(record)
    return [
        VideoGroup(
            name,
            genuine.get(name),
            tuple(sorted(fakes.get(name, []), key=lambda record: record.key)),
        )
        for name in sorted({*genuine, *fakes})
    ]


def move_to_val(records: Sequence[VideoRecord], fraction: float) -> list[VideoRecord]:
    """Move part of the training videos to ``val``.

    Whole people move: all videos with one target identity, or where it is unknown a genuine video with
    its fakes. Who moves follows from the names alone, so it is the same on every machine.

    Args:
        records: All videos.
        fraction: Expected part of the training people that moves, in [0, 1).

    Returns:
        The records in the same order.
    """

    def moves(record: VideoRecord) -> bool:
        person = record.target_id or record.pair or record.key
        digest = hashlib.sha256(f'{record.dataset}/{person}'.encode()).digest()
        return int.from_bytes(digest[:8], 'big') / 2**64 < fraction

    return [
        replace(record, split='val') if record.split == 'train' and moves(record) else record
        for record in records
    ]


@dataclass
class VideoReport:
    """Outcome of preparing one video.

    Attributes:
        key: Video key.
        method: Its method.
        split: Its split.
        label: 0 = genuine, 1 = fake.
        total: Frames in the video.
        asked: Frames that were wanted as samples; of an unreadable video all that could have been.
        found: Frames that became samples.
        paired: Samples with a genuine counterpart.
        masks: Samples with a mask.
        given_up: Frames that were decoded but do not show the person's face, not even after all retries.
        problems: What went wrong, in words.
    """

    key: str
    method: str
    split: str
    label: int
    total: int = 0
    asked: int = 0
    found: int = 0
    paired: int = 0
    masks: int = 0
    given_up: list[int] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


@dataclass
class GroupResult:
    """Outcome of preparing a group.

    Attributes:
        name: Name of the group.
        rows: Rows of the index.
        videos: One report a video.
        seconds: Time spent in each stage.
        cpu_seconds: Processor time.
        analyzed: Number of analyzed frames.
        finished: False if it was given up and should be tried again by the next run.
    """

    name: str
    rows: list[dict[str, Any]] = field(default_factory=list)
    videos: list[VideoReport] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    cpu_seconds: float = 0.0
    analyzed: int = 0
    finished: bool = True

    def report(self) -> dict[str, Any]:
        """All but the rows, as plain data."""
        return {
            'name': self.name,
            # Problems quote names of files.
            'videos': [
                {**asdict(video), 'problems': [printable(problem) for problem in video.problems]}
                for video in self.videos
            ],
            'seconds': {stage: round(value, 4) for stage, value in sorted(self.seconds.items())},
            'cpu_seconds': round(self.cpu_seconds, 4),
            'analyzed': self.analyzed,
        }


def failed_result(group: VideoGroup, reason: str, frames: int) -> GroupResult:
    """Result of a group that could not be prepared.

    Args:
        group: The videos.
        reason: Why.
        frames: Frames a video that were wanted.
    """
    videos = [
        VideoReport(r.key, r.method, r.split, r.label, asked=frames, problems=[reason]) for r in group.records
    ]
    return GroupResult(group.name, videos=videos, finished=False)
