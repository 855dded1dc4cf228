# SPDX-License-Identifier: Apache-2.0
"""Landmarks, similarity maps, hulls, windows and mirror images.

K points a face (68 iBUG points, or 81 with 13 forehead points after them), (x, y) in pixels; integer
coordinates are pixel centers. Matrices are (2, 3) float64 and map (x, y) to (x, y).
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from iid_mm.datasets.index import LANDMARK_COUNTS
from iid_mm.errors import InputError
from iid_mm.utils.typing import BoxesArray, FloatArray, ImageArray, PointsArray, Size

Matrix = npt.NDArray[np.float64]
BinaryMask = npt.NDArray[np.uint8]
"""(H, W) uint8, 0 or 1."""
Window = tuple[int, int, int, int]
"""x0, y0, x1, y1; x1 and y1 are exclusive."""

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


def check_landmarks(landmarks: object, name: str = 'landmarks') -> None:
    """Check the landmarks of one face.

    Args:
        landmarks: What should be a (K, 2) array of finite numbers.
        name: How to call it in the message.

    Raises:
        InputError: If it is not.
    """
    shape = getattr(landmarks, 'shape', None)
    if not isinstance(landmarks, np.ndarray) or shape not in [(k, 2) for k in LANDMARK_COUNTS]:
        raise InputError(
            f'{name} has shape {shape}: expected (68, 2) or (81, 2), x and y in pixels of the crop'
        )
    if not np.isfinite(landmarks).all():
        raise InputError(f'{name} holds NaN or infinite values: leave such faces out of the index')


def fit_similarity(source: FloatArray, target: FloatArray) -> Matrix:
    """Best scale, rotation and shift, without reflection, in the least squares sense.

    Read as complex numbers, the points obey ``target = a * source + b``; this is a linear problem in
    ``a`` and ``b``, whose solution is the one of Umeyama without reflections.

    Args:
        source: (n, 2) points, n >= 2.
        target: (n, 2) points.

    Returns:
        (2, 3) matrix.

    Raises:
        InputError: If all source points are the same.
    """
    src = source[:, 0] + 1j * source[:, 1]
    dst = target[:, 0] + 1j * target[:, 1]
    centered = src - src.mean()
    spread = float(np.vdot(centered, centered).real)
    if not spread > 1e-9:
        raise InputError('landmarks: the points of the face coincide, so it cannot be aligned')
    a = np.vdot(centered, dst - dst.mean()) / spread
    b = dst.mean() - a * src.mean()
    return np.array([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag]])


def compose(second: Matrix, first: Matrix) -> Matrix:
    """Matrix that applies ``first`` and then ``second``, all (2, 3)."""
    linear = second[:, :2] @ first
    linear[:, 2] += second[:, 2]
    return linear


def transform_points(points: FloatArray, matrix: Matrix) -> PointsArray:
    """Move points, (n, 2), with a (2, 3) matrix; returns float32."""
    moved: PointsArray = (points @ matrix[:, :2].T + matrix[:, 2]).astype(np.float32)
    return moved


def warp_image(image: ImageArray, matrix: Matrix, size: Size) -> ImageArray:
    """Draw an image on the canvas; what lies outside the image is black.

    Args:
        image: (H, W, 3).
        matrix: (2, 3), image to canvas.
        size: Canvas (w, h).

    Returns:
        (h, w, 3) uint8. Reductions by more than 2 are first done by area, since bilinear
        interpolation would skip pixels.
    """
    zoom = float(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))
    if zoom < 0.5 and min(image.shape[:2]) > 1:
        factor = 2 * zoom
        height, width = image.shape[:2]
        reduced = (max(1, round(width * factor)), max(1, round(height * factor)))
        image = cv2.resize(image, reduced, interpolation=cv2.INTER_AREA)
        fx, fy = reduced[0] / width, reduced[1] / height
        # Pixel centers: x of the image is (x' + 0.5) / fx - 0.5 of the reduced one.
        undo = np.array([[1 / fx, 0, 0.5 / fx - 0.5], [0, 1 / fy, 0.5 / fy - 0.5]])
        matrix = compose(matrix, undo)
    warped: ImageArray = cv2.warpAffine(image, matrix, size, flags=cv2.INTER_LINEAR)
    return warped


def hull_mask(landmarks: PointsArray, size: Size) -> BinaryMask:
    """Fill the convex hull of the landmarks.

    Args:
        landmarks: (K, 2) pixels; points outside the canvas are allowed.
        size: Canvas (w, h).

    Returns:
        (h, w) uint8, 1 inside the hull and on its edge.
    """
    mask = np.zeros((size[1], size[0]), dtype=np.uint8)
    # Far-away points would overflow the fixed-point arithmetic of the polygon filler.
    limit = 8 * max(size)
    points = np.rint(np.clip(landmarks, -limit, limit)).astype(np.int32)
    cv2.fillConvexPoly(mask, cv2.convexHull(points), 1)
    return mask


def window_mask(mask: BinaryMask, window: Window, margin: int = 0) -> BinaryMask:
    """Keep of a mask what lies inside a window.

    Args:
        mask: (H, W).
        window: x0, y0, x1, y1; x1 and y1 are exclusive.
        margin: Leave out this many pixels along the edge of what remains, so that a feather of that
            width stays inside the window.

    Returns:
        (H, W) uint8.
    """
    x0, y0, x1, y1 = window
    part = mask[y0:y1, x0:x1]
    if margin:
        side = 2 * margin + 1
        kernel = np.ones((side, side), dtype=np.uint8)
        # The border counts as outside: the mask must shrink at the edge of the window too.
        part = cv2.erode(part, kernel, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    result = np.zeros_like(mask)
    result[y0:y1, x0:x1] = part
    return result


def bounding_window(mask: BinaryMask, margin: int = 0) -> Window | None:
    """Smallest window around a mask.

    Args:
        mask: (H, W).
        margin: Pixels to add on every side; the result is clipped to the image.

    Returns:
        x0, y0, x1, y1 (x1 and y1 exclusive), or None for an empty mask.
    """
    x, y, width, height = cv2.boundingRect(mask)
    if not width:
        return None
    rows, columns = mask.shape
    return (
        max(0, x - margin),
        max(0, y - margin),
        min(columns, x + width + margin),
        min(rows, y + height + margin),
    )


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
