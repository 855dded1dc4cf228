# SPDX-License-Identifier: Apache-2.0
"""What layouts have in common."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from iid_mm.errors import InputError
from iid_mm.preparation.records import (
    FAKE,
    GENUINE,
    VIDEO_SUFFIXES,
    FrameSource,
    LandmarkSource,
    LayoutOptions,
    LayoutScan,
    VideoFile,
    VideoRecord,
)

SPLIT_NAMES = ('train', 'val', 'test')


@dataclass(frozen=True)
class Layout:
    """How one public data set lies on disk.

    Attributes:
        name: Name on the command line.
        scan: Lists the videos under a root.
        summary: What the data set is, in one line.
        tree: The folders and files that are looked for, as a drawing in text.
        compressions: Compression levels that the set comes in, the default first.
        analyser: Face analyser that is used if the user names none.
    """

    name: str
    scan: Callable[[Path, LayoutOptions], LayoutScan]
    summary: str
    tree: str
    compressions: tuple[str, ...] = ('native',)
    analyser: str = 'mediapipe'

    def compression(self, options: LayoutOptions) -> str:
        """The compression level that is asked for.

        Raises:
            InputError: If the set does not come in it.
        """
        wanted = options.compression or self.compressions[0]
        if wanted not in self.compressions:
            known = ', '.join(self.compressions)
            raise InputError(f'compression={wanted!r} is unknown to {self.name}; choose from {known}')
        return wanted


def make_key(dataset: str, method: str, compression: str, video: str) -> str:
    """Video key of the index; see :func:`iid_mm.datasets.index.make_video_key`."""
    # Imported here: worker processes load the layouts but do not need the index.
    from iid_mm.datasets.index import make_video_key

    return make_video_key(dataset, method, compression, video)


@dataclass
class Scanner:
    """Collects what a layout finds.

    Attributes:
        root: Folder of the data set.
        dataset: Name of the data set in the index.
        compression: Compression level of all videos.
        options: What to read.
        result: What was found so far.
    """

    root: Path
    dataset: str
    compression: str
    options: LayoutOptions
    result: LayoutScan = field(default_factory=LayoutScan)
    _keys: dict[str, str] = field(default_factory=dict)

    def key(self, method: str, video: str) -> str:
        """Video key of a video of this set."""
        return make_key(self.dataset, method, self.compression, video)

    def name(self, path: Path) -> str:
        """Path relative to the root, with ``/``."""
        try:
            return path.relative_to(self.root).as_posix()
        except ValueError:
            return path.name

    def leave_out(self, path: Path | str, reason: str) -> None:
        """Note that something on disk is not prepared."""
        self.result.left_out[self.name(path) if isinstance(path, Path) else path] = reason

    def add(
        self,
        source: FrameSource | Path,
        video: str,
        *,
        method: str,
        label: int,
        split: str,
        target_id: str | None = None,
        source_id: str | None = None,
        pair: str | None = None,
        mask: FrameSource | None = None,
        landmarks: LandmarkSource | None = None,
        cropped: bool = False,
        name: str | None = None,
    ) -> None:
        """Add a video.

        A second video with the same key is left out, and so is one whose name the index cannot keep.

        Args:
            source: Its frames; a path stands for a video file.
            video: Name of the video in its key.
            method: Manipulation of a fake; source folder of a genuine video.
            label: 0 = genuine, 1 = fake.
            split: ``train``, ``val`` or ``test``.
            target_id: Whose head and scene are shown.
            source_id: Whose face was put in.
            pair: Key of the genuine video that a fake was made from (:meth:`key`).
            mask: Manipulated region.
            landmarks: Landmarks that came with the set.
            cropped: The frames are face crops.
            name: What to call it in the report; None takes the path.
        """
        if isinstance(source, Path):
            source = VideoFile(source)
        if name is None:
            name = self.name(source.path if not hasattr(source, 'folder') else source.folder)
        if reason := bad_name(video) or bad_name(method):
            self.leave_out(name, reason)
            return
        key = self.key(method, video)
        if key in self._keys:
            self.leave_out(name, f'another video has the same key: {self._keys[key]}')
            return
        self._keys[key] = name
        self.result.records.append(
            VideoRecord(
                source=source,
                dataset=self.dataset,
                method=method,
                compression=self.compression,
                video=video,
                key=key,
                label=label,
                split=split,
                target_id=target_id,
                source_id=None if label == GENUINE else source_id,
                pair=pair if label == FAKE else None,
                mask=mask if self.options.masks else None,
                landmarks=landmarks,
                cropped=cropped,
            )
        )

    def keep_methods(self, found: Iterable[str]) -> list[str]:
        """The manipulations to read, sorted.

        Args:
            found: Manipulations that are there.

        Raises:
            FileNotFoundError: If one that was asked for is not there.
        """
        present = sorted(set(found))
        if self.options.methods is None:
            return present
        if unknown := sorted(set(self.options.methods) - set(present)):
            raise FileNotFoundError(
                f'methods: no {self.compression} videos of {", ".join(unknown)} under {str(self.root)!r}; '
                f'manipulations there: {", ".join(present) or "none"}'
            )
        return sorted(set(self.options.methods))

    def finish(self, example: str) -> LayoutScan:
        """The result, sorted.

        Args:
            example: A path that was looked for, for the message when there is nothing.

        Raises:
            FileNotFoundError: If no video was found.
        """
        if not self.result.records:
            reasons = sorted(set(self.result.left_out.values()))
            raise FileNotFoundError(
                f'no usable {self.dataset} video under {str(self.root)!r} '
                f'({len(self.result.left_out)} left out{": " if reasons else ""}{"; ".join(reasons[:3])}); '
                f'expected e.g. {example}'
            )
        self.result.records.sort(key=lambda record: record.key)
        self.result.missing.sort()
        return self.result


def bad_name(name: str) -> str:
    """Why a name cannot be part of a key; empty if it can."""
    parts = name.split('/')
    if '\\' in name or '\0' in name or '' in parts or '..' in parts or '.' in parts:
        return 'the name holds something that the index cannot keep'
    return ''


def list_videos(folder: Path) -> list[Path]:
    """Video files of a folder by name, hidden ones left out; empty if there is no such folder."""
    if not folder.is_dir():
        return []
    # Names are sorted before they become paths: comparing paths is most of the work otherwise.
    names = sorted(name for name in os.listdir(folder) if not name.startswith('.'))
    return [folder / name for name in names if os.path.splitext(name)[1].lower() in VIDEO_SUFFIXES]


def is_file_entry(entry: os.DirEntry[str]) -> bool:
    """Whether an entry of a folder is a file; so is a link that leads nowhere, which reading it will tell."""
    return entry.is_file() or (entry.is_symlink() and not os.path.exists(entry.path))


def subfolders(folder: Path) -> list[Path]:
    """Folders in a folder by name, hidden ones left out; empty if there is no such folder."""
    if not folder.is_dir():
        return []
    # Unlike Path.iterdir, scandir knows what is a folder without asking the disk for each entry.
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries if not entry.name.startswith('.') and entry.is_dir()]
    return [folder / name for name in sorted(names)]


def refuse_options(name: str, options: LayoutOptions, *unused: str) -> None:
    """Refuse options that a layout has no use for.

    Args:
        name: Name of the layout.
        options: What the user asked for.
        unused: Fields of the options that must be at their default.

    Raises:
        InputError: If one of them is not.
    """
    default = LayoutOptions()
    for field_name in unused:
        value = getattr(options, field_name)
        if value != getattr(default, field_name):
            shown = str(value) if isinstance(value, Path) else value
            why = ': the set has official splits' if field_name == 'split' else ''
            raise InputError(f'{field_name}={shown!r} has no use for layout {name}{why}; leave it out')


def natural_order(name: str) -> tuple[tuple[int, int, str], ...]:
    """Sort key that puts ``frame_10`` after ``frame_9``."""
    parts = re.split(r'(\d+)', name)
    return tuple((1, int(part), part) if part.isdigit() else (0, 0, part) for part in parts)


def no_official_split(options: LayoutOptions, default: str = 'test') -> str:
    """Split of all videos of a set that comes without one.

    Raises:
        InputError: If the one that was asked for is unknown.
    """
    split = options.split or default
    if split not in SPLIT_NAMES:
        raise InputError(f'split={split!r}: must be one of {", ".join(SPLIT_NAMES)}')
    return split
