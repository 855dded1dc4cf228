# SPDX-License-Identifier: Apache-2.0
"""Faces and landmarks with insightface's ``buffalo_l``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from iid_mm.faces.analyzers.base import Detection, Face
from iid_mm.faces.analyzers.insightface_models import find_models, load_models
from iid_mm.faces.analyzers.regions import MAX_ASPECT, choose_near, cut_around
from iid_mm.faces.analyzers.searching_analyzer import SearchingAnalyzer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from iid_mm.utils.typing import BoxesArray, ImageArray, PointsArray

# Sides of the detector's input: the small one is for faces that fill the image.
INPUT_SIDES = (128, 640)
DETECTION_SCORE = 0.5
# Around a hint: margin in units of the box, and sides of the input. The crop is enlarged to them.
HINT_SEARCHES = ((0.5, (128, 320)), (1.0, (128, 640)), (2.0, (640,)))
# A face is expected there, so that less evidence is needed.
HINT_SCORE = 0.3


class InsightFaceAnalyzer(SearchingAnalyzer):
    """SCRFD detects faces, the 68-point model of ``1k3d68`` finds the landmarks in a crop around each.

    The models must be there already; :func:`iid_mm.faces.analyzers.check_analyzer` downloads them. Their
    weights are for non-commercial research only.

    Args:
        model_dir: Folder of the models: the one with the files, or one with ``models/buffalo_l``. None
            uses the environment variable ``INSIGHTFACE_HOME``, or else ``~/.insightface``.
        device: ``auto``, ``cpu`` or ``cuda``.
        max_faces: Maximum number of faces per image, those with the best scores; None for all.

    Raises:
        FileNotFoundError: If a model is missing.
        InputError: If a model is damaged, or ``cuda`` is not available.
        MissingExtraError: If insightface or onnxruntime is not installed.
    """

    # The larger input of the detector shows these parts at half their size.
    min_part = 1280

    def __init__(
        self, model_dir: Path | None = None, device: str = 'auto', max_faces: int | None = None
    ) -> None:
        super().__init__(max_faces)
        self._detector, self._landmarks = load_models(find_models(model_dir), device)
        self._landmarks.require_pose = False

    def _analyze_hint(self, image: ImageArray, hint: BoxesArray) -> list[Face]:
        with self.clock('detection'):
            detections = self._detect_near(image, hint)
        return self._add_landmarks(image, detections)

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

    def _detect(
        self, image: ImageArray, sides: Sequence[int] = INPUT_SIDES, threshold: float = DETECTION_SCORE
    ) -> list[Detection]:
        """Run the detector, which fits the image into squares of the given sides."""
        # It cannot shrink a strip to less than a pixel.
        if max(image.shape[:2]) > MAX_ASPECT * min(image.shape[:2]):
            return []
        sizes = [(side, side) for side in sides]
        found, _ = self._detector.detect(image, input_size=sizes, det_thresh=threshold)
        found = found[np.isfinite(found).all(axis=1)].astype(np.float32)
        # From pixel edges, as the detector scales its boxes, to pixel centers.
        return [(row[:4] - np.float32(0.5), float(row[4])) for row in found]

    def _find_landmarks(self, image: ImageArray, box: BoxesArray) -> PointsArray | None:
        from insightface.app.common import Face as Detected

        points = self._landmarks.get(image, Detected(bbox=box + np.float32(0.5)))
        landmarks = np.asarray(points[:, :2], np.float32)
        return landmarks if np.isfinite(landmarks).all() else None
