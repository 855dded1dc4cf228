# SPDX-License-Identifier: Apache-2.0
"""Background, clothes, neck and long hair: what surrounds the head."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

from iid_mm.toy.features import polygon_cover
from iid_mm.toy.geometry import Array
from iid_mm.toy.skin import noise
from iid_mm.toy.streams import stream

if TYPE_CHECKING:
    from iid_mm.toy.factors import Light, Pose
    from iid_mm.toy.identity import Color
    from iid_mm.toy.skin import Head
    from iid_mm.utils.typing import ImageArray

BACKGROUND_KINDS = ('wall', 'lights', 'shelf', 'bricks', 'outdoors')


@dataclass(frozen=True)
class Background:
    """Background and clothes.

    Args:
        kind: One of ``BACKGROUND_KINDS``.
        color: Main color, BGR.
        accent: Second color, BGR.
        defocus: Blur as a fraction of the image size.
        clothes: Color of the clothes, BGR.
        collar: Depth of the neckline, 0 (turtleneck) to 1.
        texture_seed: Seeds the details.
    """

    kind: str
    color: Color
    accent: Color
    defocus: float
    clothes: Color
    collar: float
    texture_seed: int

    @classmethod
    def draw(cls, seed: int, index: int) -> Background:
        """Draw background number ``index`` from the stream ``background``."""
        rng = stream(seed, 'background', index)

        def color(low: float, high: float) -> Color:
            value = rng.uniform(low, high)
            tint = value * rng.uniform(0.7, 1.3, size=3)
            b, g, r = np.clip(tint, 8, 245)
            return (float(b), float(g), float(r))

        return cls(
            kind=str(rng.choice(BACKGROUND_KINDS)),
            color=color(50, 190),
            accent=color(30, 210),
            defocus=float(rng.uniform(0.004, 0.025)),
            clothes=color(25, 200),
            collar=float(rng.uniform(0, 1)),
            texture_seed=int(rng.integers(0, 2**31)),
        )


@lru_cache(maxsize=8)
def paint_background(background: Background, size: int) -> ImageArray:
    """Paint the background.

    Args:
        background: What to paint.
        size: Width and height in pixels.

    Returns:
        (size, size, 3) uint8, BGR; the last few are kept in memory, do not write to it.
    """
    rng = stream(background.texture_seed, 'background texture')
    canvas = np.ones((size, size, 3), np.float32) * np.array(background.color, np.float32)
    canvas *= (1 + 0.10 * noise(rng, size, size / 3))[..., None]
    accent = np.array(background.accent, np.float32)
    painter = {'lights': _lights, 'shelf': _shelf, 'bricks': _bricks, 'outdoors': _outdoors}
    if background.kind in painter:
        painter[background.kind](canvas, accent, rng)
    else:
        edge = int(rng.uniform(0.1, 0.9) * size)
        canvas[:, edge:] *= rng.uniform(0.7, 0.92)
        frame = (rng.uniform(-0.2, 0.8, size=2) * size).astype(int)
        far = frame + (rng.uniform(0.2, 0.5, size=2) * size).astype(int)
        cv2.rectangle(canvas, tuple(frame.tolist()), tuple(far.tolist()), accent.tolist(), -1)
    canvas = cv2.GaussianBlur(canvas, (0, 0), max(background.defocus * size, 0.5))
    ramp = np.linspace(1.12, 0.82, size, dtype=np.float32)[:, None, None]
    canvas *= ramp * (1 + 0.02 * noise(rng, size, 2))[..., None]
    painted: ImageArray = np.clip(canvas, 0, 255).astype(np.uint8)
    painted.setflags(write=False)
    return painted


def _lights(canvas: Array, accent: Array, rng: np.random.Generator) -> None:
    size = canvas.shape[0]
    for _ in range(26):
        layer = np.zeros((size, size), np.float32)
        x, y, radius = rng.uniform(0, size), rng.uniform(0, size), rng.uniform(0.02, 0.09) * size
        cv2.circle(layer, (int(x), int(y)), int(radius), 1.0, -1, cv2.LINE_AA)
        tone = accent * rng.uniform(0.6, 1.4, size=3)
        canvas += layer[..., None] * rng.uniform(0.15, 0.5) * (tone - canvas)


def _shelf(canvas: Array, accent: Array, rng: np.random.Generator) -> None:
    size = canvas.shape[0]
    rows = int(rng.integers(3, 6))
    for row in range(rows):
        top, bottom = int(row * size / rows), int((row + 1) * size / rows)
        x = 0
        while x < size:
            width = int(rng.uniform(0.02, 0.07) * size) + 1
            height = int((bottom - top) * rng.uniform(0.08, 0.35))
            tone = accent * rng.uniform(0.35, 1.3) * rng.uniform(0.7, 1.3, size=3)
            canvas[top + height : bottom, x : x + width] = np.clip(tone, 5, 240)
            x += width + int(rng.random() < 0.15) * width
        canvas[bottom - max(size // 60, 1) : bottom] *= 0.45


def _bricks(canvas: Array, accent: Array, rng: np.random.Generator) -> None:
    size = canvas.shape[0]
    height, width = max(size // int(rng.integers(10, 18)), 4), max(size // 6, 6)
    for row, top in enumerate(range(0, size, height)):
        for left in range(-(row % 2) * width // 2, size, width):
            tone = (0.6 * canvas[0, 0] + 0.4 * accent) * rng.uniform(0.8, 1.15)
            box = (slice(top + 1, top + height - 1), slice(max(left + 1, 0), left + width - 1))
            canvas[box] = np.clip(tone, 5, 240)


def _outdoors(canvas: Array, accent: Array, rng: np.random.Generator) -> None:
    size = canvas.shape[0]
    sky = np.array([225, 205, 180], np.float32) * rng.uniform(0.8, 1.05)
    horizon = int(rng.uniform(0.3, 0.6) * size)
    canvas[:horizon] = sky
    leaves = noise(rng, size, size / 18) + 0.7 * noise(rng, size, size / 50)
    rows = np.linspace(-1.6, 1.8, size, dtype=np.float32)[:, None]
    trees = np.clip((leaves + rows) * 2 + 0.5, 0, 1)[..., None]
    green = np.array([52, 100, 74], np.float32) * 0.7 + accent * 0.2
    shade = np.maximum(1 + 0.3 * noise(rng, size, size / 30), 0.3)[..., None]
    canvas += trees * (green * shade - canvas)


def paint_body(
    canvas: Array, head: Head, pose: Pose, background: Background, light: Light, gain: Array
) -> None:
    """Paint long hair, neck, shoulders and clothes behind the head.

    Args:
        canvas: (H, W, 3) float32 BGR at the resolution of the canvas; changed in place.
        head: The person's head.
        pose: The pose; the shoulders follow the position only, the neck also the turn.
        background: Holds the clothes.
        light: The light.
        gain: (3,) color of the light on surfaces that face the camera.
    """
    size = canvas.shape[0]
    unit = pose.scale * size
    place = _Place(size, unit, pose.x * size, pose.y * size)
    side = float(np.sin(np.radians(light.azimuth)))
    if head.identity.hair_style == 'long':
        _paint_long_hair(canvas, head, place, side, gain)
    half = 0.46 + 1.2 * max(head.identity.jaw_width, -0.03)
    lean = float(np.sin(np.radians(pose.yaw)) * 0.10 - np.sin(np.radians(pose.roll)) * 0.25)
    neck = [(-half + lean, 0.45), (-half * 0.96 + lean * 0.5, 1.05), (-half * 1.35, 1.45),
            (-0.5, 1.9), (0.5, 1.9), (half * 1.35, 1.45), (half * 0.96 + lean * 0.5, 1.05),
            (half + lean, 0.45)]  # fmt: skip
    window, cover, columns, rows = place.cover(neck, 0.7)
    round_off = 1 - 0.45 * np.minimum(np.abs(columns / half - 0.25 * side), 1.3) ** 2.5
    chin_shadow = 0.50 + 0.5 * np.clip((rows - 0.95) / 0.45, 0, 1)
    shade = round_off * chin_shadow * place.slant(columns, side)
    _lay(canvas, window, cover, shade, np.array(head.identity.skin, np.float32) * gain)
    dip = 1.22 + 0.28 * background.collar
    body = [(-3.2, 4.0), (-1.95, 1.95), (-1.55, 1.66), (-0.62, 1.36), (-half * 1.02, 1.22),
            (-0.2, dip + 0.12), (0, dip + 0.2), (0.2, dip + 0.12), (half * 1.02, 1.22),
            (0.62, 1.36), (1.55, 1.66), (1.95, 1.95), (3.2, 4.0)]  # fmt: skip
    window, cover, columns, rows = place.cover(body, 0.7)
    folds = 1 + 0.03 * np.sin(columns * 5 + rows * 3) - 0.12 * np.clip(rows - 1.3, 0, 1)
    collar = 1 - 0.3 * np.exp(-(((rows - dip - 0.1 + 0.4 * np.abs(columns)) / 0.05) ** 2))
    shade = folds * collar * place.slant(columns, side)
    _lay(canvas, window, cover, shade, np.array(background.clothes, np.float32) * gain)


def _paint_long_hair(canvas: Array, head: Head, place: _Place, side: float, gain: Array) -> None:
    """Paint hair that falls behind the neck."""
    fall = [(-0.78, -0.2), (-0.95, 0.5), (-0.98, 1.3), (-0.6, 1.75), (0.6, 1.75), (0.98, 1.3),
            (0.95, 0.5), (0.78, -0.2)]  # fmt: skip
    window, cover, columns, _ = place.cover(fall, 1.5)
    height, width = cover.shape
    strands = cv2.resize(head.strands[: 2 * height : 2, : 2 * width : 2], (width, height))
    shade = np.maximum(0.62 + 0.16 * strands, 0.2) * place.slant(columns, side)
    _lay(canvas, window, cover, shade, np.array(head.identity.hair, np.float32) * gain)


_Window = tuple[slice, slice]


class _Place(NamedTuple):
    """Where the body is: canvas size, pixels a head unit and the head's center."""

    size: int
    unit: float
    x: float
    y: float

    def cover(
        self, polygon: Sequence[tuple[float, float]], blur: float
    ) -> tuple[_Window, Array, Array, Array]:
        """Cover of a polygon given in head units.

        Returns:
            The window of the canvas that it fills, its cover (h, w) in 0 to 1, and the window's
            columns (1, w) and rows (h, 1) in head units.
        """
        points = np.array(polygon) * self.unit + (self.x, self.y)
        low = np.clip(points.min(0) - 4, 0, self.size).astype(int)
        high = np.clip(points.max(0) + 4, 0, self.size).astype(int)
        width, height = np.maximum(high - low, 1).tolist()
        cover = polygon_cover(points - low, (height, width), blur)
        columns = (np.arange(low[0], high[0], dtype=np.float32) - self.x) / self.unit
        rows = (np.arange(low[1], high[1], dtype=np.float32) - self.y) / self.unit
        window = (slice(low[1], high[1]), slice(low[0], high[0]))
        return window, cover, columns[None].astype('f'), rows[:, None].astype('f')

    def slant(self, columns: Array, side: float) -> Array:
        """The lamp's side is brighter; a factor for every column."""
        across = (columns * self.unit + self.x) / self.size * 2 - 1
        return np.asarray(1 + 0.25 * side * across, np.float32)


def _lay(canvas: Array, window: _Window, cover: Array, shade: Array, color: Array) -> None:
    """Blend ``shade * color`` into a window of the canvas."""
    view = canvas[window]
    if view.size:
        layer = shade.astype(np.float32)[..., None] * color
        view += cover[..., None] * (layer - view)
