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
from iid_mm.faces.analyzers.base import Detection, Face, quiet_stderr
from iid_mm.faces.analyzers.regions import choose_near, cut_around, cut_window
from iid_mm.faces.analyzers.searching_analyzer import SearchingAnalyzer
from iid_mm.faces.cropping import landmarks_box

if TYPE_CHECKING:
    from iid_mm.utils.typing import BoxesArray, ImageArray, PointsArray

# The mesh graph searches the face again with a short-range detector, which needs to see the whole head: 60 %
# on each side of the detector's box (brows to chin) at first, then more, then less.
MESH_MARGINS = (0.6, 1.0, 0.35)
# The landmark model sees 192 px of the face, about two thirds of the crop.
MESH_SIDE = 320
# If a hint does not lead to a face, this much around it is searched by the detector.
HINT_MARGINS = (1.0, 2.0)
# Side of the detector's input.
DETECTION_SIDE = 192
# Larger images are shrunk first; the detector's own reduction skips pixels, and copying them costs more.
MAX_DETECTION_SIDE = 4096
DETECTION_SCORE = 0.4
MESH_SCORE = 0.3

# fmt: off
_JAW = [
    127, 234, 93, 132, 58, 172, 150, 176,  # 0-7: left temple down to the chin
    152,                                   # 8: chin
    400, 379, 397, 288, 361, 323, 454, 356,  # 9-16: chin up to the right temple
]
_BROWS = [
    70, 63, 105, 66, 107,     # 17-21: left brow, outer to inner end, upper edge
    336, 296, 334, 293, 300,  # 22-26: right brow, inner to outer end, upper edge
]
_NOSE = [
    168, 197, 5, 4,        # 27-30: bridge, from between the eyes to the tip
    98, 97, 2, 326, 327,   # 31-35: below the nostrils, left to right
]
_EYES = [
    33, 160, 158, 133, 153, 144,   # 36-41: left eye: outer corner, upper lid, inner, lower lid
    362, 385, 387, 263, 373, 380,  # 42-47: right eye: inner corner, upper lid, outer, lower lid
]
_MOUTH = [
    61, 39, 37, 0, 267, 269, 291,  # 48-54: left corner, upper edge of the upper lip, right corner
    321, 314, 17, 84, 91,          # 55-59: lower edge of the lower lip, right to left
    78, 81, 13, 311, 308,          # 60-64: left inner corner, lower edge of the upper lip, right
    402, 14, 178,                  # 65-67: upper edge of the lower lip, right to left
]
# fmt: on

MESH_TO_68 = np.array([*_JAW, *_BROWS, *_NOSE, *_EYES, *_MOUTH], dtype=np.int64)
"""(68,) vertex of MediaPipe's face mesh for each iBUG point.

The mesh has 468 vertices (478 with the irises); each iBUG point is the vertex at the same place of the face.
Where there is none (jaw, lips), it is the vertex nearest to the same fraction of the contour's length,
measured on the mean mesh of frontal faces. Left and right are those of the image.
"""


class MediapipeAnalyzer(SearchingAnalyzer):
    """The full-range face detector on the image, then the face mesh on a crop around each face.

    Args:
        max_faces: Maximum number of faces per image, those with the best scores; None for all.

    Raises:
        MissingExtraError: If MediaPipe is not installed.
    """

    # About the side of the detector's input.
    min_part = 170

    def __init__(self, max_faces: int | None = None) -> None:
        super().__init__(max_faces)
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
            # The libraries log during their first image.
            blank = np.zeros((64, 64, 3), np.uint8)
            self._detector.process(blank)
            self._mesh.process(blank)

    def _analyze_hint(self, image: ImageArray, hint: BoxesArray) -> list[Face]:
        """The face at a hint, or none: the mesh alone first, then the detector on the surroundings."""
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
            # Width times the coordinate already refers to pixel centers: the points of small faces lie
            # within 0.03 px of those of the mirrored image; with half a pixel subtracted, as for coordinates
            # of pixel edges, they lie 0.5 px off.
            landmarks = region.to_whole((points * (width, height)).astype(np.float32))
            if _same_face(landmarks, box):
                return landmarks
        return None


def _same_face(landmarks: PointsArray, box: BoxesArray) -> bool:
    """Whether the mesh found the face in the box and no other one: each center lies in the other's box."""
    found = landmarks_box(landmarks)
    for inner, outer in ((found, box), (box, found)):
        x, y = (inner[0] + inner[2]) / 2, (inner[1] + inner[3]) / 2
        if not (outer[0] <= x <= outer[2] and outer[1] <= y <= outer[3]):
            return False
    return True


def _import_solutions() -> tuple[Any, Any]:
    # Read when the libraries load: glog, absl and TensorFlow log errors only.
    os.environ.setdefault('GLOG_minloglevel', '2')
    os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')
    # MediaPipe calls a deprecated function of protobuf for every result.
    warnings.filterwarnings('ignore', message='SymbolDatabase.GetPrototype', category=UserWarning)
    try:
        from mediapipe.python.solutions import face_detection, face_mesh
    except ModuleNotFoundError as error:
        raise MissingExtraError.of('mediapipe', 'mediapipe') from error
    logging.getLogger('absl').setLevel(logging.ERROR)
    return face_detection, face_mesh
