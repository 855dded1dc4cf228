# SPDX-License-Identifier: Apache-2.0
"""Which point of the head does each pixel see?

Letters: H, W size of the window of pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from iid_mm.toy.geometry import EXTENT, rotation

if TYPE_CHECKING:
    from iid_mm.toy.factors import Pose
    from iid_mm.toy.geometry import Array

_SHELLS = 8


@dataclass(frozen=True)
class Hits:
    """What the rays of a window of pixels meet.

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
            # Between this shell and the one before the surface is crossed as the gaps tell.
            part = gap / np.maximum(gap - before, np.float32(1e-6))
            time, x, y = rays.enter(shell + part * (outer - shell))
            hit_x, hit_y = np.where(new, x, hit_x), np.where(new, y, hit_y)
            depth = np.where(new, time, depth)
        found |= new
    coordinates = np.stack([hit_x, hit_y], axis=-1)
    inside = inside * np.float32(unit * float(axes[0]))
    return Hits(low[0], low[1], coordinates, depth * np.float32(unit), inside)
