# SPDX-License-Identifier: Apache-2.0
"""What layouts of images have in common: frames in order, and files that lists name by foreign paths."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from iid_mm.errors import InputError
from iid_mm.media.suffixes import IMAGE_SUFFIXES, is_system_file
from iid_mm.preparation.layouts.base import Scanner
from iid_mm.structures.video_record import ImageFiles, LandmarkFiles

FRAMES, LANDMARKS, MASKS = 'frames', 'landmarks', 'masks'
# Frame numbers are int32 in the index; longer digits are times or hashes.
MAX_FRAME = 2**31 - 1
_LAST_NUMBER = re.compile(r'(\d+)\D*$')


def is_image(name: str) -> bool:
    """Whether a file is an image by its path; those that are hidden or of the system are not."""
    parts = [part for part in name.split('/') if part != '.']
    return name.lower().endswith(IMAGE_SUFFIXES) and not any(map(is_system_file, parts))


def order_frames(names: Iterable[str]) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Order the frames of a video.

    The number of a frame is the last number in its name. Where a name has none or two have the same, all
    frames are numbered from 0 in natural order instead.

    Args:
        names: File names, possibly with folders.

    Returns:
        Names in order of time, and their numbers, strictly ascending.
    """
    listed = list(names)
    numbered = {}
    for name in listed:
        base = name.rpartition('/')[2]
        found = _LAST_NUMBER.search(base.rpartition('.')[0] or base)
        number = int(found[1]) if found and len(found[1]) < 20 else -1
        if not 0 <= number <= MAX_FRAME or number in numbered:
            return tuple(sorted(listed, key=_natural_order)), tuple(range(len(listed)))
        numbered[number] = name
    numbers = tuple(sorted(numbered))
    return tuple(map(numbered.__getitem__, numbers)), numbers


def _natural_order(name: str) -> tuple[tuple[int, int, str], ...]:
    """Sort key that puts ``frame_10`` after ``frame_9``."""
    parts = re.split(r'(\d+)', name)
    return tuple((1, int(part), part) if part.isdigit() else (0, 0, part) for part in parts)


@dataclass
class Folders:
    """Looks files up below a folder; each folder is listed once.

    Attributes:
        root: The folder, which is never left.
    """

    root: Path
    _names: dict[Path, frozenset[str]] = field(default_factory=dict)
    _found: dict[tuple[str, ...], Path | None] = field(default_factory=dict)
    _owners: dict[Path, tuple[str, ...]] = field(default_factory=dict)

    def names(self, folder: Path) -> frozenset[str]:
        """Names of the files and folders in a folder; empty if there is no such folder."""
        if folder not in self._names:
            try:
                self._names[folder] = frozenset(os.listdir(folder))
            except (OSError, ValueError):
                # ValueError: a list names what no path can hold, such as a NUL.
                self._names[folder] = frozenset()
        return self._names[folder]

    def find(self, parts: tuple[str, ...], bases: Sequence[str] = ('',)) -> Path | None:
        """Find a folder that a list file names by its path on another machine.

        Args:
            parts: Parts of the path; see :func:`path_parts`.
            bases: Folders below the root in which to look, the first one first.

        Returns:
            The folder that ends in as many of the parts as possible, at least one; None if there is none.

        Raises:
            InputError: If it stands for another path of the list already.
        """
        if parts not in self._found:
            found = self._found[parts] = next(
                (
                    folder
                    for start in range(len(parts))
                    for base in bases
                    if (folder := self._below(self.root / base, parts[start:])) is not None
                ),
                None,
            )
            owner = self._owners.setdefault(found, parts) if found else parts
            short, long = sorted((owner, parts), key=len)
            if found and long[len(long) - len(short) :] != short:
                raise InputError(
                    f'root={str(self.root)!r} lies too deep: {"/".join(owner)!r} and {"/".join(parts)!r} of '
                    f'the list would both be {found.relative_to(self.root).as_posix()!r}; give a folder above'
                )
        return self._found[parts]

    def sibling(self, folder: Path, name: str) -> Path | None:
        """``.../<name>/<video>`` for ``.../frames/<video>``; None if there is no ``frames`` in the path."""
        parts = list(folder.relative_to(self.root).parts)
        if FRAMES not in parts:
            return None
        parts[len(parts) - 1 - parts[::-1].index(FRAMES)] = name
        return self.root.joinpath(*parts)

    def _below(self, base: Path, parts: tuple[str, ...]) -> Path | None:
        folder = base
        for part in parts:
            if part not in self.names(folder):
                return None
            folder = folder / part
        # A file cannot hold images.
        return folder if self.names(folder) else None


def path_parts(text: str) -> tuple[str, ...]:
    r"""Parts of a path in a list file that was made on another machine.

    Args:
        text: Absolute or relative path with ``/`` or ``\``.

    Returns:
        Its parts; what is in front of a ``..`` or a drive letter can be of no use here and is left out.
    """
    parts: list[str] = []
    for part in text.strip().replace('\\', '/').split('/'):
        if part == '..' or part.endswith(':'):
            parts.clear()
        elif part not in ('', '.'):
            parts.append(part)
    return tuple(parts)


def landmark_files(folders: Folders, images: ImageFiles) -> LandmarkFiles | None:
    """Landmarks in ``landmarks/<video>/<frame>.npy`` beside ``frames/<video>/<frame>.png``.

    Args:
        folders: Looks the files up.
        images: The frames.

    Returns:
        The files; None if no frame has one.
    """
    folder = folders.sibling(images.folder, LANDMARKS)
    there = folders.names(folder) if folder else frozenset()
    wanted = [str(PurePosixPath(name).with_suffix('.npy')) for name in images.names]
    names = tuple(name if name in there else '' for name in wanted)
    return LandmarkFiles(folder, names) if folder and any(names) else None


def mask_files(folders: Folders, images: ImageFiles) -> ImageFiles | None:
    """Masks in ``masks/<video>/<frame>.png`` beside the frames, as :func:`landmark_files`."""
    folder = folders.sibling(images.folder, MASKS)
    names = [name for name in (folders.names(folder) if folder else ()) if is_image(name)]
    return ImageFiles(folder, *order_frames(names)) if folder and names else None


def image_folder(scanner: Scanner, folder: Path, files: Iterable[str]) -> ImageFiles | None:
    """The images among the files of a folder as a video; other files are passed over.

    Args:
        scanner: Takes what is passed over.
        folder: The folder.
        files: Names of its files.

    Returns:
        The frames; None if there are none.
    """
    names = []
    for name in files:
        if is_image(name):
            names.append(name)
        else:
            scanner.pass_over(folder, name)
    return ImageFiles(folder, *order_frames(names)) if names else None


def dataset_name(root: Path) -> str:
    """Name of a dataset after its folder, with the characters that file names share."""
    return re.sub(r'[^A-Za-z0-9._-]+', '_', root.resolve().name)[:60].strip('._') or 'folder'
