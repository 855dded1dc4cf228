# SPDX-License-Identifier: Apache-2.0
"""What a layout says about the videos of a dataset."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

GENUINE, FAKE = 0, 1
# What every command reads; the one list of the package.
VIDEO_SUFFIXES = (
    *('.mp4', '.avi', '.mkv', '.mov', '.webm', '.m4v', '.mpg', '.mpeg', '.m2v', '.vob'),
    *('.flv', '.f4v', '.wmv', '.asf', '.3gp', '.3g2', '.ts', '.mts', '.m2ts', '.ogv', '.gif'),
)
IMAGE_SUFFIXES = (
    *('.png', '.apng', '.jpg', '.jpeg', '.jpe', '.jfif', '.webp', '.bmp', '.tif', '.tiff'),
    *('.avif', '.avifs'),
)
ARCHIVE_SUFFIXES = ('.tar', '.tar.gz', '.tgz')
# What operating systems and storage devices leave beside media; thumbnails there carry suffixes of images.
SYSTEM_FOLDERS = frozenset(
    name.lower()
    for name in (
        *('@eaDir', '#recycle', '#snapshot', '@Recycle', '__MACOSX', 'lost+found'),
        *('.Spotlight-V100', 'System Volume Information', '$RECYCLE.BIN'),
    )
)


def is_system_file(name: str) -> bool:
    """Whether a file or folder, given by its name alone, is passed over as hidden or of the system."""
    return name.startswith('.') or name.lower() in SYSTEM_FOLDERS


# Control characters, marks that turn the direction of writing, and bytes that are no UTF-8.
_UNSAFE = re.compile('[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]')


def safe_text(text: str) -> str:
    """A text that files of UTF-8 and terminals take: what they do not is written as ``%`` and two digits.

    Args:
        text: For instance a name of a file, with surrogates where its bytes are no UTF-8.

    Returns:
        The text, unchanged if nothing is wrong with it.
    """
    if text.isascii() and text.isprintable():
        return text
    try:
        data = os.fsencode(text)
    except UnicodeEncodeError:
        data = text.encode('utf-8', 'surrogatepass')
    text = data.decode('utf-8', 'surrogateescape')
    return _UNSAFE.sub(lambda m: ''.join(f'%{b:02X}' for b in m[0].encode('utf-8', 'surrogateescape')), text)


@dataclass(frozen=True)
class VideoFile:
    """Frames in a video file; frame numbers count from 0 in the order in which they are shown.

    Attributes:
        path: The file.
    """

    path: Path


@dataclass(frozen=True)
class ImageFiles:
    """Frames that are kept as images in a folder.

    Attributes:
        folder: The folder.
        names: Paths of the images relative to ``folder``, with ``/``, in order of time.
        numbers: Frame number of each image, strictly ascending.
    """

    folder: Path
    names: tuple[str, ...]
    numbers: tuple[int, ...]


@dataclass(frozen=True)
class ArchiveImages:
    """Frames that are kept as images in a tar archive.

    Attributes:
        path: The archive, plain or compressed.
        names: Names of the members, in order of time.
        numbers: Frame number of each image, strictly ascending.
    """

    path: Path
    names: tuple[str, ...]
    numbers: tuple[int, ...]


FrameSource: TypeAlias = VideoFile | ImageFiles | ArchiveImages
"""Where the frames of a video are."""


@dataclass(frozen=True)
class LandmarkTable:
    """Landmarks of a whole video in one ``.npy`` file: floats (T, K, 2), NaN where there is no face.

    Attributes:
        path: The file; T counts the frames of a video file, or the images of a sequence in their order.
    """

    path: Path


@dataclass(frozen=True)
class LandmarkFiles:
    """Landmarks in one ``.npy`` file a frame: (K, 2), or (faces, K, 2) with the main face first.

    Attributes:
        folder: The folder of the files.
        names: Paths relative to ``folder`` with ``/``, as many as the video has frames; an empty name
            stands for a frame without landmarks.
    """

    folder: Path
    names: tuple[str, ...]


@dataclass(frozen=True)
class LandmarkValues:
    """Landmarks that a list file of the dataset holds.

    Attributes:
        points: For each frame of the video its K points x0, y0, x1, y1, ... in pixels of the frame, or
            an empty tuple.
    """

    points: tuple[tuple[float, ...], ...]


LandmarkSource: TypeAlias = LandmarkTable | LandmarkFiles | LandmarkValues
"""Where landmarks that came with a dataset are."""


@dataclass(frozen=True)
class VideoRecord:
    """One video of a dataset.

    Attributes:
        source: Where its frames are.
        dataset: Name of the dataset in the index.
        method: Manipulation of a fake; source folder of a genuine video.
        compression: ``raw``, ``c23``, ``c40``, or ``native``.
        video: Name of the video without suffix.
        key: ``dataset/method/compression/video``, unique over all sets.
        label: 0 = genuine, 1 = fake.
        split: ``train``, ``val`` or ``test``.
        target_id: Whose head and scene are shown; None if unknown.
        source_id: Whose face was put in; None for a genuine or unknown one.
        pair: Key of the genuine video that a fake was made from, frame by frame; None if unknown. A key
            that no record has stands for a genuine video that is known but not there.
        mask: Manipulated region, frame by frame, under the same frame numbers; None if there is none.
        landmarks: Landmarks that came with the dataset, for the analyzer ``precomputed``.
        cropped: The frames are face crops already and are kept whole.
    """

    source: FrameSource
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
    mask: FrameSource | None = None
    landmarks: LandmarkSource | None = None
    cropped: bool = False


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
