# SPDX-License-Identifier: Apache-2.0
"""Finding the inputs to analyze: images, videos and cameras."""

from __future__ import annotations

import glob
import os
import stat
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from iid_mm.errors import InputError
from iid_mm.inference.earlier_results import JSON, UniqueNames, is_written, result_of
from iid_mm.media.file_structure import is_clip
from iid_mm.media.suffixes import IMAGE_SUFFIXES, VIDEO_SUFFIXES, is_system_file
from iid_mm.utils.files import printable, reason_of, safe_name

IMAGE, VIDEO, CAMERA = 'image', 'video', 'camera'
MAX_LISTED = 10
"""Number of names listed in one note."""

MediaInput = str | int | os.PathLike[str]


@dataclass(frozen=True)
class Media:
    """One input.

    Attributes:
        kind: ``image``, ``video`` or ``camera``.
        name: Name of its outputs, valid on any file system; unique within one call of :func:`find_media`. If
            the output folder holds results of other inputs, a number is appended.
        source: The input as given: path of the file, or ``camera 0``.
        path: The file; None for a camera.
        camera: Number of the camera; None for a file.
    """

    kind: str
    name: str
    source: str
    path: Path | None = None
    camera: int | None = None

    @property
    def stem(self) -> str:
        """Name of its outputs unless another input has the same."""
        return f'camera_{self.camera}' if self.path is None else safe_name(self.path.stem)

    @property
    def place(self) -> str:
        """Its identity: absolute path, or the camera."""
        return self.source if self.path is None else os.path.abspath(self.path)


class FoundMedia(list[Media]):
    """Inputs, and notes on the search.

    Attributes:
        notes: What was skipped, and why, one printable line each.
        problems: What could not be read, one printable line each.
    """

    def __init__(self, media: Iterable[Media], notes: Sequence[str], problems: Sequence[str]) -> None:
        super().__init__(media)
        self.notes = list(notes)
        self.problems = list(problems)


def find_media(inputs: MediaInput | Iterable[MediaInput] | FoundMedia) -> FoundMedia:
    """Find the inputs that the user named.

    Folders are searched recursively, through links too. Skipped are hidden files, system folders
    (:data:`~iid_mm.media.suffixes.SYSTEM_FOLDERS`), files whose suffix is neither that of an image nor of a
    video, and outputs of earlier runs, see :mod:`~iid_mm.inference.earlier_results`.

    Args:
        inputs: Files, folders, patterns with ``*``, ``?`` or ``[...]``, and numbers of cameras; one or
            several. The return value of this function is returned unchanged.

    Returns:
        The media, in the order of the inputs, each file once; see :class:`FoundMedia` for the rest.

    Raises:
        FileNotFoundError: A file or folder does not exist.
        InputError: Nothing was named, a folder or a pattern holds no image or video, or a file is neither.
    """
    if isinstance(inputs, FoundMedia):
        return inputs
    named: list[MediaInput] = [inputs] if isinstance(inputs, (str, int, os.PathLike)) else list(inputs)
    if not named:
        raise InputError('nothing to analyze: name images, videos, folders or the number of a camera')
    search = _Search()
    for item in named:
        search.look_at(item)
    return FoundMedia(_with_names(list(search.found.values())), search.notes(), search.problems)


def kind_of(path: str | os.PathLike[str]) -> str | None:
    """Kind of a file by its suffix; None if it is neither image nor video."""
    suffix = os.path.splitext(path)[1].lower()
    if suffix in IMAGE_SUFFIXES:
        return IMAGE
    return VIDEO if suffix in VIDEO_SUFFIXES else None


class _File(NamedTuple):
    path: str
    real: str
    """Path without links, by which two paths to one file are recognized."""
    inode: int


class _Search:
    """Collects files with few system calls, since folders may hold 100 000 of them."""

    def __init__(self) -> None:
        self.found: dict[str, tuple[str, str | int]] = {}
        self.problems: list[str] = []
        self._suffixes: Counter[str] = Counter()
        self._passed: set[str] = set()
        self._hidden = 0
        self._outputs: list[str] = []
        self._alike: list[str] = []
        self._links: list[str] = []
        self._by_content: list[str] = []
        self._inodes: dict[int, str] = {}

    def look_at(self, item: MediaInput) -> None:
        """Add what an input names."""
        if isinstance(item, bool):
            raise InputError(f'input {item!r}: give a path or the number of a camera')
        if isinstance(item, int):
            if item < 0:
                raise InputError(f'input {item}: numbers of cameras begin with 0')
            self.found.setdefault(f'camera {item}', (CAMERA, item))
            return
        text = os.fspath(item)
        if not text:
            # An unset shell variable; as a path it would mean the current folder.
            raise InputError('an input is empty: name images, videos, folders or the number of a camera')
        path = str(Path(text))
        if os.path.isdir(path):
            if not self._add_folder(path):
                raise self._nothing(text, 'the folder holds')
        elif os.path.isfile(path):
            if not self._add_file(path, named=True):
                raise InputError(
                    f'input {printable(text)} is an output of an earlier run, as the result beside it says; '
                    'name the original'
                )
        elif os.path.lexists(path):
            raise InputError(f'input {printable(text)} is neither a file nor a folder, or a link to nothing')
        elif text.isdecimal():
            self.look_at(int(text))
        elif glob.has_magic(text):
            good = False
            asked = {part for part in Path(text).parts if not glob.has_magic(part)}
            for match in sorted(glob.glob(text, recursive=True)):
                if any(is_system_file(part) for part in Path(match).parts if part not in asked):
                    self._hidden += 1
                else:
                    good |= self._add_folder(match) if os.path.isdir(match) else self._add_file(match)
            if not good:
                raise self._nothing(text, 'the pattern fits')
        else:
            raise FileNotFoundError(f'input {printable(text)} does not exist')

    def notes(self) -> list[str]:
        """What was passed over."""
        notes = []
        if self._passed:
            kinds = [
                printable(suffix)[:20] or 'without suffix'
                for suffix, _ in self._suffixes.most_common(MAX_LISTED)
            ]
            more = ', ...' if len(self._suffixes) > MAX_LISTED else ''
            notes.append(f'skipped: {_count(len(self._passed), "file")} ({", ".join(sorted(kinds))}{more})')
        if self._hidden:
            notes.append(f'skipped: {_count(self._hidden, "hidden or system file")}')
        for text, names in (
            ('skipped: outputs of earlier runs: ', self._outputs),
            ('named like an output, but listed by no result, so it is analyzed: ', self._alike),
            ('the same file under another name, analyzed once: ', self._links),
            ('recognized by its content: ', self._by_content),
        ):
            if names:
                more = f' and {len(names) - MAX_LISTED} more' if len(names) > MAX_LISTED else ''
                notes.append(text + ', '.join(sorted(names)[:MAX_LISTED]) + more)
        return notes

    def _nothing(self, named: str, what: str) -> InputError:
        rest = '; '.join([*self.problems, *self.notes(), _known()])
        return InputError(f'input {printable(named)}: {what} no image and no video; {rest}')

    def _add_file(self, path: str, *, named: bool = False) -> bool:
        kind = kind_of(path)
        try:
            if named and kind is None:
                clip = is_clip(Path(path))
                if clip is not None:
                    kind = VIDEO if clip else IMAGE
                    self._by_content.append(f'{printable(path)} ({kind})')
            found = os.stat(path)
            if not stat.S_ISREG(found.st_mode):
                raise OSError(0, 'neither file nor folder')
        except OSError as error:
            if named:
                raise InputError(f'input {printable(path)} cannot be read ({reason_of(error)})') from error
            self.problems.append(f'{printable(path)} cannot be read ({reason_of(error)})')
            return False
        if named and kind is None:
            raise InputError(f'input {printable(path)}: neither an image nor a video; {_known()}')
        return self._add([_File(path, os.path.realpath(path), found.st_ino)], kind)

    def _add_folder(self, folder: str) -> bool:
        """Add the media in and below a folder; whether there are any."""
        plain, linked = self._walk(folder)
        added = False
        # The file itself comes before links to it, whatever their names.
        before = len(self.found)
        added |= self._add(plain, results={file.real for file in plain if file.path.endswith(JSON)})
        added |= self._add(linked)
        keys = list(self.found)[before:]
        mine = {key: self.found.pop(key) for key in keys}
        for key in sorted(keys, key=lambda key: str(mine[key][1]).split(os.sep)):
            self.found[key] = mine[key]
        return added

    def _add(
        self, files: Sequence[_File], kind: str | None = None, results: Collection[str] | None = None
    ) -> bool:
        """Add files, each once; returns whether any of them is now among the inputs.

        Args:
            files: The files.
            kind: Their kind; None: by their suffixes.
            results: Files beside them that may be results; None: ask the file system.
        """
        good = False
        for file in files:
            own = kind or kind_of(file.path)
            if own is None:
                if file.real not in self._passed:
                    self._passed.add(file.real)
                    self._suffixes[os.path.splitext(file.path)[1].lower()] += 1
                continue
            if file.real in self.found:
                self._note_link(file, file.real)
                good = True
                continue
            result = result_of(file.real)
            if result and (results is None or result in results) and is_written(file.real):
                self._outputs.append(printable(file.path))
                continue
            if result_of(file.path):
                self._alike.append(printable(file.path))
            good = True
            # Hard links; inode numbers are unique only within one disk.
            twin = self._inodes.setdefault(file.inode, file.real)
            if twin != file.real and _same_file(twin, file.real):
                self._note_link(file, twin)
                continue
            self.found[file.real] = (own, file.path)
        return good

    def _note_link(self, file: _File, other: str) -> None:
        first = self.found[other][1]
        if os.path.abspath(file.path) != os.path.abspath(str(first)):
            self._links.append(f'{printable(file.path)} = {printable(first)}')

    def _walk(self, folder: str) -> tuple[list[_File], list[_File]]:
        """Files in and below a folder: plain ones, and those that links lead to."""
        plain: list[_File] = []
        linked: list[_File] = []
        links: list[str] = []
        seen: set[str] = set()
        pending = [(folder, os.path.realpath(folder))]
        while pending or links:
            if not pending:
                # Links come last, so that folders are not searched twice.
                link = links.pop()
                real = os.path.realpath(link)
                if os.path.isdir(real):
                    pending.append((link, real))
                elif os.path.isfile(real):
                    linked.append(_File(link, real, os.stat(real).st_ino))
                else:
                    self.problems.append(f'{printable(link)} cannot be read (a link to nothing)')
                continue
            place, real = pending.pop()
            if real in seen:
                continue
            seen.add(real)
            try:
                with os.scandir(place) as entries:
                    for entry in entries:
                        if is_system_file(entry.name):
                            self._hidden += 1
                        elif entry.is_symlink():
                            links.append(entry.path)
                        elif entry.is_dir(follow_symlinks=False):
                            pending.append((entry.path, os.path.join(real, entry.name)))
                        elif entry.is_file(follow_symlinks=False):
                            plain.append(_File(entry.path, os.path.join(real, entry.name), entry.inode()))
                        else:
                            self.problems.append(
                                f'{printable(entry.path)} cannot be read (neither file nor folder)'
                            )
            except OSError as error:
                self.problems.append(f'folder {printable(place)} cannot be read ({reason_of(error)})')
        return plain, linked


def _same_file(first: str, second: str) -> bool:
    try:
        return os.path.samefile(first, second)
    except OSError:
        return False


def _known() -> str:
    return f'known are {" ".join(IMAGE_SUFFIXES)} and {" ".join(VIDEO_SUFFIXES)}'


def _count(number: int, word: str) -> str:
    return f'{number} {word}' + ('' if number == 1 else 's')


def _with_names(found: Sequence[tuple[str, str | int]]) -> list[Media]:
    """Name the outputs after the files; equal names get a number."""
    media = []
    names = UniqueNames()
    for kind, place in found:
        if isinstance(place, int):
            media.append(Media(kind, names.give(f'camera_{place}'), f'camera {place}', camera=place))
        else:
            path = Path(place)
            media.append(Media(kind, names.give(safe_name(path.stem)), str(path), path=path))
    return media
