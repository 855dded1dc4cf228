# SPDX-License-Identifier: Apache-2.0
"""A video of a dataset: the places of its frames, masks and landmarks, and its annotation."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

GENUINE, FAKE = 0, 1


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
