# SPDX-License-Identifier: Apache-2.0
"""The head in three dimensions: a bumpy ellipsoid and its projection.

The surface is ``radius(direction) * axes * direction``. Directions are points of the unit sphere
(x to the right side of the image, y down, z toward the viewer); on the sphere a point has
stereographic coordinates (X, Y), in which the face is nearly undistorted, the back of the head is
at infinity and radius map and texture are stored, both over [-EXTENT, EXTENT] squared.

Letters: K landmarks, H, W height and width of a map.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from iid_mm.toy.factors import Pose
    from iid_mm.toy.identity import Identity

Array = npt.NDArray[np.float32]

EXTENT = 2.0
RADIUS_MAP_SIZE = 256


def stereographic(points: npt.ArrayLike) -> Array:
    """Turn frontal (x, y) of the unit sphere's front half into stereographic coordinates.

    Args:
        points: (..., 2), x and y of directions that look toward the viewer.

    Returns:
        (..., 2) float32, X and Y.
    """
    xy = np.asarray(points, np.float32)
    z = np.sqrt(np.maximum(1 - (xy**2).sum(-1, keepdims=True), 1e-3))
    return np.asarray(xy / (1 + z), np.float32)


def direction(coordinates: Array) -> Array:
    """Turn stereographic coordinates (..., 2) into unit directions (..., 3)."""
    square = (coordinates**2).sum(-1, keepdims=True)
    joined = np.concatenate([2 * coordinates, 1 - square], axis=-1) / (1 + square)
    return np.asarray(joined, np.float32)


def direction_grid(size: int) -> Array:
    """Directions of the pixel centers of a map, (size, size, 3)."""
    axis = ((np.arange(size, dtype=np.float32) + 0.5) / size * 2 - 1) * EXTENT
    grid = np.stack(np.meshgrid(axis, axis), axis=-1)
    return direction(grid)


def map_position(coordinates: Array, size: int) -> Array:
    """Pixel position of stereographic coordinates in a map of size x size."""
    scale = np.float32(size / (2 * EXTENT))
    return np.asarray((coordinates + EXTENT) * scale - 0.5, np.float32)


def bump(grid: Array, x: float, y: float, width: float, height: float) -> Array:
    """Gaussian bump at frontal (x, y) on the front half of the sphere, (H, W) in 0 to 1."""
    front = smoothstep(-0.1, 0.25, grid[..., 2])
    square = ((grid[..., 0] - x) / width) ** 2 + ((grid[..., 1] - y) / height) ** 2
    return np.asarray(np.exp(-square) * front, np.float32)


def smoothstep(low: float, high: float, value: Array) -> Array:
    """Rise smoothly from 0 at ``low`` to 1 at ``high`` (either order)."""
    t = np.clip((value - low) / (high - low), 0, 1)
    return np.asarray(t * t * (3 - 2 * t), np.float32)


def ear_mask(identity: Identity, grid: Array) -> Array:
    """Soft mask of both ears, (H, W); zero where the hair style hides them."""
    if identity.hair_style in ('medium', 'long'):
        return np.zeros(grid.shape[:2], np.float32)
    size = identity.ear_size
    along = ((grid[..., 1] - 0.10) / (0.20 * size)) ** 2
    across = ((grid[..., 2] + 0.12 - 0.15 * (grid[..., 1] - 0.1)) / (0.13 * size)) ** 2
    side = smoothstep(0.6, 0.8, np.abs(grid[..., 0]))
    return np.asarray(np.exp(-((along + across) ** 2)) * side, np.float32)


def radius_maps(identity: Identity, hair: Array) -> tuple[Array, Array]:
    """Radius of the head in every direction.

    Args:
        identity: The person.
        hair: (H, H) cover of the hair in 0 to 1, H = ``RADIUS_MAP_SIZE``.

    Returns:
        The radius map (H, H) of the closed mouth and what a fully dropped jaw adds to it.
    """
    grid = direction_grid(RADIUS_MAP_SIZE)
    x, y, z = grid[..., 0], grid[..., 1], grid[..., 2]
    front = smoothstep(-0.1, 0.25, z)
    radius = np.ones_like(x)
    length = identity.nose_length
    ridge = np.interp(y, (-0.12, 0.0, length - 0.03, length + 0.02, length + 0.07),
                      (0.0, 0.05, 1.0, 0.75, 0.0))  # fmt: skip
    spread = np.interp(y, (-0.1, 0.1, length), (0.07, 0.075, 0.11 * identity.nose_width))
    radius += (identity.nose_height * ridge * np.exp(-((x / spread) ** 2)) * front).astype('f')
    for side in (-1, 1):
        wing = 0.115 * identity.nose_width * side
        radius += 0.055 * bump(grid, wing, length - 0.01, 0.05, 0.05)
        eye = identity.eye_distance * side
        radius -= 0.055 * bump(grid, eye, 0.0, 0.2, 0.12)
        radius += 0.030 * bump(grid, eye, 0.0, 0.11, 0.06)
        radius += 0.030 * bump(grid, eye * 1.05, -0.21, 0.28, 0.09)
        radius += (identity.cheek + 0.02) * bump(grid, 0.5 * side, 0.26, 0.24, 0.18)
        radius -= 0.025 * bump(grid, 0.5 * side, 0.55, 0.2, 0.18)
        jaw = 0.3 * (identity.jaw_width - 0.05)
        radius += jaw * bump(grid, 0.78 * side, 0.66, 0.34, 0.3) * 2
    radius += 0.05 * bump(grid, 0.0, identity.mouth_y, 0.34, 0.16)
    radius += 0.02 * bump(grid, 0.0, identity.mouth_y + 0.03, 0.2, 0.07)
    radius -= 0.02 * bump(grid, 0.0, identity.mouth_y + 0.15, 0.2, 0.05)
    radius += identity.chin * bump(grid, 0.0, 0.86, 0.3, 0.16)
    radius += 0.16 * identity.ear_size * ear_mask(identity, grid) * (1 - hair)
    volume = identity.hair_volume * {'bald': 0.0, 'buzz': 0.25}.get(identity.hair_style, 1.0)
    crown = 1 + 0.6 * smoothstep(0.0, -0.9, y)
    radius += volume * crown * hair
    drop = 0.11 * smoothstep(0.45, 0.95, y) * smoothstep(-0.3, 0.35, z)
    return np.asarray(radius, np.float32), np.asarray(drop, np.float32)


def rotation(pose: Pose) -> Array:
    """Rotation matrix head -> camera, (3, 3)."""
    yaw, pitch, roll = np.radians([pose.yaw, pose.pitch, pose.roll])
    sin, cos = np.sin, np.cos
    turn = np.array([[cos(yaw), 0, sin(yaw)], [0, 1, 0], [-sin(yaw), 0, cos(yaw)]])
    nod = np.array([[1, 0, 0], [0, cos(pitch), sin(pitch)], [0, -sin(pitch), cos(pitch)]])
    tilt = np.array([[cos(roll), -sin(roll), 0], [sin(roll), cos(roll), 0], [0, 0, 1]])
    return np.asarray(tilt @ turn @ nod, np.float32)


def project(coordinates: Array, radius: Array, axes: Array, pose: Pose, size: int) -> tuple[Array, Array]:
    """Project points of the surface into the image.

    Args:
        coordinates: (K, 2) stereographic.
        radius: (H, H) radius map.
        axes: (3,) half axes of the ellipsoid.
        pose: The pose.
        size: Width and height of the image in pixels.

    Returns:
        Pixels (K, 2) and depths (K,) toward the viewer, in head units.
    """
    place = map_position(coordinates, radius.shape[0])[None]
    at = cv2.remap(radius, place, None, cv2.INTER_LINEAR)[0]
    points = direction(coordinates) * at[:, None] * axes
    turned = points @ rotation(pose).T
    center = np.array([pose.x, pose.y], np.float32) * size - 0.5
    pixels = turned[:, :2] * np.float32(pose.scale * size) + center
    return np.asarray(pixels, np.float32), np.asarray(turned[:, 2], np.float32)
