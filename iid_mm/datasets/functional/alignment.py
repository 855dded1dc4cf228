# SPDX-License-Identifier: Apache-2.0
"""Where a face belongs on the canvas: five points, template, jitter.

K points a face (68 iBUG points, or 81 with 13 forehead points after them). Matrices and coordinates are
those of :mod:`~iid_mm.datasets.functional.geometry`.
"""

from __future__ import annotations

import numpy as np

from iid_mm.datasets.functional.geometry import Matrix
from iid_mm.errors import InputError
from iid_mm.utils.typing import FloatArray, Size

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
