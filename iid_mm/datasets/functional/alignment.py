# SPDX-License-Identifier: Apache-2.0
"""Put a face on the canvas: five points, template, similarity transform, jitter, warp.

K points a face (68 iBUG points, or 81 with 13 forehead points after them). Matrices are (2, 3) float64
and map (x, y) of the stored crop to (x, y) of the canvas; integer coordinates are pixel centers.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from iid_mm.datasets.index import LANDMARK_COUNTS
from iid_mm.errors import InputError
from iid_mm.utils.typing import FloatArray, ImageArray, PointsArray, Size

Matrix = npt.NDArray[np.float64]

CANVAS = 224
"""Side of the square canvas on which the templates are given."""

# The mean face of the reference: left eye, right eye, nose tip, left and right corner of the mouth (left in
# the image), in units in which its eyes are 0.34967 apart; at scale 1 they are 80 px apart on the canvas.
_MEAN_FACE = np.array(
    [
        (-0.17607, -0.172844),
        (0.1736, -0.17356),
        (-0.00182, 0.0357164),
        (-0.14617, 0.20185),
        (0.14496, 0.19943),
    ]
)
_EYE_DISTANCE = 80 / (CANVAS * 0.34967)
_EYE_HEIGHT = CANVAS / 2.42
_MAX_SCALE = 2.5


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


def five_points(landmarks: FloatArray) -> FloatArray:
    """Reduce landmarks to the points of the template.

    Args:
        landmarks: (K, 2) pixels.

    Returns:
        (5, 2) float64: centers of the left and right eye (means of points 36-41 and 42-47), tip of
        the nose (30), corners of the mouth (48 and 54).
    """
    points = np.asarray(landmarks, dtype=np.float64)
    eyes = points[36:48].reshape(2, 6, 2).mean(axis=1)
    return np.concatenate([eyes, points[[30, 48, 54]]])


def template(size: Size, scale: float = 0.9) -> FloatArray:
    """Where the five points belong on a canvas.

    Horizontally the points move away from the middle of the canvas in proportion to the scale. Vertically
    the left eye stays at its height, and what lies below it moves down faster than in proportion, so that
    the face fills the lower part of the canvas.

    Args:
        size: Canvas (w, h); the square of its shorter side is centered on it.
        scale: Size of the face; the reference uses 0.9.

    Returns:
        (5, 2) float64 pixels, in the order of :func:`five_points`.

    Raises:
        InputError: If the scale is not above 0, or so large that the eyes would leave the canvas.
    """
    if not 0 < scale <= _MAX_SCALE:
        raise InputError(f'scale={scale!r}: must lie in (0, {_MAX_SCALE}]; the reference uses 0.9')
    x, y = (0.5 + scale * _EYE_DISTANCE * _MEAN_FACE).T
    points = np.stack([CANVAS * x, _EYE_HEIGHT * y / y[0]], axis=1)
    side = min(size)
    return points * (side / CANVAS) + (np.asarray(size, dtype=np.float64) - side) / 2


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


def jitter_matrix(
    size: Size,
    shift: tuple[float, float] = (0.0, 0.0),
    rotation: float = 0.0,
    stretch: tuple[float, float] = (1.0, 1.0),
) -> Matrix:
    """Movement of the aligned canvas: stretch, then rotation, both about its center, then shift.

    Args:
        size: Canvas (w, h).
        shift: Pixels to the right and down.
        rotation: Degrees; positive turns the x axis toward the y axis.
        stretch: Factors along x and y.

    Returns:
        (2, 3) matrix, canvas to canvas.
    """
    angle = np.deg2rad(rotation)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    linear = turn * np.asarray(stretch)
    center = (np.asarray(size, dtype=np.float64) - 1) / 2
    offset = center + np.asarray(shift) - linear @ center
    return np.concatenate([linear, offset[:, None]], axis=1)


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
