# SPDX-License-Identifier: Apache-2.0
"""Faces and landmarks with MediaPipe, whose models come with the package."""

from __future__ import annotations

import logging
import os
import warnings
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from iid_mm.errors import MissingExtraError
from iid_mm.faces.analyzers.base import Detection, Face, FaceAnalyzer, FrameRef
from iid_mm.faces.analyzers.mesh68 import MESH_TO_68
from iid_mm.faces.analyzers.quiet import quiet_stderr
from iid_mm.faces.analyzers.regions import (
    choose_near,
    cut_around,
    cut_window,
    distinct_faces,
    keep_distinct,
    nested_parts,
    search_parts,
    square_parts,
)
from iid_mm.faces.cropping import landmarks_box

if TYPE_CHECKING:
    from collections.abc import Sequence

    from iid_mm.utils.typing import BoxesArray, ImageArray, PointsArray

# The mesh graph searches the face again with a short-range detector, which wants to see the whole
# head: 60 % on each side of the detector's box (brows to chin) at first, then more, then less.
MESH_MARGINS = (0.6, 1.0, 0.35)
# The landmark model looks at 192 px of the face, about two thirds of the crop.
MESH_SIDE = 320
# Where a hint does not lead to a face, the detector looks at this much around it.
HINT_MARGINS = (1.0, 2.0)
# The detector looks at 192 px.
DETECTION_SIDE = 192
# Larger images are shrunk first; the detector's own reduction skips pixels, and copying them costs more.
MAX_DETECTION_SIDE = 4096
# Side of the smallest parts: about what the detector looks at.
MIN_PART = 170
DETECTION_SCORE = 0.4
MESH_SCORE = 0.3


class MediapipeAnalyzer(FaceAnalyzer):
    """Full-range face detector on the image, then the face mesh on a crop around each face.

    Where the detector finds nothing in the whole image (its input is 192 px, so small faces of
    large frames are lost), it looks at overlapping square parts; :meth:`analyze_all` looks at them always,
    and at smaller ones.

    Args:
        max_faces: How many faces of an image are analyzed, by score; None analyzes all.

    Raises:
        MissingExtraError: If MediaPipe is not installed.
    """

    def __init__(self, max_faces: int | None = None) -> None:
        super().__init__()
        self.max_faces = max_faces
        with quiet_stderr():
            detection, mesh = _import_solutions()
            self._detector = detection.FaceDetection(
                model_selection=1, min_detection_confidence=DETECTION_SCORE
            )
            # Static: no tracking from one image to the next, so that the order does not matter.
            self._mesh = mesh.FaceMesh(
                static_image_mode=True,
                max_num_faces=1,
                refine_landmarks=True,
                min_detection_confidence=MESH_SCORE,
            )
            # The libraries log on their first image.
            blank = np.zeros((64, 64, 3), np.uint8)
            self._detector.process(blank)
            self._mesh.process(blank)

    def analyze(
        self,
        image: ImageArray,
        hint_box: BoxesArray | None = None,
        *,
        where: FrameRef | None = None,
    ) -> list[Face]:
        """Find faces.

        Args:
            image: (H, W, 3) uint8 BGR.
            hint_box: (4,) box of this analyzer in a frame with the same scene; skips the detector, unless
                the landmark model finds no face there.
            where: Not used.

        Returns:
            The faces with 68 landmarks, by score. With a hint: one face or none, with score 0
            where the detector was not asked.
        """
        if hint_box is not None:
            return self._analyze_hint(image, hint_box)
        with self.clock('detection'):
            detections = self.limit(self._detect_with_parts(image), self.max_faces)
        return self._add_landmarks(image, detections)

    def analyze_all(self, image: ImageArray) -> list[Face]:
        """Find faces, small ones beside large ones too, from :data:`~regions.MIN_PART_FACE` pixels on.

        See :meth:`FaceAnalyzer.analyze_all`.
        """
        with self.clock('detection'):
            windows = nested_parts(image.shape[1], image.shape[0], MIN_PART)
            detections = search_parts(image, self._detect_with_parts(image), windows, self._detect)
            detections = self.limit(detections, self.max_faces)
        return distinct_faces(self._add_landmarks(image, detections))

    def _add_landmarks(self, image: ImageArray, detections: Sequence[Detection]) -> list[Face]:
        faces = []
        with self.clock('landmarks'):
            for box, score in detections:
                landmarks = self._find_landmarks(image, box)
                if landmarks is not None:
                    faces.append(Face(box, score, landmarks))
        return faces

    def _analyze_hint(self, image: ImageArray, hint: BoxesArray) -> list[Face]:
        """The face at a hint: the mesh alone first, then the detector on what is around."""
        with self.clock('landmarks'):
            landmarks = self._find_landmarks(image, hint)
        if landmarks is not None:
            return [Face(hint, 0.0, landmarks)]
        for margin in HINT_MARGINS:
            region = cut_around(image, hint, margin, min_side=2 * DETECTION_SIDE)
            if region is None:
                continue
            with self.clock('detection'):
                found = [(region.box_to_whole(box), score) for box, score in self._detect(region.image)]
            chosen = choose_near(found, hint)
            if chosen is None:
                continue
            with self.clock('landmarks'):
                landmarks = self._find_landmarks(image, chosen[0])
            if landmarks is not None:
                return [Face(*chosen, landmarks)]
        return []

    def _detect_with_parts(self, image: ImageArray) -> list[Detection]:
        boxes = self._detect(image)
        if not boxes:
            for window in square_parts(image.shape[1], image.shape[0]):
                part = cut_window(image, window)
                boxes.extend((part.box_to_whole(box), score) for box, score in self._detect(part.image))
        return keep_distinct(boxes)

    def _detect(self, image: ImageArray) -> list[Detection]:
        height, width = image.shape[:2]
        if max(height, width) > MAX_DETECTION_SIDE:
            whole = cut_window(image, (0, 0, width, height), max_side=MAX_DETECTION_SIDE // 2)
            return [(whole.box_to_whole(box), score) for box, score in self._detect(whole.image)]
        found = self._detector.process(cv2.cvtColor(image, cv2.COLOR_BGR2RGB)).detections or []
        boxes = []
        for detection in found:
            box = detection.location_data.relative_bounding_box
            corners = [box.xmin, box.ymin, box.xmin + box.width, box.ymin + box.height]
            scaled = np.array(corners, np.float32) * (width, height, width, height) - 0.5
            boxes.append((scaled.astype(np.float32), float(detection.score[0])))
        return boxes

    def _find_landmarks(self, image: ImageArray, box: BoxesArray) -> PointsArray | None:
        """Landmarks of the face in a box, in pixels of the image; None if the mesh finds none."""
        for margin in MESH_MARGINS:
            # Small crops are not enlarged: that changes neither how many are found nor how exactly.
            region = cut_around(image, box, margin, max_side=MESH_SIDE)
            if region is None:
                continue
            found = self._mesh.process(cv2.cvtColor(region.image, cv2.COLOR_BGR2RGB)).multi_face_landmarks
            if not found:
                continue
            points = np.array([(p.x, p.y) for p in found[0].landmark], np.float64)[MESH_TO_68]
            height, width = region.image.shape[:2]
            # Width times the coordinate is the place of a pixel center already: so the points of small
            # faces lie within 0.03 px of those of the mirrored picture; with half a pixel taken away, as
            # coordinates of pixel edges would ask for, they lie 0.5 px off.
            landmarks = region.to_whole((points * (width, height)).astype(np.float32))
            if _same_face(landmarks, box):
                return landmarks
        return None


def _same_face(landmarks: PointsArray, box: BoxesArray) -> bool:
    """Whether the mesh did not slip to another face: each center lies in the other's box."""
    found = landmarks_box(landmarks)
    for inner, outer in ((found, box), (box, found)):
        x, y = (inner[0] + inner[2]) / 2, (inner[1] + inner[3]) / 2
        if not (outer[0] <= x <= outer[2] and outer[1] <= y <= outer[3]):
            return False
    return True


def _import_solutions() -> tuple[Any, Any]:
    # Read when the libraries load: keep glog, absl and TensorFlow to errors.
    os.environ.setdefault('GLOG_minloglevel', '2')
    os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')
    # MediaPipe calls a function that protobuf has deprecated on every result.
    warnings.filterwarnings('ignore', message='SymbolDatabase.GetPrototype', category=UserWarning)
    try:
        from mediapipe.python.solutions import face_detection, face_mesh
    except ModuleNotFoundError as error:
        raise MissingExtraError.of('mediapipe', 'mediapipe') from error
    logging.getLogger('absl').setLevel(logging.ERROR)
    return face_detection, face_mesh
