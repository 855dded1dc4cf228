# SPDX-License-Identifier: Apache-2.0
"""Going through folders of folders."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from iid_mm.preparation.layouts.base import Scanner, order_videos

# Holds side files of landmarks, by the paths of the videos.
LANDMARK_FOLDER = 'landmarks'


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
        scanner: Takes what is passed over: links that lead in a circle, folders that lie too deep.
        base: Where to begin.
        depth: How many levels below; None for all.

    Yields:
        The folders, ``base`` first.
    """
    real_base = os.path.realpath(base)
    # Real path of a folder -> the path it is read as; links may lead to one folder in many ways.
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
