# SPDX-License-Identifier: Apache-2.0
"""Hide the face of an aligned picture, so that only what surrounds it is left."""

from __future__ import annotations

import cv2
import numpy as np

from iid_mm.datasets.functional.geometry import hull_mask
from iid_mm.utils.typing import PointsArray, Results

FILL = 127
"""Gray put over the face: a mean color would tell the skin's."""
_CENTER, _AXES = (0.5, 0.6), (0.38, 0.5)
_DILATION = 0.04


def face_region(landmarks: PointsArray, size: tuple[int, int]) -> np.ndarray:
    """Where a face is: landmark hull with forehead, widened, and an ellipse that is the same for all faces.

    The ellipse, which covers most hulls of faces aligned to the template, keeps the outline from telling
    the shape of the face.

    Args:
        landmarks: (K, 2) x and y in pixels of the picture; the first 68 are iBUG's.
        size: Width and height in pixels.

    Returns:
        (h, w) uint8, 1 where the face is.
    """
    # Without forehead points: the brows, moved up by the length of the nose.
    up = landmarks[27] - landmarks[33]
    forehead = landmarks[17:27] + 1.2 * up
    mask = hull_mask(np.concatenate([landmarks, forehead]).astype(np.float32), size)
    kernel = 2 * max(1, round(_DILATION * min(size))) + 1
    mask = cv2.dilate(mask, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (kernel, kernel)))
    center = (round(_CENTER[0] * size[0]), round(_CENTER[1] * size[1]))
    axes = (round(_AXES[0] * size[0]), round(_AXES[1] * size[1]))
    filled: np.ndarray = cv2.ellipse(mask, center, axes, 0, 0, 360, 1, -1)
    return filled


class HideFace:
    """Pipeline step after ``AlignFace`` that paints the face gray."""

    def __call__(self, results: Results) -> Results:
        """Paint over ``img`` by ``landmarks``."""
        image = results['img'].copy()
        image[face_region(results['landmarks'], (image.shape[1], image.shape[0])) > 0] = FILL
        results['img'] = image
        return results

    def __repr__(self) -> str:
        return 'HideFace()'
