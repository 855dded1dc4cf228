# SPDX-License-Identifier: Apache-2.0
"""What layouts have in common: options, result, and the scanner that they add their videos to."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from iid_mm.errors import InputError
from iid_mm.media.suffixes import VIDEO_SUFFIXES, is_system_file
from iid_mm.preparation.layouts.names import MAX_METHOD, NOBODY, LeftOutError, Names, fits_index, index_name
from iid_mm.structures.video_record import FAKE, GENUINE, FrameSource, LandmarkSource, VideoFile, VideoRecord
from iid_mm.utils.files import printable, reason_of

SPLIT_NAMES = ('train', 'val', 'test')
# Suffixes of videos that previews and source code share.
OTHER_USES = ('.gif', '.ts')


@dataclass(frozen=True)
class LayoutOptions:
    """What a layout reads; a layout refuses the values that it does not know.

    Attributes:
        compression: Compression level of the videos; None takes the layout's default.
        methods: Manipulations to read; None reads all that are there.
        splits_dir: Folder of the split files, or one list file, where they are not in the usual places.
        masks: Whether to look for masks.
        split: Split of the videos of a set that has no official one; None takes the layout's default.
        stills: Every image is a still of its own, not a frame of its folder's video.
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

    def split_or(self, default: str = 'test') -> str:
        """Split of all videos of a set that comes without one.

        Raises:
            InputError: If the one that was asked for is unknown.
        """
        split = self.split or default
        if split not in SPLIT_NAMES:
            raise InputError(f'split={split!r}: must be one of {", ".join(SPLIT_NAMES)}')
        return split

    def list_file(self, root: Path, name: str) -> Path:
        """Where a list file is: ``splits_dir`` if that is a file, else in that folder or the root."""
        given = self.splits_dir
        return given if given and given.is_file() else (given or root) / name


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
class Layout:
    """How a public dataset is laid out on disk.

    Attributes:
        name: Name on the command line.
        read: Adds the videos under the root of a scanner to it.
        summary: What the dataset is, in one line.
        tree: The folders and files that are looked for, as a drawing in text.
        example: A path that is looked for, for the message when there is nothing; ``{level}`` stands for
            the compression level.
        dataset: Name in the index; empty if :attr:`read` finds it.
        compressions: Compression levels that the set comes in, the default first.
        analyzer: Face analyzer that is used if the user names none.
        unused: Options that have no use for the set.
    """

    name: str
    read: Callable[[Scanner], None]
    summary: str
    tree: str
    example: str
    dataset: str = ''
    compressions: tuple[str, ...] = ('native',)
    analyzer: str = 'mediapipe'
    unused: tuple[str, ...] = ('split', 'stills')

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

    def scan(self, root: Path, options: LayoutOptions) -> LayoutScan:
        """List the videos of a dataset.

        Args:
            root: Folder of the dataset as downloaded.
            options: What to read.

        Returns:
            The videos, at least one. Videos on disk that cannot be used are in ``left_out``; videos that
            a list of the dataset names but that are not on disk in ``missing``.

        Raises:
            InputError: If an option is unknown or unused, or a list file has another form or contradicts
                itself or the folders.
            FileNotFoundError: If folders, list files or all of the videos are missing.
        """
        scanner = Scanner(root, self, self.compression(options), options, self.dataset)
        for option in self.unused:
            scanner.refuse(option)
        self.read(scanner)
        return scanner.finish()


@dataclass
class Scanner:
    """Collects the videos that a layout finds.

    Attributes:
        root: Folder of the dataset.
        layout: Its layout.
        compression: Compression level of all videos.
        options: What to read.
        dataset: Name of the dataset in the index.
        result: What was found so far.
    """

    root: Path
    layout: Layout
    compression: str
    options: LayoutOptions = field(default_factory=LayoutOptions)
    dataset: str = ''
    result: LayoutScan = field(default_factory=LayoutScan)
    _keys: dict[str, str] = field(default_factory=dict)

    def refuse(self, option: str) -> None:
        """Refuse an option that has no use for the layout.

        Raises:
            InputError: If it is not at its default.
        """
        value = getattr(self.options, option)
        if value != getattr(LayoutOptions(), option):
            shown = str(value) if isinstance(value, Path) else value
            why = ': the set has official splits' if option == 'split' else ''
            raise InputError(
                f'{option}={shown!r} has no use for layout {self.layout.name}{why}; leave it out'
            )

    def pick_compression(self, present: Collection[str], where: Path, default: str | None = None) -> None:
        """Choose the compression level among those that are there.

        Args:
            present: Levels that are there, at least one.
            where: What holds them, for the message.
            default: Level if the user names none; None takes the first of the layout.

        Raises:
            FileNotFoundError: If the level that was asked for is not there.
        """
        there = [level for level in self.layout.compressions if level in present]
        self.compression = self.options.compression or default or there[0]
        if self.compression not in present:
            raise FileNotFoundError(
                f'compression={self.compression!r}: not in {str(where)!r}; '
                f'compression levels there: {", ".join(there)}'
            )

    def key(self, method: str, video: str) -> str:
        """Video key of a video of this set, by names as they are on disk."""
        # Imported here: worker processes load the layouts but do not need the index.
        from iid_mm.datasets.index import make_video_key

        return make_video_key(
            self.dataset, index_name(method, MAX_METHOD), self.compression, index_name(video)
        )

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

    @contextmanager
    def leaving_out(self, path: Path) -> Iterator[None]:
        """Leave a video out if :class:`LeftOutError` is raised while it is read."""
        try:
            yield
        except LeftOutError as error:
            self.leave_out(path, str(error))

    def pass_over(self, folder: Path, name: str) -> None:
        """Note that a file is not read for its suffix."""
        suffix = os.path.splitext(name)[1].lower()
        what = f'the suffix {suffix[:20]}' if suffix else 'a file without suffix'
        self.leave_out(f'{self.name(folder)}/{name}', f'{what} is not read here')

    def miss(self, paths: Iterable[Path | str]) -> None:
        """Note videos that a list names but that are not on disk."""
        self.result.missing.extend(self.name(path) if isinstance(path, Path) else path for path in paths)

    def read_folder(self, folder: Path) -> tuple[list[str], list[str], set[str]]:
        """List a folder without its hidden and system files; what cannot be read is left out.

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
                    # A link that leads nowhere counts as a file: reading it gives the reason.
                    if entry.is_file() or (entry.is_symlink() and not os.path.exists(entry.path)):
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
        """Video files of a folder by name; what else is there is left out with a reason.

        Args:
            folder: The folder, which need not exist.
            known: Names of files and folders that are not videos.
            nested: The folders in it are read, too, and not left out.

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

    def list_with_inner(self, folder: Path) -> list[Path]:
        """Video files of a folder and of a folder ``videos`` in it (:meth:`list_videos`)."""
        return [*self.list_videos(folder, ('videos',)), *self.list_videos(folder / 'videos')]

    def add(
        self,
        source: FrameSource | Path,
        video: str,
        *,
        method: str,
        label: int,
        split: str,
        names: Names = NOBODY,
        mask: FrameSource | Path | None = None,
        landmarks: LandmarkSource | None = None,
        cropped: bool = False,
        name: str | None = None,
    ) -> None:
        """Add a video.

        A second video with the same key is left out, and so is one whose name the index cannot hold.

        Args:
            source: Its frames; a path stands for a video file.
            video: Name of the video in its key.
            method: Manipulation of a fake; source folder of a genuine video.
            label: 0 = genuine, 1 = fake.
            split: ``train``, ``val`` or ``test``.
            names: Whose head and scene are shown, whose face was put in, and the genuine video that a
                fake was made from.
            mask: Manipulated region; a path stands for a video file.
            landmarks: Landmarks that came with the set.
            cropped: The frames are face crops.
            name: What to call it in the report; None takes the path.
        """
        source = VideoFile(source) if isinstance(source, Path) else source
        mask = VideoFile(mask) if isinstance(mask, Path) else mask
        if name is None:
            name = self.name(source.path if not hasattr(source, 'folder') else source.folder)
        if not (fits_index(video) and fits_index(method)):
            self.leave_out(name, 'the name holds something that the index cannot keep')
            return
        key = self.key(method, video)
        if key in self._keys:
            self.leave_out(name, f'another video has the same key: {self._keys[key]}')
            return
        self._keys[key] = name
        target, origin, pair = names
        self.result.records.append(
            VideoRecord(
                source=source,
                dataset=self.dataset,
                method=index_name(method, MAX_METHOD),
                compression=self.compression,
                video=index_name(video),
                key=key,
                label=label,
                split=split,
                target_id=None if target is None else index_name(target),
                source_id=None if label == GENUINE or origin is None else index_name(origin),
                pair=self.key(*pair) if pair and label == FAKE else None,
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

    def finish(self) -> LayoutScan:
        """The result, sorted.

        Raises:
            FileNotFoundError: If no video was found.
        """
        if not self.result.records:
            reasons = sorted(set(self.result.left_out.values()))
            raise FileNotFoundError(
                f'no usable {self.dataset} video under {str(self.root)!r} '
                f'({len(self.result.left_out)} left out{": " if reasons else ""}{"; ".join(reasons[:3])}); '
                f'expected e.g. {self.layout.example.replace("{level}", self.compression)}'
            )
        self.result.records.sort(key=lambda record: record.key)
        self.result.missing = sorted(map(printable, self.result.missing))
        return self.result


def order_videos(names: Iterable[str]) -> list[str]:
    """The names of video files, sorted; of equal stems, a suffix with other uses comes last."""
    parts = [(*os.path.splitext(name), name) for name in names if name.lower().endswith(VIDEO_SUFFIXES)]
    ranked = sorted((stem, suffix.lower() in OTHER_USES, name) for stem, suffix, name in parts)
    return [name for _, _, name in ranked]


def subfolders(folder: Path) -> list[Path]:
    """Folders in a folder by name, without those of the system; empty if there is no such folder."""
    if not folder.is_dir():
        return []
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries if not is_system_file(entry.name) and entry.is_dir()]
    return [folder / name for name in sorted(names)]
