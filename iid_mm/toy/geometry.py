# SPDX-License-Identifier: Apache-2.0
"""The head in three dimensions: a bumpy ellipsoid, its projection, and which point of it each pixel shows.

The surface is ``radius(direction) * axes * direction``. Directions are points of the unit sphere
(x to the right side of the image, y down, z toward the viewer); on the sphere a point has
stereographic coordinates (X, Y), in which the face is nearly undistorted, the back of the head is
at infinity and radius map and texture are stored, both over [-EXTENT, EXTENT] squared.

Letters: K landmarks, H, W height and width of a map or of a window of pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
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
_SHELLS = 8


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
        The radius map (H, H) of the closed mouth and its increase with a fully dropped jaw.
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


# Rays


@dataclass(frozen=True)
class Hits:
    """Where the rays of a window of pixels meet the head.

    Args:
        x0: First column of the window.
        y0: First row of the window.
        coordinates: (H, W, 2) stereographic coordinates of the surface.
        depth: (H, W) depth toward the viewer in pixels.
        inside: (H, W) about the distance to the outline in pixels, positive on the head.
    """

    x0: int
    y0: int
    coordinates: Array
    depth: Array
    inside: Array


class _Rays:
    """Parallel rays in the space in which the head's ellipsoid is the unit sphere.

    Args:
        u: (W,) columns in head units from the head's center.
        v: (H,) rows in head units from the head's center.
        to_head: (3, 3) rotation head -> camera.
        axes: (3,) half axes of the ellipsoid.
        radius: Radius map of the head.
    """

    def __init__(self, u: Array, v: Array, to_head: Array, axes: Array, radius: Array) -> None:
        right, down, self.ahead = (row / axes for row in to_head)
        self.start = [np.asarray(u[None] * right[i] + v[:, None] * down[i], np.float32) for i in range(3)]
        x, y, z = self.start
        self.alpha = np.float32(self.ahead @ self.ahead)
        self.beta = x * self.ahead[0] + y * self.ahead[1] + z * self.ahead[2]
        self.rest = self.beta * self.beta - self.alpha * (x * x + y * y + z * z)
        self.radius = radius

    def closest(self) -> Array:
        """Radius of the shell that each ray only touches, (H, W)."""
        return np.asarray(np.sqrt(np.maximum(-self.rest, 0) / self.alpha), np.float32)

    def enter(self, shell: Array) -> tuple[Array, Array, Array]:
        """Where the rays enter shells of the given radii (H, W).

        Returns:
            Time on the ray and stereographic coordinates X and Y, (H, W) each; rays that miss
            their shell give the point where they come closest to the center.
        """
        root = np.sqrt(np.maximum(self.rest + self.alpha * shell * shell, 0))
        time = (root - self.beta) / self.alpha
        x, y, z = self.start
        below = 1 / np.maximum(shell + z + time * self.ahead[2], np.float32(0.05))
        return time, (x + time * self.ahead[0]) * below, (y + time * self.ahead[1]) * below

    def surface(self, x: Array, y: Array) -> Array:
        """Radius of the head at stereographic coordinates, (H, W)."""
        size = self.radius.shape[0]
        scale, shift = np.float32(size / (2 * EXTENT)), np.float32(size / 2 - 0.5)
        found: Array = cv2.remap(
            self.radius, x * scale + shift, y * scale + shift, cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )  # fmt: skip
        return found


def cast_rays(radius: Array, axes: Array, pose: Pose, size: int) -> Hits:
    """Find the visible point of the head in every pixel around it.

    Walks from the largest ellipsoidal shell inwards and stops at the first that lies below the
    surface, so that the nose hides the cheek behind it.

    Args:
        radius: Radius map of the head.
        axes: (3,) half axes of the ellipsoid.
        pose: The pose.
        size: Width and height of the image in pixels.

    Returns:
        The hits of a window around the head.
    """
    unit = pose.scale * size
    center = (pose.x * size - 0.5, pose.y * size - 0.5)
    to_head = rotation(pose)
    # The margin below keeps the lowest points of the surface well inside, hence opaque.
    largest, smallest = float(radius.max()) + 0.005, float(radius.min()) - 0.06
    reach = [unit * largest * float(np.linalg.norm(row * axes)) for row in to_head[:2]]
    low = [min(max(int(c - r) - 2, 0), size - 1) for c, r in zip(center, reach, strict=True)]
    high = [max(min(int(c + r) + 3, size), 1) for c, r in zip(center, reach, strict=True)]
    u, v = (
        ((np.arange(low[i], max(high[i], low[i] + 1)) - center[i]) / unit).astype(np.float32)
        for i in range(2)
    )
    rays = _Rays(u, v, to_head, axes, radius)
    # The last shell is the one that a ray only touches, or the smallest; shells lie denser
    # toward it, because there a small step in radius is a long one along the ray.
    closest = rays.closest()
    last = np.maximum(closest, np.float32(smallest))
    span = np.maximum(np.float32(largest) - last, 0)
    depth, hit_x, hit_y = rays.enter(closest)
    inside = gap = np.full(last.shape, -1.0, np.float32)
    found = np.zeros(last.shape, bool)
    shell = last
    for k in range(_SHELLS):
        before, outer = gap, shell
        shell = last + span * np.float32((1 - k / (_SHELLS - 1)) ** 2)
        _, x, y = rays.enter(shell)
        gap = rays.surface(x, y) - shell
        inside = np.maximum(inside, gap)
        new = (gap >= 0) & ~found
        if k and new.any():
            # Between this shell and the one before the surface is crossed where the gap is 0.
            part = gap / np.maximum(gap - before, np.float32(1e-6))
            time, x, y = rays.enter(shell + part * (outer - shell))
            hit_x, hit_y = np.where(new, x, hit_x), np.where(new, y, hit_y)
            depth = np.where(new, time, depth)
        found |= new
    coordinates = np.stack([hit_x, hit_y], axis=-1)
    inside = inside * np.float32(unit * float(axes[0]))
    return Hits(low[0], low[1], coordinates, depth * np.float32(unit), inside)
