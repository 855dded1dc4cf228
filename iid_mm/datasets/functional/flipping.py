# SPDX-License-Identifier: Apache-2.0
"""Mirror points, boxes and matrices left to right on a canvas of given width."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from iid_mm.utils.typing import BoxesArray, PointsArray

_PAIRS_68 = [
    *((i, 16 - i) for i in range(8)),  # jaw
    *((i, 43 - i) for i in range(17, 22)),  # brows
    *((31, 35), (32, 34)),  # nostrils
    *((36, 45), (37, 44), (38, 43), (39, 42), (40, 47), (41, 46)),  # eyes
    *((48, 54), (49, 53), (50, 52), (55, 59), (56, 58)),  # outer lips
    *((60, 64), (61, 63), (65, 67)),  # inner lips
]
# The order of dlib's 81-point model: not from left to right.
_PAIRS_FOREHEAD = [(77, 78), (75, 74), (76, 79), (68, 73), (69, 72), (70, 80)]


def _swap(count: int, pairs: list[tuple[int, int]]) -> npt.NDArray[np.intp]:
    order = np.arange(count)
    for left, right in pairs:
        order[left], order[right] = right, left
    return order


MIRRORED = {68: _swap(68, _PAIRS_68), 81: _swap(81, _PAIRS_68 + _PAIRS_FOREHEAD)}
"""For K landmarks, the index of each point's mirror image, (K,)."""


def flip_landmarks(landmarks: PointsArray, width: int) -> PointsArray:
    """Mirror landmarks, (K, 2) with K 68 or 81, and rename left to right."""
    flipped = landmarks[MIRRORED[len(landmarks)]]
    # Integer coordinates are pixel centers: the mirror of column 0 is column width - 1.
    flipped[:, 0] = width - 1 - flipped[:, 0]
    return flipped


def flip_boxes(boxes: BoxesArray, width: int) -> BoxesArray:
    """Mirror boxes, (n, 4) xyxy; their coordinates are pixel edges, from 0 to ``width``."""
    flipped = boxes.copy()
    flipped[:, [0, 2]] = width - boxes[:, [2, 0]]
    return flipped


def flip_matrix(matrix: npt.NDArray[np.float64], width: int) -> npt.NDArray[np.float64]:
    """Append the mirroring to a (2, 3) matrix that leads to the canvas."""
    flipped = matrix.copy()
    flipped[0] *= -1
    flipped[0, 2] += width - 1
    return flipped
