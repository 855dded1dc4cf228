# SPDX-License-Identifier: Apache-2.0
"""The head in three dimensions: a bumpy ellipsoid, its landmarks, projection and ray casting.

The surface is ``radius(direction) * axes * direction``. Directions are points of the unit sphere
(x to the right side of the image, y down, z towards the viewer); on the sphere a point has
stereographic coordinates (X, Y), in which the face is nearly undistorted, the back of the head is
at infinity and radius map and texture are stored, both over [-EXTENT, EXTENT] squared.

Letters: K landmarks, H, W height and width of a map.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
import numpy.typing as npt

from iid_mm.toy.factors import Expression, Pose

if TYPE_CHECKING:
    from iid_mm.toy.identity import Identity

Array = npt.NDArray[np.float32]

EXTENT = 2.0
RADIUS_MAP_SIZE = 256
_SHELLS = 8

# Jaw line from the image's left ear to the chin, frontal view (x, y); mirrored for the other side.
_JAW = (
    (-0.955, -0.03), (-0.945, 0.15), (-0.91, 0.33), (-0.855, 0.49), (-0.765, 0.63),
    (-0.64, 0.745), (-0.48, 0.83), (-0.26, 0.885), (0.0, 0.905),
)  # fmt: skip


def stereographic(points: npt.ArrayLike) -> Array:
    """Turn frontal (x, y) of the unit sphere's front half into stereographic coordinates.

    Args:
        points: (..., 2), x and y of directions that look towards the viewer.

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
    """Directions of the pixel centres of a map, (size, size, 3)."""
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


def landmark_coordinates(identity: Identity, expression: Expression) -> Array:
    """Stereographic coordinates of the 68 iBUG landmarks, (68, 2)."""
    left = np.array(_JAW)
    jaw = np.concatenate([left, (left * (-1, 1))[-2::-1]])
    points = np.concatenate(
        [jaw, _brows(identity, expression), _nose(identity), _eyes(identity, expression),
         _mouth(identity, expression)]
    )  # fmt: skip
    return stereographic(points)


def _mirror(left: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Mirror points of the left half and reverse their order."""
    return (left * (-1, 1))[::-1]


def _brows(identity: Identity, expression: Expression) -> npt.NDArray[np.float64]:
    """Points 17 to 26."""
    along = np.linspace(0, 1, 5)
    x = -(identity.eye_distance + 0.23) + along * 0.42
    arch = identity.brow_arch * (1 - (2 * along - 0.8) ** 2)
    lift = expression.brow * (0.045 + 0.02 * along)
    frown = np.minimum(expression.brow, 0) * 0.03 * along
    left = np.stack([x - frown, -identity.brow_height - arch - lift], axis=1)
    return np.concatenate([left, _mirror(left)])


def _nose(identity: Identity) -> npt.NDArray[np.float64]:
    """Points 27 to 35."""
    length = identity.nose_length
    bridge = np.stack([np.zeros(4), np.linspace(-0.03, length - 0.035, 4)], axis=1)
    half = 0.135 * identity.nose_width
    x = np.array([-1, -0.5, 0, 0.5, 1]) * half
    y = length + np.array([0.02, 0.045, 0.055, 0.045, 0.02])
    return np.concatenate([bridge, np.stack([x, y], axis=1)])


def _eyes(identity: Identity, expression: Expression) -> npt.NDArray[np.float64]:
    """Points 36 to 47."""
    half, height, slant = identity.eye_width, identity.eye_height, identity.eye_slant
    height = height * (1 + 0.15 * expression.brow) * (1 - 0.2 * max(expression.smile, 0))
    lower = 0.75 * height
    upper = -height + expression.blink * (height + 0.85 * lower)
    left = np.array(
        [(-half, -slant), (-0.4 * half, upper), (0.4 * half, upper), (half, slant + 0.012),
         (0.4 * half, lower), (-0.4 * half, lower)]
    )  # fmt: skip
    left[:, 0] -= identity.eye_distance
    right = (left * (-1, 1))[[3, 2, 1, 0, 5, 4]]
    return np.concatenate([left, right])


def _mouth(identity: Identity, expression: Expression) -> npt.NDArray[np.float64]:
    """Points 48 to 67."""
    smile, parting = expression.smile, expression.mouth_open
    half = identity.mouth_width * (1 + 0.2 * smile - 0.12 * parting)
    upper = identity.lip_upper * (1 - 0.25 * max(smile, 0))
    lower = identity.lip_lower * (1 - 0.15 * max(smile, 0))
    lift, gap_up, gap_down = 0.055 * smile, 0.02 * parting, 0.115 * parting
    outer_left = np.array(
        [(-1.0, -lift + 0.3 * gap_down), (-0.6, -0.66 * upper - 0.4 * lift - gap_up),
         (-0.22, -1.05 * upper - gap_up)]
    )  # fmt: skip
    top = np.array([(0.0, -0.85 * upper - gap_up)])
    low_left = np.array(
        [(-0.3, 0.95 * lower + gap_down), (-0.65, 0.62 * lower - 0.4 * lift + gap_down)]
    )
    bottom = np.array([(0.0, lower * 1.03 + gap_down)])
    inner_left = np.array([(-0.86, -0.9 * lift + 0.3 * gap_down), (-0.36, -0.15 * lift - gap_up)])
    inner_low = np.array([(-0.36, 0.003 - 0.15 * lift + gap_down)])
    points = np.concatenate(
        [outer_left, top, _mirror(outer_left), _mirror(low_left)[::-1][::-1], bottom, low_left,
         inner_left, [(0.0, -gap_up)], _mirror(inner_left), _mirror(inner_low),
         [(0.0, 0.006 + gap_down)], inner_low]
    )  # fmt: skip
    points[:, 0] *= half
    points[:, 1] += identity.mouth_y
    return points


def rotation(pose: Pose) -> Array:
    """Rotation matrix head -> camera, (3, 3)."""
    yaw, pitch, roll = np.radians([pose.yaw, pose.pitch, pose.roll])
    sin, cos = np.sin, np.cos
    turn = np.array([[cos(yaw), 0, sin(yaw)], [0, 1, 0], [-sin(yaw), 0, cos(yaw)]])
    nod = np.array([[1, 0, 0], [0, cos(pitch), sin(pitch)], [0, -sin(pitch), cos(pitch)]])
    tilt = np.array([[cos(roll), -sin(roll), 0], [sin(roll), cos(roll), 0], [0, 0, 1]])
    return np.asarray(tilt @ turn @ nod, np.float32)


def project(
    coordinates: Array, radius: Array, axes: Array, pose: Pose, size: int
) -> tuple[Array, Array]:
    """Project points of the surface into the image.

    Args:
        coordinates: (K, 2) stereographic.
        radius: (H, H) radius map.
        axes: (3,) half axes of the ellipsoid.
        pose: The pose.
        size: Width and height of the image in pixels.

    Returns:
        Pixels (K, 2) and depths (K,) towards the viewer, in head units.
    """
    place = map_position(coordinates, radius.shape[0])[None]
    at = cv2.remap(radius, place, None, cv2.INTER_LINEAR)[0]
    points = direction(coordinates) * at[:, None] * axes
    turned = points @ rotation(pose).T
    centre = np.array([pose.x, pose.y], np.float32) * size - 0.5
    pixels = turned[:, :2] * np.float32(pose.scale * size) + centre
    return np.asarray(pixels, np.float32), np.asarray(turned[:, 2], np.float32)


@dataclass(frozen=True)
class Hits:
    """What the rays of a window of pixels meet.

    Args:
        x0: First column of the window.
        y0: First row of the window.
        coordinates: (H, W, 2) stereographic coordinates of the surface.
        depth: (H, W) depth towards the viewer in pixels.
        inside: (H, W) signed distance to the outline in pixels, positive on the head.
    """

    x0: int
    y0: int
    coordinates: Array
    depth: Array
    inside: Array


def cast_rays(radius: Array, axes: Array, pose: Pose, size: int) -> Hits:
    """Find the visible point of the head in every pixel around it.

    Walks from the largest ellipsoidal shell inwards and stops at the first that lies below the
    surface, so that the nose hides the cheek behind it.

    Args:
        radius: (H, H) radius map.
        axes: (3,) half axes of the ellipsoid.
        pose: The pose.
        size: Width and height of the image in pixels.

    Returns:
        The hits of a window around the head.
    """
    unit = pose.scale * size
    centre = (pose.x * size - 0.5, pose.y * size - 0.5)
    largest, smallest = float(radius.max()), float(radius.min()) - 0.005
    to_head = rotation(pose)
    reach = [unit * largest * float(np.linalg.norm(row * axes)) for row in to_head[:2]]
    x0, y0 = (max(int(c - r) - 2, 0) for c, r in zip(centre, reach, strict=True))
    x1, y1 = (min(int(c + r) + 3, size) for c, r in zip(centre, reach, strict=True))
    right, down, ahead = (row / axes for row in to_head)
    u = ((np.arange(x0, x1, dtype=np.float32) - centre[0]) / unit)[None, :, None]
    v = ((np.arange(y0, y1, dtype=np.float32) - centre[1]) / unit)[:, None, None]
    base = (u * right + v * down).astype(np.float32)
    qx, qy, qz = (np.ascontiguousarray(base[..., i]) for i in range(3))
    alpha = float(ahead @ ahead)
    beta = qx * ahead[0] + qy * ahead[1] + qz * ahead[2]
    rest = beta * beta - np.float32(alpha) * (qx * qx + qy * qy + qz * qz)

    def locate(at: Array | float, time: Array) -> tuple[Array, Array]:
        """Stereographic coordinates of the points at ``time`` on the rays."""
        below = 1 / np.maximum(at + qz + time * ahead[2], np.float32(0.05))
        return (qx + time * ahead[0]) * below, (qy + time * ahead[1]) * below

    def reach_at(at: Array) -> Array:
        """Time at which the rays enter the shells ``at``."""
        root = np.sqrt(np.maximum(rest + np.float32(alpha) * at * at, 0))
        return np.asarray((root - beta) / np.float32(alpha), np.float32)

    def look_up(cx: Array, cy: Array) -> Array:
        """Radius of the surface in these directions."""
        scale = np.float32(radius.shape[0] / (2 * EXTENT))
        shift = np.float32(EXTENT * radius.shape[0] / (2 * EXTENT) - 0.5)
        surface: Array = cv2.remap(
            radius, cx * scale + shift, cy * scale + shift, cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )  # fmt: skip
        return surface

    # Shells from the largest down to the one that a ray only touches, denser towards it: there a
    # small step in radius is a long one along the ray.
    closest = np.sqrt(np.maximum(-rest, 0) / np.float32(alpha))
    last = np.maximum(closest, smallest)
    hit_x, hit_y = locate(closest, -beta / np.float32(alpha))
    depth = -beta / np.float32(alpha)
    inside = np.full(qx.shape, -1.0, np.float32)
    found = np.zeros(qx.shape, bool)
    gap, shell = inside, last
    for k in range(_SHELLS):
        before, outer = gap, shell
        share = np.float32((1 - k / (_SHELLS - 1)) ** 2)
        shell = last + np.maximum(largest + 0.005 - last, 0) * share
        gap = look_up(*locate(shell, reach_at(shell))) - shell
        inside = np.maximum(inside, gap)
        new = (gap >= 0) & ~found
        if k and new.any():
            # Between this shell and the one before the surface is crossed as the gaps tell.
            part = gap / np.maximum(gap - before, 1e-6)
            at = shell + part * (outer - shell)
            time = reach_at(at)
            fine_x, fine_y = locate(at, time)
            hit_x, hit_y = np.where(new, fine_x, hit_x), np.where(new, fine_y, hit_y)
            depth = np.where(new, time, depth)
        found |= new
    coordinates = np.stack([hit_x, hit_y], axis=-1)
    inside = inside * np.float32(unit * float(axes[0]))
    return Hits(x0, y0, coordinates, depth * np.float32(unit), inside)
