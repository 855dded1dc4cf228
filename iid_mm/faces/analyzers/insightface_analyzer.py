# SPDX-License-Identifier: Apache-2.0
"""Faces and landmarks with insightface's ``buffalo_l``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from iid_mm.faces.analyzers.base import Detection, Face, FaceAnalyzer, FrameRef
from iid_mm.faces.analyzers.insightface_models import find_models, load_models
from iid_mm.faces.analyzers.regions import (
    MAX_ASPECT,
    choose_near,
    cut_around,
    cut_window,
    distinct_faces,
    keep_distinct,
    nested_parts,
    search_parts,
    square_parts,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from iid_mm.utils.typing import BoxesArray, ImageArray, PointsArray

# Sides of the detector's input: the small one is for faces that fill the image.
INPUT_SIDES = (128, 640)
# Side of the smallest parts: the detector's larger input shows them at half their size.
MIN_PART = 1280
DETECTION_SCORE = 0.5
# Around a hint: margin in units of the box, and sides of the input. What is cut out is enlarged to them.
HINT_SEARCHES = ((0.5, (128, 320)), (1.0, (128, 640)), (2.0, (640,)))
# A face is expected there, so that less evidence is needed.
HINT_SCORE = 0.3


class InsightFaceAnalyzer(FaceAnalyzer):
    """SCRFD finds faces, the 68-point model of ``1k3d68`` looks at a crop around each.

    Where the detector finds nothing in the whole image, it looks at overlapping square parts;
    :meth:`analyze_all` looks at parts of large images always. The models
    must be there already; :func:`iid_mm.faces.analyzers.check_analyzer` fetches them. Their weights
    are for non-commercial research only.

    Args:
        model_dir: Folder of the models: the one with the files, or one with ``models/buffalo_l``. None
            takes the environment variable ``INSIGHTFACE_HOME``, else ``~/.insightface``.
        device: ``auto``, ``cpu`` or ``cuda``.
        max_faces: How many faces of an image are analyzed, by score; None analyzes all.

    Raises:
        FileNotFoundError: If a model is missing.
        InputError: If a model is damaged, or ``cuda`` is asked for and not there.
        MissingExtraError: If insightface or onnxruntime is not installed.
    """

    def __init__(
        self, model_dir: Path | None = None, device: str = 'auto', max_faces: int | None = None
    ) -> None:
        super().__init__()
        self.max_faces = max_faces
        self._detector, self._landmarks = load_models(find_models(model_dir), device)
        self._landmarks.require_pose = False

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
            hint_box: (4,) box of this analyzer in a frame with the same scene; the detector looks at what
                is around it, enlarged, and with a lower threshold.
            where: Not used.

        Returns:
            The faces with 68 landmarks, by score. With a hint: the face nearest to it, or none.
        """
        with self.clock('detection'):
            if hint_box is None:
                detections = self.limit(self._detect_with_parts(image), self.max_faces)
            else:
                detections = self._detect_near(image, hint_box)
        return self._add_landmarks(image, detections)

    def analyze_all(self, image: ImageArray) -> list[Face]:
        """Find faces, small ones beside large ones too, from :data:`~regions.MIN_PART_FACE` pixels on.

        See :meth:`FaceAnalyzer.analyze_all`.
        """
        with self.clock('detection'):
            windows = nested_parts(image.shape[1], image.shape[0], MIN_PART)
            detections = search_parts(
                image,
                self._detect_with_parts(image),
                windows,
                lambda part: self._detect(part, INPUT_SIDES, DETECTION_SCORE),
            )
            detections = self.limit(detections, self.max_faces)
        return distinct_faces(self._add_landmarks(image, detections))

    def _add_landmarks(self, image: ImageArray, detections: Sequence[Detection]) -> list[Face]:
        with self.clock('landmarks'):
            faces = [Face(box, score, self._find_landmarks(image, box)) for box, score in detections]
        return [face for face in faces if np.isfinite(face.landmarks).all()]

    def _detect_with_parts(self, image: ImageArray) -> list[Detection]:
        boxes = self._detect(image, INPUT_SIDES, DETECTION_SCORE)
        if not boxes:
            for window in square_parts(image.shape[1], image.shape[0]):
                part = cut_window(image, window)
                found = self._detect(part.image, INPUT_SIDES, DETECTION_SCORE)
                boxes.extend((part.box_to_whole(box), score) for box, score in found)
        return keep_distinct(boxes)

    def _detect_near(self, image: ImageArray, hint: BoxesArray) -> list[Detection]:
        for margin, sides in HINT_SEARCHES:
            region = cut_around(image, hint, margin)
            if region is None:
                continue
            found = self._detect(region.image, sides, HINT_SCORE)
            chosen = choose_near([(region.box_to_whole(box), score) for box, score in found], hint)
            if chosen is not None:
                return [chosen]
        return []

    def _detect(self, image: ImageArray, sides: Sequence[int], threshold: float) -> list[Detection]:
        """Run the detector; it fits the image into squares of the given sides."""
        # It cannot shrink a strip to less than a pixel.
        if max(image.shape[:2]) > MAX_ASPECT * min(image.shape[:2]):
            return []
        sizes = [(side, side) for side in sides]
        found, _ = self._detector.detect(image, input_size=sizes, det_thresh=threshold)
        found = found[np.isfinite(found).all(axis=1)].astype(np.float32)
        # From pixel edges, as the detector scales its boxes, to pixel centers.
        return [(row[:4] - np.float32(0.5), float(row[4])) for row in found]

    def _find_landmarks(self, image: ImageArray, box: BoxesArray) -> PointsArray:
        """The 68 iBUG points of a face, in pixels of the image."""
        from insightface.app.common import Face as Detected

        points = self._landmarks.get(image, Detected(bbox=box + np.float32(0.5)))
        return np.asarray(points[:, :2], np.float32)
