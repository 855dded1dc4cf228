# SPDX-License-Identifier: Apache-2.0
"""Warps, masks and color statistics that the manipulations share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import numpy.typing as npt

from iid_mm.toy.geometry import Array

if TYPE_CHECKING:
    from iid_mm.utils.typing import ImageArray, PointsArray

_GRID = 28
"""Cells a side on which a warp is computed before it is enlarged to all pixels."""
_CORNERS = np.array([[0, 0], [0, 1], [1, 0], [1, 1], [0.5, 0], [0.5, 1], [0, 0.5], [1, 0.5]])


def fit_similarity(source: PointsArray, target: PointsArray) -> Array:
    """Least-squares similarity that takes points to points.

    Args:
        source: (n, 2) points.
        target: (n, 2) points.

    Returns:
        (2, 3) matrix.
    """
    center_s, center_t = source.mean(0), target.mean(0)
    s = (source - center_s) @ np.array([1, 1j])
    t = (target - center_t) @ np.array([1, 1j])
    factor = np.vdot(s, t) / np.vdot(s, s).real
    linear = np.array([[factor.real, -factor.imag], [factor.imag, factor.real]])
    matrix = np.concatenate([linear, (center_t - linear @ center_s)[:, None]], axis=1)
    return np.asarray(matrix, np.float32)


def move_points(matrix: Array, points: PointsArray) -> PointsArray:
    """Apply a (2, 3) matrix to (n, 2) points."""
    return np.asarray(points @ matrix[:, :2].T + matrix[:, 2], np.float32)


def warp_points(image: ImageArray, points: PointsArray, goal: PointsArray) -> ImageArray:
    """Warp an image with a thin-plate spline so that ``points`` come to lie on ``goal``.

    Args:
        image: (H, W, 3) uint8.
        points: (n, 2) positions in the image, pixels.
        goal: (n, 2) positions in the result, pixels.

    Returns:
        (H, W, 3) uint8; the image's border stays where it is.
    """
    height, width = image.shape[:2]
    border = _CORNERS * (width - 1, height - 1)
    known = np.concatenate([goal, border]).astype(np.float64) / width
    shift = np.concatenate([points - goal, np.zeros_like(border)]) / width
    count = len(known)
    system = np.zeros((count + 3, count + 3))
    # A little slack: neighboring landmarks of closed lips would fold the plane.
    system[:count, :count] = _plate(known, known) + 1e-5 * np.eye(count)
    system[:count, count:] = np.c_[np.ones(count), known]
    system[count:, :count] = system[:count, count:].T
    weights = np.linalg.solve(system, np.concatenate([shift, np.zeros((3, 2))]))
    cells = ((np.arange(_GRID) + 0.5) * (height / _GRID) - 0.5) / width
    across = ((np.arange(_GRID) + 0.5) * (width / _GRID) - 0.5) / width
    nodes = np.stack(np.meshgrid(across, cells), axis=-1).reshape(-1, 2)
    field = np.c_[_plate(nodes, known), np.ones(len(nodes)), nodes] @ weights * width
    field = field.reshape(_GRID, _GRID, 2).astype(np.float32)
    dense = cv2.resize(field, (width, height), interpolation=cv2.INTER_CUBIC)
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    warped: ImageArray = cv2.remap(
        image, x + dense[..., 0], y + dense[..., 1], cv2.INTER_CUBIC,
        borderMode=cv2.BORDER_REPLICATE,
    )  # fmt: skip
    return warped


def _plate(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Thin-plate kernel between two sets of points."""
    square = ((a[:, None] - b[None]) ** 2).sum(-1)
    return np.asarray(0.5 * square * np.log(square + 1e-12))


def hull_mask(points: PointsArray, size: int, inset: float, feather: float) -> Array:
    """Blending weights of the convex hull of points.

    Args:
        points: (n, 2) pixels.
        size: Width and height of the image.
        inset: Pixels by which the hull is shrunk, negative grows it.
        feather: Half width in pixels of the soft edge.

    Returns:
        (size, size) float32: 1 inside, 0 outside, smooth between.
    """
    hull = cv2.convexHull(np.rint(points * 16).astype(np.int32))
    solid = np.zeros((size, size), np.uint8)
    cv2.fillConvexPoly(solid, hull, 255, cv2.LINE_8, 4)
    inner = cv2.distanceTransform(solid, cv2.DIST_L2, 5)
    outer = cv2.distanceTransform(255 - solid, cv2.DIST_L2, 5)
    depth = (inner - outer - inset) / max(feather, 0.5)
    t = np.clip(0.5 + 0.5 * depth, 0, 1)
    return np.asarray(t * t * (3 - 2 * t), np.float32)


def add_upsampling_pattern(image: ImageArray, amplitude: float, period: int = 4) -> ImageArray:
    """Add the faint grid that a generator's transposed convolutions leave.

    Args:
        image: (H, W, 3) uint8.
        amplitude: Largest change, gray levels.
        period: Distance between the grid's crests, pixels.

    Returns:
        (H, W, 3) uint8.
    """
    height, width = image.shape[:2]
    across = np.cos(2 * np.pi * np.arange(width) / period)
    down = np.cos(2 * np.pi * np.arange(height) / period)
    pattern = (amplitude * np.outer(down, across)).astype(np.float32)
    return np.clip(np.rint(image + pattern[..., None]), 0, 255).astype(np.uint8)


def sample_coarsely(image: ImageArray, step: int) -> ImageArray:
    """Read an image at every few pixels only, without interpolation, as coarse texture mapping does.

    Args:
        image: (H, W, 3) uint8.
        step: Edge of the blocks that get one color, pixels.

    Returns:
        (H, W, 3) uint8.
    """
    height, width = image.shape[:2]
    rows, columns = np.arange(height) // step * step, np.arange(width) // step * step
    return np.ascontiguousarray(image[rows[:, None], columns])


def composite(
    genuine: ImageArray, forged: ImageArray, weight: Array
) -> tuple[ImageArray, npt.NDArray[np.uint8]]:
    """Blend a forged image into the genuine one.

    Args:
        genuine: (H, W, 3) uint8.
        forged: (H, W, 3) uint8.
        weight: (H, W) in 0 to 1.

    Returns:
        The blend, equal to ``genuine`` where the mask is 0, and the mask (H, W) of 0 and 255.
    """
    weight = np.where(weight < 1 / 255, 0, weight).astype(np.float32)
    mixed = genuine + weight[..., None] * (forged.astype(np.float32) - genuine)
    mask = np.where(weight > 0, 255, 0).astype(np.uint8)
    return np.clip(np.rint(mixed), 0, 255).astype(np.uint8), mask
