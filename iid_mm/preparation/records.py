# SPDX-License-Identifier: Apache-2.0
"""What a layout reads and what it finds."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from iid_mm.structures.video_record import GENUINE, VideoRecord


@dataclass(frozen=True)
class LayoutOptions:
    """What a layout reads; a layout refuses the values that it does not know.

    Attributes:
        compression: Compression level of the videos; None takes the layout's default.
        methods: Manipulations to read; None reads all that are there.
        splits_dir: Folder of the split files, or one list file, where they are not in the usual places.
        masks: Whether to look for masks.
        split: Split of the videos of a set that has no official one; None takes the layout's default.
        stills: Every image is a picture of its own, not a frame of its folder's video.
        cache_dir: Folder where listings of archives may be kept from one run to the next; None keeps
            none.
    """

    compression: str | None = None
    methods: tuple[str, ...] | None = None
    splits_dir: Path | None = None
    masks: bool = True
    split: str | None = None
    stills: bool = False
    cache_dir: Path | None = None


@dataclass
class LayoutScan:
    """What a layout found.

    Attributes:
        records: The videos to prepare, sorted by key.
        left_out: Videos that are on disk but are not prepared: path relative to the root -> reason.
        missing: Videos that a list file of the dataset names but that are not on disk.
    """

    records: list[VideoRecord] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)


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
