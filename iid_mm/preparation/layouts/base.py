# SPDX-License-Identifier: Apache-2.0
"""What layouts have in common."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from iid_mm.errors import InputError
from iid_mm.media.suffixes import VIDEO_SUFFIXES, is_system_file
from iid_mm.preparation.records import LayoutOptions, LayoutScan
from iid_mm.structures.video_record import FAKE, GENUINE, FrameSource, LandmarkSource, VideoFile, VideoRecord
from iid_mm.utils.files import printable, reason_of

SPLIT_NAMES = ('train', 'val', 'test')
# Suffixes of videos that previews and source code have, too.
OTHER_USES = ('.gif', '.ts')
# Holds side files of landmarks, by the paths of the videos.
LANDMARK_FOLDER = 'landmarks'
# Bytes: a part of a path is at most 255 bytes long, and a key of LMDB, which holds the path of a crop, 511.
MAX_VIDEO, MAX_METHOD = 360, 80


@dataclass(frozen=True)
class Layout:
    """How one public dataset lies on disk.

    Attributes:
        name: Name on the command line.
        scan: Lists the videos under a root.
        summary: What the dataset is, in one line.
        tree: The folders and files that are looked for, as a drawing in text.
        compressions: Compression levels that the set comes in, the default first.
        analyzer: Face analyzer that is used if the user names none.
    """

    name: str
    scan: Callable[[Path, LayoutOptions], LayoutScan]
    summary: str
    tree: str
    compressions: tuple[str, ...] = ('native',)
    analyzer: str = 'mediapipe'

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
        root: Folder of the dataset.
        dataset: Name of the dataset in the index.
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
        """Video key of a video of this set, by names as they are on disk."""
        names = index_name(method, MAX_METHOD), index_name(video)
        return make_key(self.dataset, names[0], self.compression, names[1])

    def name(self, path: Path) -> str:
        """Path relative to the root, with ``/``."""
        # Path.relative_to takes longer than all the rest of listing a folder.
        text, root = str(path), os.path.join(self.root, '')
        if text.startswith(root):
            return text[len(root) :].replace(os.sep, '/')
        try:
            return path.relative_to(self.root).as_posix()
        except ValueError:
            return path.name

    def leave_out(self, path: Path | str, reason: str) -> None:
        """Note that something on disk is not prepared."""
        name = self.name(path) if isinstance(path, Path) else path
        self.result.left_out[printable(name)] = printable(reason)

    def pass_over(self, folder: Path, name: str) -> None:
        """Note that a file is not read for its suffix."""
        suffix = os.path.splitext(name)[1].lower()
        what = f'the suffix {suffix[:20]}' if suffix else 'a file without suffix'
        self.leave_out(f'{self.name(folder)}/{name}', f'{what} is not read here')

    def read_folder(self, folder: Path) -> tuple[list[str], list[str], set[str]]:
        """List a folder; hidden and system files are passed over, and what cannot be read is told.

        Args:
            folder: The folder.

        Returns:
            Names of its files, of the folders in it, and of those folders that are links, sorted.
        """
        files, folders, links = [], [], set()
        try:
            # Unlike Path.iterdir, scandir knows what is a folder without asking the disk for each entry.
            with os.scandir(folder) as entries:
                for entry in entries:
                    if is_system_file(entry.name):
                        continue
                    if is_file_entry(entry):
                        files.append(entry.name)
                    elif entry.is_dir():
                        folders.append(entry.name)
                        if entry.is_symlink():
                            links.add(entry.name)
                    else:
                        self.leave_out(folder / entry.name, 'neither a file nor a folder')
        except OSError as error:
            self.leave_out(folder, f'the folder cannot be read: {reason_of(error)}')
        return sorted(files), sorted(folders), links

    def list_videos(self, folder: Path, known: Collection[str] = (), *, nested: bool = False) -> list[Path]:
        """Video files of a folder by name; what else lies there is told.

        Args:
            folder: The folder, which need not be there.
            known: Names of files and folders that are not videos.
            nested: The folders in it are read, too, so that nothing is to be told of them.

        Returns:
            The videos. Of files that differ in the suffix only, those that may be no videos come last.
        """
        if not folder.is_dir():
            return []
        names, folders, _ = self.read_folder(folder)
        for inside in () if nested else folders:
            if inside not in known:
                self.leave_out(folder / inside, 'a folder among videos is not read here')
        videos = order_videos(names)
        for name in set(names) - set(videos) - set(known):
            self.pass_over(folder, name)
        return [folder / name for name in videos]

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
        video, method = index_name(video), index_name(method, MAX_METHOD)
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
                target_id=None if target_id is None else index_name(target_id),
                source_id=None if label == GENUINE or source_id is None else index_name(source_id),
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
                f'methods: no {self.compression} videos of {printable(", ".join(unknown))} under '
                f'{str(self.root)!r}; manipulations there: {printable(", ".join(present)) or "none"}'
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
        self.result.missing = sorted(map(printable, self.result.missing))
        return self.result


def bad_name(name: str) -> str:
    """Why a name cannot be part of a key; empty if it can."""
    parts = name.split('/')
    if '\\' in name or '\0' in name or '' in parts or '..' in parts or '.' in parts:
        return 'the name holds something that the index cannot keep'
    return ''


def index_name(name: str, most: int = MAX_VIDEO) -> str:
    """A name as keys, paths of crops and Parquet files can hold it.

    Args:
        name: As it is on disk or in a list, with ``/``.
        most: Bytes that it may have.

    Returns:
        The name; what is too long is cut, and ends in a digest of the whole name.
    """
    text = printable(name)
    if text.isascii() and len(text) <= 60:
        return text
    data = text.encode()
    if len(data) <= most and all(len(part.encode()) <= 255 for part in text.split('/')):
        return text
    head = data[: min(most, 200) - 20].decode(errors='ignore')
    return f'{head}~{hashlib.sha256(data).hexdigest()[:16]}'


def order_videos(names: Iterable[str]) -> list[str]:
    """The names of video files, sorted; of equal stems, a suffix that other files have, too, comes last."""
    parts = [(*os.path.splitext(name), name) for name in names if name.lower().endswith(VIDEO_SUFFIXES)]
    ranked = sorted((stem, suffix.lower() in OTHER_USES, name) for stem, suffix, name in parts)
    return [name for _, _, name in ranked]


def is_file_entry(entry: os.DirEntry[str]) -> bool:
    """Whether an entry of a folder is a file; so is a link that leads nowhere, which reading it will tell."""
    return entry.is_file() or (entry.is_symlink() and not os.path.exists(entry.path))


def subfolders(folder: Path) -> list[Path]:
    """Folders in a folder by name, those of the system left out; empty if there is no such folder."""
    if not folder.is_dir():
        return []
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries if not is_system_file(entry.name) and entry.is_dir()]
    return [folder / name for name in sorted(names)]


@dataclass(frozen=True)
class Visit:
    """A folder that :func:`walk` comes to.

    Attributes:
        folder: The folder.
        files: Names of its files, sorted.
        folders: The folders in it that are visited later, by name.
    """

    folder: Path
    files: list[str]
    folders: list[Path]

    @cached_property
    def videos(self) -> list[str]:
        """Names of the videos among the files (:func:`order_videos`)."""
        return order_videos(self.files)


def walk(scanner: Scanner, base: Path, depth: int | None = None) -> Iterator[Visit]:
    """Go through a folder and the folders in it, parents first; links are followed, each folder is read once.

    Args:
        scanner: Takes what is passed over: links round in a circle, folders that lie too deep.
        base: Where to begin.
        depth: How many levels below; None for all.

    Yields:
        The folders, ``base`` first.
    """
    real_base = os.path.realpath(base)
    # Real path of a folder -> what it is called; links may lead to one folder in many ways.
    seen = {real_base: base}
    waiting = [(base, real_base, 0)]
    while waiting:
        folder, real, level = waiting.pop()
        files, names, links = scanner.read_folder(folder)
        inside = []
        for name in sorted(names, key=lambda name: (name in links, name)):
            path = folder / name
            if name == LANDMARK_FOLDER and folder == scanner.root:
                continue
            place = os.path.realpath(path) if name in links else os.path.join(real, name)
            above = os.path.join(place, '')
            if place == real or real.startswith(above) or real_base.startswith(above):
                scanner.leave_out(path, 'a symbolic link to a folder that it lies in')
            elif place in seen:
                scanner.leave_out(path, f'the same folder is read as {scanner.name(seen[place])}')
            elif depth is not None and level == depth:
                scanner.leave_out(path, 'the folder lies too deep')
            else:
                seen[place] = path
                inside.append((path, place, level + 1))
        inside.sort()
        yield Visit(folder, files, [path for path, _, _ in inside])
        waiting += reversed(inside)


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
