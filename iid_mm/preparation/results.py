# SPDX-License-Identifier: Apache-2.0
"""What comes out of the preparation of a group."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from iid_mm.preparation.records import VideoGroup
from iid_mm.utils.files import printable


@dataclass
class VideoReport:
    """How a video went.

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
    """What came out of a group.

    Attributes:
        name: Name of the group.
        rows: Rows of the index.
        videos: One report a video.
        seconds: Time spent in each stage.
        cpu_seconds: Processor time.
        analyzed: Frames that were looked at.
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
    """Result of a group that nothing is known of.

    Args:
        group: The videos.
        reason: Why.
        frames: Frames a video that were wanted.
    """
    videos = [
        VideoReport(r.key, r.method, r.split, r.label, asked=frames, problems=[reason]) for r in group.records
    ]
    return GroupResult(group.name, videos=videos, finished=False)
