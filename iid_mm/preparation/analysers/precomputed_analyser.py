# SPDX-License-Identifier: Apache-2.0
"""Landmarks that somebody else found, read from side files."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path
from tokenize import TokenError
from typing import TYPE_CHECKING
from zipfile import BadZipFile

import numpy as np

from iid_mm.errors import InputError
from iid_mm.preparation.analysers.base import Face, FaceAnalyser, FrameRef
from iid_mm.preparation.cropping import landmarks_box

if TYPE_CHECKING:
    from iid_mm.utils.typing import BoxesArray, ImageArray, PointsArray

LANDMARK_COUNTS = (68, 81)
# No frame is that large: such a number is a damaged one.
MAX_COORDINATE = 1e5
# What numpy raises for damaged files: its header is Python source, an archive is a zip file.
_DAMAGE = (OSError, ValueError, EOFError, SyntaxError, TokenError, BadZipFile, MemoryError)


class PrecomputedAnalyser(FaceAnalyser):
    """Looks landmarks up in ``<root>/landmarks/<path of the video without suffix>.npy``.

    A side file is a float array (T, K, 2): frame, point (K 68 or 81), x and y in pixels of the
    frame; a frame without a face is NaN.

    Args:
        root: Folder of the data set, which the video paths lie in.

    Raises:
        FileNotFoundError: If there is no folder ``landmarks`` in ``root``.
    """

    def __init__(self, root: Path) -> None:
        super().__init__()
        self.root = root
        if not (root / 'landmarks').is_dir():
            raise FileNotFoundError(
                f'no folder {str(root / "landmarks")!r}; the analyser "precomputed" reads '
                'landmarks/<path of the video without suffix>.npy, arrays (frames, 68 or 81, 2)'
            )
        self._load = lru_cache(maxsize=8)(load_landmarks)

    def side_file(self, video: Path) -> Path:
        """Path of the landmarks of a video."""
        return (self.root / 'landmarks' / video.relative_to(self.root)).with_suffix('.npy')

    def check_video(self, video: Path) -> str:
        """Say what is wrong with the side file of a video; empty if nothing is."""
        try:
            self._load(self.side_file(video))
        except InputError as error:
            # Reports travel: no folders of this machine.
            return str(error).replace(f'{self.root}{os.sep}', '')
        return ''

    def analyse(
        self,
        image: ImageArray,
        hint_box: BoxesArray | None = None,
        *,
        where: FrameRef | None = None,
    ) -> list[Face]:
        """Look the face of a frame up; the image and the hint are not used.

        Args:
            image: Not used.
            hint_box: Not used.
            where: Which frame; needed.

        Returns:
            The face with score 1, or nothing.

        Raises:
            InputError: If ``where`` is missing or the side file is not usable.
        """
        if where is None:
            raise InputError('where=None: the analyser "precomputed" needs to know the frame')
        with self.clock('landmarks'):
            table = self._load(self.side_file(where.video))
            # NaN compares as false, too.
            if where.frame >= len(table) or not np.abs(table[where.frame]).max() < MAX_COORDINATE:
                return []
            landmarks = table[where.frame]
            return [Face(landmarks_box(landmarks), 1.0, landmarks)]


def load_landmarks(path: Path) -> PointsArray:
    """Read a side file.

    Args:
        path: The ``.npy`` file.

    Returns:
        (T, K, 2) float32.

    Raises:
        InputError: If the file is missing, unreadable or has another shape.
    """
    try:
        table = np.load(path, allow_pickle=False)
    except _DAMAGE as error:
        raise InputError(f'landmarks {str(path)!r} cannot be read ({error})') from error
    good = isinstance(table, np.ndarray) and table.ndim == 3 and table.dtype.kind == 'f'
    if not good or table.shape[1] not in LANDMARK_COUNTS or table.shape[2] != 2:
        found = f'{table.dtype} {table.shape}' if isinstance(table, np.ndarray) else 'an archive'
        raise InputError(f'landmarks {str(path)!r}: found {found}, expected floats (frames, 68 or 81, 2)')
    return np.asarray(table, np.float32)
