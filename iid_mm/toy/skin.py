# SPDX-License-Identifier: Apache-2.0
"""The parts of a head that are painted once for each identity: skin, beard, ears and hair.

Letters: S width and height of the texture, in stereographic coordinates (see ``geometry``).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import cv2
import numpy as np

from iid_mm.toy.geometry import (
    RADIUS_MAP_SIZE,
    Array,
    bump,
    direction_grid,
    ear_mask,
    map_position,
    radius_maps,
    smoothstep,
    stereographic,
)
from iid_mm.toy.streams import stream

if TYPE_CHECKING:
    from iid_mm.toy.identity import Identity
    from iid_mm.utils.typing import ImageArray


@dataclass(frozen=True)
class Head:
    """The parts of a head that do not change from frame to frame.

    Args:
        identity: The person.
        axes: (3,) half axes of the skull.
        radius: (H, H) radius map.
        jaw_drop: (H, H) increase of the radius with a fully dropped jaw.
        texture: (S, S, 3) uint8, BGR, without eyes, brows and mouth.
        hair: (S, S) cover of the hair in 0 to 1.
        strands: (S, S) brightness of single hairs around 0, for the brows.
    """

    identity: Identity
    axes: Array
    radius: Array
    jaw_drop: Array
    texture: ImageArray
    hair: Array
    strands: Array


def noise(rng: np.random.Generator, size: int, cell: float) -> Array:
    """Smooth noise of mean 0 and standard deviation about 1, (size, size); ``cell`` in pixels."""
    count = max(int(np.ceil(size / max(cell, 1.0))) + 1, 2)
    coarse = rng.standard_normal((count, count), dtype=np.float32)
    return np.asarray(cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC), np.float32)


@lru_cache(maxsize=8)
def build_head(identity: Identity, size: int) -> Head:
    """Build the head of a person.

    Args:
        identity: The person.
        size: Width and height of the frames in pixels; the texture's resolution follows.

    Returns:
        The head; the last few are kept in memory.
    """
    texture_size = 4 * size
    # The hair's volume rises gently: a step would be lit like an edge.
    coarse_cover = hair_cover(identity, direction_grid(RADIUS_MAP_SIZE))
    coarse_cover = cv2.GaussianBlur(coarse_cover, (0, 0), 6)
    radius, drop = radius_maps(identity, coarse_cover)
    grid = direction_grid(texture_size)
    skin = _paint_skin(identity, grid)
    cover = hair_cover(identity, grid)
    strands = _strands(identity, texture_size)
    hair = _paint_hair(identity, cover, strands, grid)
    opaque = cover[..., None] * (0.75 if identity.hair_style == 'buzz' else 1.0)
    texture = skin * (1 - opaque) + hair * opaque
    axes = np.array([identity.width, 1.0, identity.depth], np.float32)
    return Head(identity, axes, radius, drop, np.clip(texture, 0, 255).astype(np.uint8), cover, strands)


def hair_cover(identity: Identity, grid: Array) -> Array:
    """Where hair grows, (H, W) in 0 to 1.

    Args:
        identity: The person.
        grid: (H, W, 3) directions.
    """
    if identity.hair_style == 'bald':
        return np.zeros(grid.shape[:2], np.float32)
    rng = stream(identity.texture_seed, 'hairline')
    x, y, z = grid[..., 0], grid[..., 1], grid[..., 2]
    size = grid.shape[0]
    # The lowest y that hair reaches: forehead in the middle, temples, sideburns, then the nape.
    covers_ears = identity.hair_style in ('medium', 'long')
    forehead = identity.hairline + 0.28 * identity.parting * x + 0.14 * np.abs(x)
    temple = smoothstep(0.62, 0.9, np.abs(x)) * (0.62 if covers_ears else 0.42)
    side_low = 0.58 if covers_ears else 0.0
    back = smoothstep(0.42, 0.2, z) if covers_ears else smoothstep(0.36, 0.1, z)
    side = (side_low + 0.15 - forehead) * back
    nape = 0.35 * smoothstep(-0.2, -0.5, z)
    edge = forehead + np.maximum(temple, side) + nape
    ragged = 0.02 * noise(rng, 256, 14) + 0.012 * noise(rng, 256, 4)
    ragged = cv2.resize(ragged, (size, size), interpolation=cv2.INTER_LINEAR)
    cover = smoothstep(-0.05, 0.05, edge + ragged - y)
    if not covers_ears:
        cover = cover * (1 - smoothstep(0.15, 0.5, ear_mask(identity, grid)))
    return np.asarray(cover, np.float32)


def _paint_skin(identity: Identity, grid: Array) -> Array:
    """Paint the bare skin, (S, S, 3) float, BGR 0-255."""
    rng = stream(identity.texture_seed, 'skin')
    size = grid.shape[0]
    skin = np.ones((*grid.shape[:2], 3), np.float32) * np.array(identity.skin, np.float32)
    blotches = 0.025 * noise(rng, size, size / 24) + 0.012 * noise(rng, size, size / 80)
    pores = (0.012 + 0.014 * identity.age) * noise(rng, size, 2.0)
    skin *= (1 + blotches + pores)[..., None]
    red = 0.25 * bump(grid, 0, identity.nose_length, 0.18, 0.12)
    for side in (-1, 1):
        red += 0.30 * bump(grid, 0.5 * side, 0.3, 0.24, 0.2)
        red += 0.25 * bump(grid, identity.eye_distance * side, 0.02, 0.22, 0.12)
    red += 0.5 * ear_mask(identity, grid)
    skin *= 1 + red[..., None] * np.array([-0.16, -0.13, 0.03], np.float32)
    skin *= (1 - _creases(identity, grid))[..., None]
    if identity.beard > 0:
        skin = _grow_beard(identity, skin, grid, rng)
    return _dot_skin(identity, skin, rng)


def _creases(identity: Identity, grid: Array) -> Array:
    """Darkening of hollows that the coarse geometry does not shade, (S, S)."""
    length, mouth = identity.nose_length, identity.mouth_y
    dark = 0.22 * bump(grid, 0, length + 0.085, 0.14 * identity.nose_width, 0.035)
    dark += 0.10 * bump(grid, 0, mouth - identity.lip_upper - 0.07, 0.035, 0.06)
    dark += 0.16 * bump(grid, 0, mouth + identity.lip_lower + 0.05, 0.17, 0.035)
    for side in (-1, 1):
        eye = identity.eye_distance * side
        dark += 0.16 * bump(grid, eye - 0.15 * side, -0.05, 0.10, 0.09)
        dark += 0.12 * bump(grid, eye, -0.10, 0.2, 0.045)
        dark += (0.06 + 0.1 * identity.age) * bump(grid, eye, 0.13, 0.16, 0.04)
        dark += 0.12 * bump(grid, 0.19 * identity.nose_width * side, length - 0.0, 0.03, 0.06)
        dark += 0.07 * bump(grid, 0.12 * side, 0.14, 0.045, 0.18)
    ear = ear_mask(identity, grid)
    concha = smoothstep(0.75, 0.98, ear)
    dark += 0.32 * concha + 0.14 * ear * (1 - ear) * 4
    return np.asarray(np.minimum(dark, 0.75), np.float32)


def _grow_beard(identity: Identity, skin: Array, grid: Array, rng: np.random.Generator) -> Array:
    """Darken the jaw, the chin and the upper lip by stubble or a beard."""
    x, y = grid[..., 0], grid[..., 1]
    size = grid.shape[0]
    line = identity.mouth_y - 0.12 - 0.5 * smoothstep(0.45, 1.0, np.abs(x))
    area = smoothstep(-0.05, 0.08, y - line + 0.02 * noise(rng, size, size / 64))
    lip = bump(grid, 0, identity.mouth_y - identity.lip_upper - 0.05, 0.24, 0.05)
    area = np.maximum(area, np.minimum(1.4 * lip, 1)) * smoothstep(-0.15, 0.05, grid[..., 2])
    grain = np.clip(0.7 + 0.26 * noise(rng, size, 1.3), 0, 1)
    weight = (area * grain * (0.25 + 0.6 * identity.beard))[..., None]
    color = np.array(identity.hair, np.float32) * 0.8 + 14
    return np.asarray(skin * (1 - weight) + color * weight, np.float32)


def _dot_skin(identity: Identity, skin: Array, rng: np.random.Generator) -> Array:
    """Paint freckles and moles."""
    size = skin.shape[0]
    weight = np.zeros((size, size), np.float32)
    unit = size / 640

    def dot(x: float, y: float, radius: float, value: float) -> None:
        place = map_position(stereographic((x, y)), size)
        center = (int(place[0] * 16), int(place[1] * 16))
        cv2.circle(weight, center, int(radius * unit * 16), value, -1, cv2.LINE_AA, 4)

    places = rng.normal(0, 1, size=(260, 4))
    for px, py, radius, value in places[: int(260 * identity.freckles)]:
        dot(np.clip(0.32 * px, -0.7, 0.7), np.clip(0.2 + 0.14 * py, -0.4, 0.6),
            1.0 + 0.35 * abs(radius), min(0.18 + 0.1 * abs(value), 0.45))  # fmt: skip
    moles = rng.uniform(-1, 1, size=(5, 3))
    for px, py, radius in moles[: identity.moles]:
        dot(0.62 * px, 0.2 + 0.5 * py, 2.4 + 0.9 * radius, 0.7)
    weight = cv2.GaussianBlur(weight, (0, 0), 0.7 * unit)[..., None]
    brown = np.array(identity.skin, np.float32) * np.array([0.4, 0.48, 0.6], np.float32)
    return np.asarray(skin * (1 - weight) + brown * weight, np.float32)


def _strands(identity: Identity, size: int) -> Array:
    """Noise that runs along the hair, away from the parting, (S, S) around 0."""
    rng = stream(identity.texture_seed, 'strands')
    source = noise(rng, 512, 1.5) * 0.6 + noise(rng, 512, 5) * 0.6
    axis = (np.arange(size, dtype=np.float32) + 0.5) / size * 4 - 2
    x, y = np.meshgrid(axis, axis)
    x = x - np.float32(0.25 * identity.parting)
    y = y + np.float32(1.05)
    angle = np.arctan2(x, y + 0.15 * np.abs(x))
    distance = np.sqrt(x * x + y * y)
    wave = 0.05 * np.sin(distance * 7 + identity.parting * 9)
    across = ((angle + wave) / np.pi * 0.5 + 0.5) * 511 * 2.4 % 510
    along = distance * 26 % 510
    strands = cv2.remap(source, across.astype('f'), along.astype('f'), cv2.INTER_LINEAR)
    return np.asarray(strands, np.float32)


def _paint_hair(identity: Identity, cover: Array, strands: Array, grid: Array) -> Array:
    """Paint the hair, (S, S, 3) float, BGR 0-255."""
    base = np.array(identity.hair, np.float32)
    sheen = 0.25 * smoothstep(-0.55, -0.8, grid[..., 1]) * smoothstep(-1.0, -0.8, grid[..., 1])
    edge = 0.3 * (1 - smoothstep(0.0, 1.0, cv2.GaussianBlur(cover, (0, 0), cover.shape[0] / 90)))
    contrast = 0.12 if identity.hair_style == 'buzz' else 0.24
    value = 1 + contrast * strands + sheen - edge
    return np.asarray(np.maximum(value, 0.15)[..., None] * base, np.float32)
