# SPDX-License-Identifier: Apache-2.0
"""Faces and landmarks with MediaPipe, whose models come with the package."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from iid_mm.errors import MissingExtraError
from iid_mm.preparation.analysers.base import Face, FaceAnalyser, FrameRef
from iid_mm.preparation.analysers.mesh68 import MESH_TO_68
from iid_mm.preparation.cropping import crop_window, landmarks_box

if TYPE_CHECKING:
    from iid_mm.utils.typing import BoxesArray, ImageArray, PointsArray

# The mesh graph searches the face again with a short-range detector, which wants to see the whole
# head: 60 % on each side of the detector's box (brows to chin) at first, then more, then less.
MESH_MARGINS = (0.6, 1.0, 0.35)
# The landmark model looks at 192 px of the face, about two thirds of the crop.
MESH_SIDE = 320
DETECTION_SCORE = 0.4
MESH_SCORE = 0.3


class MediapipeAnalyser(FaceAnalyser):
    """Full-range face detector on the image, then the face mesh on a crop around each face.

    Where the detector finds nothing in the whole image (its input is 192 px, so small faces of
    large frames are lost), it looks at overlapping square parts.

    Args:
        max_faces: How many faces of an image are analysed, by score.

    Raises:
        MissingExtraError: If MediaPipe is not installed.
    """

    def __init__(self, max_faces: int = 4) -> None:
        super().__init__()
        self.max_faces = max_faces
        with _quiet():
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

    def analyse(
        self,
        image: ImageArray,
        hint_box: BoxesArray | None = None,
        *,
        where: FrameRef | None = None,
    ) -> list[Face]:
        """Find faces.

        Args:
            image: (H, W, 3) uint8 BGR.
            hint_box: (4,) box of this analyser in a frame with the same scene; skips the detector.
            where: Not used.

        Returns:
            The faces with 68 landmarks, by score. With a hint: one face or none, with score 0,
            since the detector has not seen it.
        """
        if hint_box is not None:
            boxes = [(hint_box, 0.0)]
        else:
            with self.clock('detection'):
                boxes = self._detect_with_parts(image)[: self.max_faces]
        faces = []
        with self.clock('landmarks'):
            for box, score in boxes:
                landmarks = self._find_landmarks(image, box)
                if landmarks is not None:
                    faces.append(Face(box, score, landmarks))
        return faces

    def _detect_with_parts(self, image: ImageArray) -> list[tuple[BoxesArray, float]]:
        boxes = self._detect(image)
        if boxes:
            return boxes
        for x0, y0, x1, y1 in square_parts(image.shape[1], image.shape[0]):
            offset = np.array([x0, y0, x0, y0], np.float32)
            part = np.ascontiguousarray(image[y0:y1, x0:x1])
            boxes.extend((box + offset, score) for box, score in self._detect(part))
        return sorted(boxes, key=lambda item: -item[1])

    def _detect(self, image: ImageArray) -> list[tuple[BoxesArray, float]]:
        height, width = image.shape[:2]
        found = self._detector.process(cv2.cvtColor(image, cv2.COLOR_BGR2RGB)).detections or []
        boxes = []
        for detection in found:
            box = detection.location_data.relative_bounding_box
            corners = [box.xmin, box.ymin, box.xmin + box.width, box.ymin + box.height]
            scaled = np.array(corners, np.float32) * (width, height, width, height) - 0.5
            boxes.append((scaled.astype(np.float32), float(detection.score[0])))
        return sorted(boxes, key=lambda item: -item[1])

    def _find_landmarks(self, image: ImageArray, box: BoxesArray) -> PointsArray | None:
        """Landmarks of the face in a box, in pixels of the image; None if the mesh finds none."""
        for margin in MESH_MARGINS:
            window = crop_window(box, (image.shape[1], image.shape[0]), margin)
            if window is None:
                continue
            x0, y0, x1, y1 = window
            crop = cv2.cvtColor(image[y0:y1, x0:x1], cv2.COLOR_BGR2RGB)
            scale = MESH_SIDE / max(crop.shape[:2])
            if scale < 1:
                size = (round(crop.shape[1] * scale), round(crop.shape[0] * scale))
                crop = cv2.resize(crop, size, interpolation=cv2.INTER_AREA)
            found = self._mesh.process(crop).multi_face_landmarks
            if not found:
                continue
            points = np.array([(p.x, p.y) for p in found[0].landmark], np.float64)[MESH_TO_68]
            moved = points * (x1 - x0, y1 - y0) + (x0 - 0.5, y0 - 0.5)
            landmarks = moved.astype(np.float32)
            if _same_face(landmarks, box):
                return landmarks
        return None


def square_parts(width: int, height: int) -> list[tuple[int, int, int, int]]:
    """Cut an image into overlapping squares, in which a detector of fixed input sees more.

    Args:
        width: Width of the image.
        height: Height of the image.

    Returns:
        Windows x0, y0, x1, y1 with sides of 0.6 of the shorter side of the image, row by row, that
        cover the image and overlap by a third or more.
    """
    side = max(round(0.6 * min(width, height)), 1)

    def starts(length: int) -> list[int]:
        steps = max(int(np.ceil((length - side) / (side * 2 / 3))), 0)
        return [round(step * (length - side) / max(steps, 1)) for step in range(steps + 1)]

    return [(x, y, x + side, y + side) for y in starts(height) for x in starts(width)]


def _same_face(landmarks: PointsArray, box: BoxesArray) -> bool:
    """Whether the mesh did not slip to another face: each centre lies in the other's box."""
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


@contextmanager
def _quiet() -> Iterator[None]:
    """Drop what libraries write to the standard error of the process, past Python's ``sys.stderr``.

    What they write while they start cannot be switched off otherwise: it comes before their logging
    is set up. Set the environment variable ``IID_DEBUG=1`` to see it.
    """
    if os.environ.get('IID_DEBUG') == '1':
        yield
        return
    kept = os.dup(2)
    sink = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(sink, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(sink)
        os.close(kept)
