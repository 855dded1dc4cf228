# SPDX-License-Identifier: Apache-2.0
"""Render one frame: identity, pose, expression, light and background in, image out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from iid_mm.toy.features import paint_features
from iid_mm.toy.geometry import EXTENT, Array, Hits, cast_rays, project
from iid_mm.toy.scene import Background, paint_background, paint_body
from iid_mm.toy.skin import build_head

if TYPE_CHECKING:
    from iid_mm.toy.factors import Expression, Light, Pose
    from iid_mm.toy.identity import Identity
    from iid_mm.utils.typing import ImageArray, PointsArray

SUPERSAMPLING = 2


def render_frame(
    identity: Identity,
    pose: Pose,
    expression: Expression,
    light: Light,
    background: Background,
    size: int,
) -> tuple[ImageArray, PointsArray]:
    """Render one frame as an ideal camera sees it.

    Args:
        identity: The person.
        pose: Position and turn of the head.
        expression: The expression.
        light: The light.
        background: Background and clothes.
        size: Width and height of the frame in pixels.

    Returns:
        The frame (size, size, 3) uint8 BGR and its 68 landmarks, (68, 2) float32 pixels (x, y).
    """
    head = build_head(identity, size)
    texture, coordinates = paint_features(head, expression)
    radius = head.radius + np.float32(expression.jaw) * head.jaw_drop
    hits = cast_rays(radius, head.axes, pose, size)
    fine = size * SUPERSAMPLING
    warm = light.warmth * np.array([-0.10, 0.0, 0.10], np.float32) + 1
    canvas = paint_background(background, fine).astype(np.float32)
    canvas *= warm * np.float32(0.55 + 0.5 * light.ambient + 0.2 * light.strength)
    facing = warm * np.float32(light.ambient + 0.72 * light.strength)
    paint_body(canvas, head, pose, background, light, facing)
    _lay_head(canvas, hits, texture, head.hair, light, warm)
    frame = cv2.resize(canvas, (size, size), interpolation=cv2.INTER_AREA)
    # Highlights roll off as on film instead of clipping.
    over = np.maximum(frame - 175, 0)
    frame -= over * (1 - 75 / (75 + over))
    landmarks, _ = project(coordinates, radius, head.axes, pose, size)
    return np.clip(np.rint(frame), 0, 255).astype(np.uint8), landmarks


def _lay_head(canvas: Array, hits: Hits, texture: ImageArray, hair: Array, light: Light, warm: Array) -> None:
    """Shade the head and lay it over the canvas, which is changed in place."""
    height, width = hits.depth.shape
    wide = (width * SUPERSAMPLING, height * SUPERSAMPLING)
    scale = np.float32(texture.shape[0] / (2 * EXTENT))
    place = cv2.resize((hits.coordinates + np.float32(EXTENT)) * scale - np.float32(0.5), wide)
    albedo = cv2.remap(texture, place, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    coarse = cv2.remap(
        hair, (hits.coordinates + np.float32(EXTENT)) * scale - np.float32(0.5), None,
        cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE,
    )  # fmt: skip
    diffuse, shine = _shade(hits, light, coarse)
    diffuse, shine = cv2.resize(diffuse, wide), cv2.resize(shine, wide)
    cover = np.clip(cv2.resize(hits.inside, wide) * SUPERSAMPLING + 0.5, 0, 1)[..., None]
    color = albedo * (diffuse[..., None] * warm) + shine[..., None]
    top, left = hits.y0 * SUPERSAMPLING, hits.x0 * SUPERSAMPLING
    view = canvas[top : top + wide[1], left : left + wide[0]]
    view += cover * (color - view)


def _shade(hits: Hits, light: Light, hair: Array) -> tuple[Array, Array]:
    """Light on the surface: a factor of the albedo and the gloss in gray levels, (H, W) each."""
    slope_x = np.clip(cv2.Sobel(hits.depth, cv2.CV_32F, 1, 0, scale=1 / 8), -4, 4)
    slope_y = np.clip(cv2.Sobel(hits.depth, cv2.CV_32F, 0, 1, scale=1 / 8), -4, 4)
    length = 1 / np.sqrt(1 + slope_x * slope_x + slope_y * slope_y)
    nx, ny, nz = -slope_x * length, -slope_y * length, length
    azimuth, elevation = np.radians([light.azimuth, light.elevation])
    lx = np.float32(np.sin(azimuth) * np.cos(elevation))
    ly = np.float32(-np.sin(elevation))
    lz = np.float32(np.cos(azimuth) * np.cos(elevation))
    # Skin scatters light beyond the terminator: the lamp wraps around the surface.
    lamp = np.maximum((nx * lx + ny * ly + nz * lz + np.float32(0.35)) / np.float32(1.35), 0)
    sky = np.float32(0.82) - np.float32(0.25) * ny + np.float32(0.12) * nz
    diffuse = np.float32(light.ambient) * sky + np.float32(1.05 * light.strength) * lamp
    half = np.array([lx, ly, lz + 1], np.float32)
    half /= np.linalg.norm(half)
    glance = np.maximum(nx * half[0] + ny * half[1] + nz * half[2], 0)
    gloss = np.float32(34 * light.strength) * glance**14 * (1 - np.float32(0.6) * hair)
    return np.asarray(diffuse, np.float32), np.asarray(gloss, np.float32)
