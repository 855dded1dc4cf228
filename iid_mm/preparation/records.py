# SPDX-License-Identifier: Apache-2.0
"""What a layout says about the videos of a data set."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

GENUINE, FAKE = 0, 1
VIDEO_SUFFIXES = ('.mp4', '.avi', '.mkv', '.mov', '.webm')


@dataclass(frozen=True)
class VideoRecord:
    """One video of a data set.

    Attributes:
        path: The video file.
        dataset: Name of the data set in the index.
        method: Manipulation of a fake; source folder of a genuine video.
        compression: ``raw``, ``c23``, ``c40``, or ``native``.
        video: Name of the video without suffix.
        key: ``dataset/method/compression/video``, unique over all sets.
        label: 0 = genuine, 1 = fake.
        split: ``train``, ``val`` or ``test``.
        target_id: Whose head and scene are shown; None if unknown.
        source_id: Whose face was put in; None for a genuine or unknown one.
        pair: Key of the genuine video that a fake was made from, frame by frame; None if unknown.
        mask: Video of the manipulated region, frame by frame; None if there is none.
    """

    path: Path
    dataset: str
    method: str
    compression: str
    video: str
    key: str
    label: int
    split: str
    target_id: str | None = None
    source_id: str | None = None
    pair: str | None = None
    mask: Path | None = None


@dataclass(frozen=True)
class LayoutOptions:
    """What a layout reads; a layout refuses the values that it does not know.

    Attributes:
        compression: Compression level of the videos.
        methods: Manipulations to read; None reads all that are there.
        splits_dir: Folder of the split files; None looks in the usual places.
        masks: Whether to look for mask videos.
    """

    compression: str = 'c23'
    methods: tuple[str, ...] | None = None
    splits_dir: Path | None = None
    masks: bool = False


@dataclass
class LayoutScan:
    """What a layout found.

    Attributes:
        records: The videos to prepare, sorted by key.
        left_out: Videos that are on disk but are not prepared: path relative to the root -> reason.
    """

    records: list[VideoRecord] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)


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
