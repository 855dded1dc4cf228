# SPDX-License-Identifier: Apache-2.0
"""What is to be analysed: images, videos and cameras."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from iid_mm.errors import InputError
from iid_mm.preparation.records import IMAGE_SUFFIXES, VIDEO_SUFFIXES

IMAGE, VIDEO, CAMERA = 'image', 'video', 'camera'

MediaInput = str | int | os.PathLike[str]


@dataclass(frozen=True)
class Media:
    """One thing to analyse.

    Attributes:
        kind: ``image``, ``video`` or ``camera``.
        name: Name of its outputs; unique among what :func:`find_media` returns at a time.
        source: What the user named: path of the file, or ``camera 0``.
        path: The file; None for a camera.
        camera: Number of the camera; None for a file.
    """

    kind: str
    name: str
    source: str
    path: Path | None = None
    camera: int | None = None


def find_media(inputs: MediaInput | Iterable[MediaInput]) -> list[Media]:
    """Find what the user has named.

    Args:
        inputs: Files, folders (searched with their subfolders; what is neither image nor video there is
            passed over), patterns with ``*``, ``?`` or ``[...]``, and numbers of cameras; one or several.

    Returns:
        The media, in the order of the inputs, each file once.

    Raises:
        FileNotFoundError: A file or folder does not exist.
        InputError: Nothing was named, a folder or a pattern holds no image or video, or a file is neither.
    """
    named: list[MediaInput] = [inputs] if isinstance(inputs, (str, int, os.PathLike)) else list(inputs)
    if not named:
        raise InputError('nothing to analyse: name images, videos, folders or the number of a camera')
    found: dict[str, tuple[str, Path | int]] = {}
    for item in named:
        for kind, place in _expand(item):
            key = f'camera {place}' if isinstance(place, int) else os.path.abspath(place)
            found.setdefault(key, (kind, place))
    return _with_names(list(found.values()))


def _expand(item: MediaInput) -> list[tuple[str, Path | int]]:
    if isinstance(item, bool):
        raise InputError(f'input {item!r}: give a path or the number of a camera')
    if isinstance(item, int):
        if item < 0:
            raise InputError(f'input {item}: numbers of cameras begin with 0')
        return [(CAMERA, item)]
    path = Path(item)
    if path.is_dir():
        return _of_folder(path, sorted(p for p in path.rglob('*') if not _is_hidden(p, path)), str(item))
    if path.is_file():
        kind = kind_of(path)
        if kind is None:
            raise InputError(f'input {item}: neither an image nor a video; {_known()}')
        return [(kind, path)]
    text = str(item)
    if text.isdecimal():
        return [(CAMERA, int(text))]
    if glob.has_magic(text):
        return _of_folder(None, sorted(Path(p) for p in glob.glob(text, recursive=True)), text)
    raise FileNotFoundError(f'input {text} does not exist')


def _of_folder(folder: Path | None, paths: Sequence[Path], named: str) -> list[tuple[str, Path | int]]:
    kinds = [(kind_of(path), path) for path in paths if path.is_file()]
    found: list[tuple[str, Path | int]] = [(kind, path) for kind, path in kinds if kind is not None]
    if not found:
        what = 'the folder holds' if folder else 'the pattern fits'
        raise InputError(f'input {named}: {what} no image and no video; {_known()}')
    return found


def _is_hidden(path: Path, folder: Path) -> bool:
    return any(part.startswith('.') for part in path.relative_to(folder).parts)


def _known() -> str:
    return f'known are {" ".join(IMAGE_SUFFIXES)} and {" ".join(VIDEO_SUFFIXES)}'


def kind_of(path: Path) -> str | None:
    """Kind of a file by its suffix; None if it is neither image nor video."""
    suffix = path.suffix.lower()
    if suffix in IMAGE_SUFFIXES:
        return IMAGE
    return VIDEO if suffix in VIDEO_SUFFIXES else None


def _with_names(found: Sequence[tuple[str, Path | int]]) -> list[Media]:
    """Name the outputs after the files; of equal names all but the first get a number."""
    media = []
    used: set[str] = set()
    for kind, place in found:
        stem = f'camera_{place}' if isinstance(place, int) else place.stem
        name, number = stem, 1
        # Some file systems do not tell capitals apart.
        while name.lower() in used:
            number += 1
            name = f'{stem}_{number}'
        used.add(name.lower())
        if isinstance(place, int):
            media.append(Media(kind, name, f'camera {place}', camera=place))
        else:
            media.append(Media(kind, name, str(place), path=place))
    return media
