# SPDX-License-Identifier: Apache-2.0
"""Analyzers that detect faces in the image, then find the landmarks of each face."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from iid_mm.faces.analyzers.base import Detection, Face, FaceAnalyzer, FrameRef
from iid_mm.faces.analyzers.regions import (
    cut_window,
    distinct_faces,
    keep_distinct,
    nested_parts,
    search_parts,
    square_parts,
)

if TYPE_CHECKING:
    from iid_mm.utils.typing import BoxesArray, ImageArray, PointsArray


class SearchingAnalyzer(FaceAnalyzer):
    """Detects faces in the image, then finds 68 landmarks of each.

    If the detector finds nothing in the whole image, overlapping square parts of it are searched.
    :meth:`analyze_all` always searches parts, also smaller ones, for faces of at least
    :data:`~iid_mm.faces.analyzers.regions.MIN_PART_FACE` pixels.

    Args:
        max_faces: Maximum number of faces per image, those with the best scores; None for all.

    Attributes:
        min_part: Side of the smallest parts, pixels.
    """

    min_part: ClassVar[int]

    def __init__(self, max_faces: int | None = None) -> None:
        super().__init__()
        self.max_faces = max_faces

    def analyze(
        self, image: ImageArray, hint_box: BoxesArray | None = None, *, where: FrameRef | None = None
    ) -> list[Face]:
        """Find faces; see :meth:`FaceAnalyzer.analyze`."""
        if hint_box is not None:
            return self._analyze_hint(image, hint_box)
        with self.clock('detection'):
            detections = self.limit(self._detect_with_parts(image), self.max_faces)
        return self._add_landmarks(image, detections)

    def analyze_all(self, image: ImageArray) -> list[Face]:
        """Find faces, also small ones beside large ones; see :meth:`FaceAnalyzer.analyze_all`."""
        with self.clock('detection'):
            windows = nested_parts(image.shape[1], image.shape[0], self.min_part)
            found = search_parts(image, self._detect_with_parts(image), windows, self._detect)
            detections = self.limit(found, self.max_faces)
        return distinct_faces(self._add_landmarks(image, detections))

    @abstractmethod
    def _detect(self, image: ImageArray) -> list[Detection]:
        """Faces that the detector finds in an image or a part of one."""

    @abstractmethod
    def _find_landmarks(self, image: ImageArray, box: BoxesArray) -> PointsArray | None:
        """(68, 2) landmarks of the face in a box, in pixels of the image; None if there are none."""

    @abstractmethod
    def _analyze_hint(self, image: ImageArray, hint: BoxesArray) -> list[Face]:
        """The face at a hint, or none."""

    def _detect_with_parts(self, image: ImageArray) -> list[Detection]:
        """Faces in the whole image, or else in its parts."""
        boxes = self._detect(image)
        if not boxes:
            for window in square_parts(image.shape[1], image.shape[0]):
                part = cut_window(image, window)
                boxes.extend((part.box_to_whole(box), score) for box, score in self._detect(part.image))
        return keep_distinct(boxes)

    def _add_landmarks(self, image: ImageArray, detections: Sequence[Detection]) -> list[Face]:
        """The detections whose landmarks are found."""
        with self.clock('landmarks'):
            found = [(box, score, self._find_landmarks(image, box)) for box, score in detections]
        return [Face(box, score, points) for box, score, points in found if points is not None]
