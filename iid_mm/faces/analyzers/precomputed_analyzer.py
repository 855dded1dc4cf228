# SPDX-License-Identifier: Apache-2.0
"""Landmarks that were detected beforehand, read from files."""

from __future__ import annotations

import os
import warnings
from bisect import bisect_left
from functools import lru_cache
from pathlib import Path, PurePosixPath
from tokenize import TokenError
from typing import TYPE_CHECKING
from zipfile import BadZipFile

import numpy as np

from iid_mm.datasets.index import LANDMARK_COUNTS
from iid_mm.errors import InputError
from iid_mm.faces.analyzers.base import Face, FaceAnalyzer, FrameRef
from iid_mm.faces.cropping import landmarks_box
from iid_mm.faces.tracking import box_distance
from iid_mm.media.suffixes import ARCHIVE_SUFFIXES
from iid_mm.structures.video_record import (
    ArchiveImages,
    FrameSource,
    ImageFiles,
    LandmarkFiles,
    LandmarkTable,
    LandmarkValues,
    VideoFile,
    VideoRecord,
)

if TYPE_CHECKING:
    from iid_mm.utils.typing import BoxesArray, ImageArray, PointsArray

# No frame is that large: a larger number is damaged.
MAX_COORDINATE = 1e5
# Half a day at 24 frames a second: a header that promises more is damaged, whatever a sparse file holds.
MAX_FRAMES = 2**20
# Raised by numpy for damaged files: its header is Python source, an archive is a zip file, and a shape may
# hold anything that is an int.
_DAMAGE = (
    *(OSError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError, EOFError, SyntaxError),
    *(TokenError, BadZipFile, MemoryError, RecursionError, SystemError),
)


class PrecomputedAnalyzer(FaceAnalyzer):
    """Looks landmarks up: those that came with the dataset, or else a side file of the video.

    A side file is an array (T, K, 2): position of the frame in the video, point (K 68 or 81), x and y in
    pixels of the frame; a frame without a face is NaN. Its path is
    ``<root>/landmarks/<path of the video without suffix>.npy``, with the path of the folder for a folder of
    images, that of the image for a single image, and that of the folder that the archive would be unpacked to
    for images in an archive. The position is the frame number in a video file, and the place in the sequence
    for images.

    Args:
        root: Folder of the dataset, in which the videos lie.
    """

    searches = False

    def __init__(self, root: Path) -> None:
        super().__init__()
        self.root = root
        self._load = lru_cache(maxsize=8)(load_table)

    def side_file(self, record: VideoRecord) -> Path:
        """Path of the side file of a video; InputError if the video lies outside of the dataset."""
        try:
            inside = source_path(record.source).relative_to(self.root)
        except ValueError:
            inside = Path('..')
        if '..' in inside.parts or inside == Path():
            raise InputError(
                f'{record.key} does not lie below the folder of the dataset, so that it has no side file '
                'of landmarks'
            )
        return self.root / 'landmarks' / inside.with_name(inside.name + '.npy')

    def side_files(self, record: VideoRecord) -> list[Path]:
        """All landmark files that a video depends on, whether they exist or not."""
        if isinstance(record.landmarks, LandmarkTable):
            return [record.landmarks.path]
        if isinstance(record.landmarks, LandmarkFiles):
            return [record.landmarks.folder / name for name in record.landmarks.names if name]
        if isinstance(record.landmarks, LandmarkValues):
            return []
        try:
            return [self.side_file(record)]
        except InputError:
            return []

    def check_video(self, record: VideoRecord) -> str:
        """See :meth:`FaceAnalyzer.check_video`; files of single frames are read later."""
        try:
            if isinstance(record.landmarks, LandmarkFiles):
                _check_files(record.landmarks, record.source)
            elif isinstance(record.landmarks, LandmarkValues):
                _check_count(len(record.landmarks.points), record.source)
            else:
                self._find_table(record)
        except InputError as error:
            return self._public(error)
        return ''

    def analyze(
        self, image: ImageArray, hint_box: BoxesArray | None = None, *, where: FrameRef | None = None
    ) -> list[Face]:
        """Look up the faces of the frame ``where``, in the order of the file and with score 1.

        The image is not used. A damaged file of this frame is reported by :meth:`take_problems`.

        Raises:
            InputError: If ``where`` is missing, or the video does not pass :meth:`check_video`.
        """
        if where is None:
            raise InputError('where=None: the analyzer "precomputed" needs to know the frame')
        with self.clock('landmarks'):
            faces = []
            for points in self._find_points(where):
                # NaN compares as false.
                if np.abs(points).max() < MAX_COORDINATE:
                    faces.append(Face(landmarks_box(points), 1.0, points))
            if hint_box is not None and len(faces) > 1:
                faces = [min(faces, key=lambda face: box_distance(face.box, hint_box))]
            return faces

    def _find_points(self, where: FrameRef) -> PointsArray:
        """(F, K, 2) points of the faces of a frame; F may be 0."""
        landmarks = where.record.landmarks
        position = find_position(where.record.source, where.frame)
        nothing = np.zeros((0, LANDMARK_COUNTS[0], 2), np.float32)
        try:
            if isinstance(landmarks, LandmarkFiles):
                if not 0 <= position < len(landmarks.names) or not landmarks.names[position]:
                    return nothing
                return load_faces(landmarks.folder / landmarks.names[position])
            if isinstance(landmarks, LandmarkValues):
                if not 0 <= position < len(landmarks.points) or not landmarks.points[position]:
                    return nothing
                return _parse_values(landmarks.points[position], where.frame)
        except InputError as error:
            self._problems.append(self._public(error))
            return nothing
        table = self._find_table(where.record)
        return table[position : position + 1] if position >= 0 else nothing

    def _find_table(self, record: VideoRecord) -> PointsArray:
        if isinstance(record.landmarks, LandmarkTable):
            return self._load(record.landmarks.path)
        path = self.side_file(record)
        if not path.is_file() and not (self.root / 'landmarks').is_dir():
            raise InputError(
                f'no folder {str(self.root / "landmarks")!r}: the analyzer "precomputed" reads '
                'landmarks/<path of the video without suffix>.npy, arrays (frames, 68 or 81, 2), where a '
                'dataset brings no landmarks of its own'
            )
        return self._load(path)

    def _public(self, error: InputError) -> str:
        """Text of an error without the folders of this machine, because reports are shared."""
        return str(error).replace(f'{self.root}{os.sep}', '')


def source_path(source: FrameSource) -> Path:
    """Path that stands for the frames of a video, without suffix.

    Args:
        source: The frames.

    Returns:
        The video file, the folder of the images (the image, if it is the only one), or the folder that
        the archive of the images would be unpacked to.
    """
    if isinstance(source, VideoFile):
        return source.path.with_suffix('')
    if isinstance(source, ImageFiles) and len(source.names) != 1:
        return source.folder
    if isinstance(source, ImageFiles):
        return (source.folder / source.names[0]).with_suffix('')
    name = source.path.name
    for suffix in sorted(ARCHIVE_SUFFIXES, key=len, reverse=True):
        if name.lower().endswith(suffix) and len(name) > len(suffix):
            name = name[: -len(suffix)]
            break
    parents = {PurePosixPath(member).parent for member in source.names}
    return source.path.with_name(name) / (parents.pop() if len(parents) == 1 else '')


def find_position(source: FrameSource, frame: int) -> int:
    """Position of a frame in its video, from 0; -1 if it is not there."""
    if isinstance(source, VideoFile):
        return frame if frame >= 0 else -1
    position = bisect_left(source.numbers, frame)
    found = position < len(source.numbers) and source.numbers[position] == frame
    return position if found else -1


def load_table(path: Path) -> PointsArray:
    """Read the landmarks of a video.

    Args:
        path: A ``.npy`` file.

    Returns:
        (T, K, 2) float32.

    Raises:
        InputError: If the file is missing, unreadable or has another shape.
    """
    return _as_points(_load_array(path), 3, 'numbers (frames, 68 or 81, 2)', path)


def load_faces(path: Path) -> PointsArray:
    """Read the landmarks of a frame.

    Args:
        path: A ``.npy`` file.

    Returns:
        (F, K, 2) float32, the main face first; F may be 0.

    Raises:
        InputError: If the file is missing, unreadable or has another shape.
    """
    array = _load_array(path)
    if array.size == 0:
        return np.zeros((0, LANDMARK_COUNTS[0], 2), np.float32)
    if array.ndim == 2:
        array = array[None]
    return _as_points(array, 3, 'numbers (68 or 81, 2) or (faces, 68 or 81, 2)', path)


def _load_array(path: Path) -> np.ndarray:
    try:
        if path.exists() and not path.is_file():
            raise OSError('not a file')
        with warnings.catch_warnings():
            # About a header that is nearly Python.
            warnings.simplefilter('ignore')
            # Mapped: a damaged header that promises more than the file holds is refused, not allocated.
            array = np.load(path, mmap_mode='r', allow_pickle=False)
    except _DAMAGE as error:
        raise InputError(f'landmarks {str(path)!r} cannot be read ({error})') from error
    if not isinstance(array, np.ndarray):
        array.close()
        raise InputError(f'landmarks {str(path)!r}: found an archive, expected one array (.npy)')
    return array


def _as_points(array: np.ndarray, ndim: int, expected: str, path: Path) -> PointsArray:
    shape_fits = array.ndim == ndim and array.shape[-2] in LANDMARK_COUNTS and array.shape[-1] == 2
    shape_fits = shape_fits and len(array) <= MAX_FRAMES
    if not shape_fits or array.dtype.kind not in 'fiu':
        raise InputError(f'landmarks {str(path)!r}: found {array.dtype} {array.shape}, expected {expected}')
    with np.errstate(over='ignore', invalid='ignore'):
        return np.array(array, np.float32)


def _parse_values(values: tuple[float, ...], frame: int) -> PointsArray:
    """Points of a list file, (1, K, 2)."""
    counts = [2 * count for count in LANDMARK_COUNTS]
    if len(values) not in counts:
        raise InputError(
            f'landmarks of frame {frame}: found {len(values)} numbers, expected {counts[0]} or {counts[1]}'
        )
    try:
        array = np.array(values, np.float64)
    except (ValueError, TypeError, OverflowError) as error:
        raise InputError(f'landmarks of frame {frame}: not numbers ({error})') from error
    with np.errstate(over='ignore', invalid='ignore'):
        return array.astype(np.float32).reshape(1, -1, 2)


def _check_files(landmarks: LandmarkFiles, source: FrameSource) -> None:
    for name in landmarks.names:
        path = PurePosixPath(name)
        if path.is_absolute() or '..' in path.parts or '\\' in name or '\0' in name or ':' in name:
            raise InputError(f'landmark file {name!r} does not stay inside the dataset')
    _check_count(len(landmarks.names), source)
    if not any(landmarks.names):
        raise InputError('no frame has landmarks')
    if not any((landmarks.folder / name).is_file() for name in landmarks.names if name):
        first = next(name for name in landmarks.names if name)
        raise InputError(f'no landmark file is there, e.g. {str(landmarks.folder / first)!r}')


def _check_count(count: int, source: FrameSource) -> None:
    if isinstance(source, ImageFiles | ArchiveImages) and count != len(source.numbers):
        raise InputError(f'landmarks of {count} frames for a video of {len(source.numbers)} frames')
