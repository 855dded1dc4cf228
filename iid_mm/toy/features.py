# SPDX-License-Identifier: Apache-2.0
"""Features of the face: the 68 iBUG landmarks, and what is painted into the texture of every frame."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import numpy.typing as npt

from iid_mm.toy.geometry import Array, map_position, stereographic

if TYPE_CHECKING:
    from iid_mm.toy.factors import Expression
    from iid_mm.toy.identity import Color, Identity
    from iid_mm.toy.skin import Head
    from iid_mm.utils.typing import ImageArray

_SHIFT = 4
"""Fractional bits of OpenCV's drawing coordinates: features must move smoothly."""
# Jaw line from the image's left ear to the chin, frontal view (x, y); mirrored for the other side.
_JAW = (
    (-0.955, -0.03), (-0.945, 0.15), (-0.91, 0.33), (-0.855, 0.49), (-0.765, 0.63),
    (-0.64, 0.745), (-0.48, 0.83), (-0.26, 0.885), (0.0, 0.905),
)  # fmt: skip


def _spline(points: Array, closed: bool = False, steps: int = 5) -> Array:
    """Catmull-Rom curve through points, (n, 2) -> (m, 2)."""
    if closed:
        padded = np.concatenate([points[-1:], points, points[:2]])
    else:
        first, last = 2 * points[:1] - points[1:2], 2 * points[-1:] - points[-2:-1]
        padded = np.concatenate([first, points, last])
    t = np.linspace(0, 1, steps, endpoint=False, dtype=np.float32)[:, None]
    p0, p1, p2, p3 = (padded[i : len(padded) - 3 + i, None] for i in range(4))
    curve = 0.5 * (
        2 * p1 + (p2 - p0) * t + (2 * p0 - 5 * p1 + 4 * p2 - p3) * t**2
        + (3 * p1 - p0 - 3 * p2 + p3) * t**3
    )  # fmt: skip
    flat = curve.reshape(-1, 2)
    return np.asarray(flat if closed else np.concatenate([flat, points[-1:]]), np.float32)


def polygon_cover(polygon: Array, shape: tuple[int, ...], blur: float) -> Array:
    """Cover of a polygon, ``shape`` in 0 to 1, with soft edges."""
    mask = np.zeros(shape, np.uint8)
    cv2.fillPoly(mask, [_fixed(polygon)], 255, cv2.LINE_AA, _SHIFT)
    return _soften(mask, blur)


def _fixed(points: Array) -> npt.NDArray[np.int32]:
    return np.rint(points * 2**_SHIFT).astype(np.int32)


def _soften(mask: npt.NDArray[np.uint8], blur: float) -> Array:
    if blur > 0.3:
        mask = cv2.GaussianBlur(mask, (0, 0), blur)
    return np.asarray(mask, np.float32) * np.float32(1 / 255)


class Patch:
    """A window of the texture into which shapes are blended.

    Args:
        texture: (S, S, 3) uint8; :meth:`write` changes it.
        points: (n, 2) points that the window must hold, in pixels of the texture.
        margin: Pixels around them.
    """

    def __init__(self, texture: ImageArray, points: Array, margin: float) -> None:
        low = np.maximum(np.floor(points.min(0) - margin).astype(int), 0)
        high = np.minimum(np.ceil(points.max(0) + margin).astype(int), texture.shape[0])
        self._view = texture[low[1] : high[1], low[0] : high[0]]
        self.origin = low.astype(np.float32)
        self.pixels = self._view.astype(np.float32)
        self.window = (slice(low[1], high[1]), slice(low[0], high[0]))

    def area(self, polygon: Array, blur: float = 0.0) -> Array:
        """Cover of a polygon, (h, w) in 0 to 1, with soft edges."""
        return polygon_cover(polygon - self.origin, self.pixels.shape[:2], blur)

    def line(self, points: Array, width: float, blur: float = 0.0) -> Array:
        """Cover of an open line, (h, w) in 0 to 1."""
        mask = np.zeros(self.pixels.shape[:2], np.uint8)
        thick = max(round(width), 1)
        cv2.polylines(mask, [_fixed(points - self.origin)], False, 255, thick, cv2.LINE_AA, _SHIFT)
        return _soften(mask, blur) * np.float32(min(width / thick, 1.0))

    def disc(self, center: Array, radius: float, blur: float = 0.0) -> Array:
        """Cover of a disc, (h, w) in 0 to 1."""
        mask = np.zeros(self.pixels.shape[:2], np.uint8)
        fixed = _fixed(center - self.origin)
        cv2.circle(
            mask, (int(fixed[0]), int(fixed[1])), int(radius * 2**_SHIFT), 255, -1,
            cv2.LINE_AA, _SHIFT,
        )  # fmt: skip
        return _soften(mask, blur)

    def blend(self, mask: Array, color: Color | Array, weight: float = 1.0) -> None:
        """Lay a color over the pixels."""
        alpha = (mask * np.float32(weight))[..., None]
        self.pixels += alpha * (np.asarray(color, np.float32) - self.pixels)

    def darken(self, mask: Array, weight: float) -> None:
        """Multiply the pixels by 1 - weight under the mask."""
        self.pixels *= 1 - (mask * np.float32(weight))[..., None]

    def write(self) -> None:
        """Write the window back into the texture."""
        self._view[:] = np.clip(self.pixels, 0, 255).astype(np.uint8)


def paint_features(head: Head, expression: Expression) -> tuple[ImageArray, Array]:
    """Paint the parts of the face that move.

    Args:
        head: The person's head.
        expression: The expression.

    Returns:
        The texture (S, S, 3) uint8 of this frame and the stereographic landmarks (68, 2).
    """
    coordinates = landmark_coordinates(head.identity, expression)
    texture = head.texture.copy()
    points = map_position(coordinates, texture.shape[0])
    unit = texture.shape[0] / 640
    _paint_nose(texture, head, points, unit)
    _paint_folds(texture, points, expression, head.identity.age, unit)
    _paint_mouth(texture, head, points, expression, unit)
    for first in (36, 42):
        _paint_eye(texture, head, points[first : first + 6], expression, unit)
    for first in (17, 22):
        _paint_brow(texture, head, points[first : first + 5], first == 17, unit)
    return texture, coordinates


def _paint_eye(texture: ImageArray, head: Head, points: Array, expression: Expression, unit: float) -> None:
    upper, lower = _spline(points[:4]), _spline(points[[3, 4, 5, 0]])
    patch = Patch(texture, points, 16 * unit)
    opening = patch.area(np.concatenate([upper, lower[1:-1]]), 0.5 * unit)
    skin = np.array(head.identity.skin, np.float32)
    width = float(np.linalg.norm(points[3] - points[0]))
    # Crease of the upper lid, then the eyeball, then the lashes over its edge.
    lifted = upper - np.array([0, 0.13 * width * (1 - 0.5 * expression.blink)], np.float32)
    patch.blend(patch.line(lifted, 2.2 * unit, 1.2 * unit), skin * 0.45, 0.5)
    patch.blend(opening, (206.0, 212.0, 218.0))
    center = points.mean(0)
    open_height = float(np.linalg.norm(head.identity.eye_height)) * texture.shape[0] / 4 * 0.5
    gaze = np.array([expression.gaze_x * 0.16 * width, expression.gaze_y * 0.06 * width], 'f')
    resting = np.array([center[0], (points[0, 1] + points[3, 1]) / 2 - 0.25 * open_height], 'f')
    iris = resting + gaze
    radius = 0.235 * width
    color = np.array(head.identity.iris, np.float32)
    patch.blend(patch.disc(iris, radius, 0.5 * unit) * opening, color * 0.45)
    patch.blend(patch.disc(iris, radius * 0.8, 0.9 * unit) * opening, color * 1.05)
    patch.blend(patch.disc(iris, radius * 0.42, 0.4 * unit) * opening, (12.0, 12.0, 14.0))
    glint = iris + np.array([0.3, -0.35], np.float32) * radius
    patch.blend(patch.disc(glint, radius * 0.2, 0.4 * unit) * opening, (250.0, 250.0, 250.0), 0.9)
    shade = patch.line(upper, 5 * unit, 2.0 * unit)
    patch.darken(shade * opening, 0.55)
    patch.blend(patch.line(upper, 2.6 * unit, 0.6 * unit), skin * 0.16 + 6, 0.9)
    patch.blend(patch.line(lower, 1.6 * unit, 0.8 * unit), skin * 0.45, 0.55)
    patch.blend(patch.disc(points[3 if points[0, 0] < 320 * unit else 0], 2.2 * unit, unit),
                skin * np.array([0.6, 0.6, 0.85], 'f'), 0.5)  # fmt: skip
    patch.write()


def _paint_brow(texture: ImageArray, head: Head, points: Array, left: bool, unit: float) -> None:
    thick = head.identity.brow_thickness * texture.shape[0] / 4 * 0.62
    taper = np.array([0.25, 0.75, 1.0, 1.1, 0.9], np.float32)
    taper = taper if left else taper[::-1]
    half = np.stack([np.zeros(5, 'f'), np.float32(0.55 * thick) * taper], axis=1)
    upper, lower = _spline(points - half), _spline(points + half)
    patch = Patch(texture, points, 2 * thick + 6 * unit)
    area = patch.area(np.concatenate([upper, lower[::-1]]), 1.5 * unit)
    grain = np.clip(0.85 + 0.3 * head.strands[patch.window], 0.3, 1.1)
    base = np.array(head.identity.hair, np.float32) * 0.75
    patch.blend(np.minimum(area * grain, 1), base, 0.85)
    patch.write()


def _paint_nose(texture: ImageArray, head: Head, points: Array, unit: float) -> None:
    patch = Patch(texture, points[27:36], 18 * unit)
    skin = np.array(head.identity.skin, np.float32)
    for inner, outer in ((32, 31), (34, 35)):
        center = 0.62 * points[inner] + 0.38 * points[outer]
        hole = center + np.array([0, -1.0], np.float32) * unit
        spread = np.array([[-4.2, 0.6], [0, -1.9], [4.2, 0.6], [0, 1.6]], np.float32) * unit
        rim = _spline(hole + spread, closed=True)
        patch.blend(patch.area(rim, 0.9 * unit), skin * 0.2, 0.8)
        wing = points[outer]
        side = np.sign(wing[0] - points[33, 0])
        bend = np.array([[-0.5, -9], [3.2, -6], [3.6, -1], [0, 2.5]], np.float32)
        curve = wing + bend * np.array([side, 1], np.float32) * unit
        patch.blend(patch.line(_spline(curve), 2.0 * unit, 1.3 * unit), skin * 0.45, 0.5)
    base = _spline(points[31:36])
    patch.darken(patch.line(base, 4 * unit, 2.2 * unit), 0.25)
    patch.write()


def _paint_folds(texture: ImageArray, points: Array, expression: Expression, age: float, unit: float) -> None:
    depth = 0.06 + 0.12 * age + 0.16 * max(expression.smile, 0)
    for wing, corner in ((31, 48), (35, 54)):
        side = np.sign(points[corner, 0] - points[33, 0])
        out = np.array([side, 0], np.float32) * unit
        start = points[wing] + 6 * out
        end = points[corner] + 9 * out
        middle = (start + end) / 2 + (3 + 3 * max(expression.smile, 0)) * out
        fold = np.stack([start, middle, end])
        patch = Patch(texture, fold, 12 * unit)
        patch.darken(patch.line(_spline(fold), 3 * unit, 2.2 * unit), depth)
        patch.write()


def _paint_mouth(texture: ImageArray, head: Head, points: Array, expression: Expression, unit: float) -> None:
    outer_top, outer_low = _spline(points[48:55]), _spline(points[[54, 55, 56, 57, 58, 59, 48]])
    inner_top = _spline(points[60:65])
    inner_low = _spline(points[[64, 65, 66, 67, 60]])
    patch = Patch(texture, points[48:68], 14 * unit)
    identity = head.identity
    skin = np.array(identity.skin, np.float32)
    redness = identity.lip_redness
    lip = skin * np.array([0.62 - 0.12 * redness, 0.58 - 0.16 * redness, 0.86], np.float32)
    lip = lip + np.array([14, 8, 14], np.float32) * (1 + redness)
    whole = patch.area(np.concatenate([outer_top, outer_low[1:-1]]), 1.5 * unit)
    patch.blend(whole, lip, 0.85)
    upper_lip = patch.area(np.concatenate([outer_top, inner_top[::-1]]), 1.6 * unit)
    patch.darken(upper_lip, 0.2)
    shine = np.asarray(0.5 * (points[[56, 57, 58]] + points[[67, 66, 65]]), np.float32)
    patch.blend(patch.line(shine, 3.5 * unit, 2.2 * unit), lip * 1.15 + 22, 0.4)
    inside = patch.area(np.concatenate([inner_top, inner_low[1:-1]]), 0.7 * unit)
    if expression.mouth_open > 0.02:
        patch.blend(inside, (28.0, 24.0, 58.0))
        gap = float(points[66, 1] - points[62, 1])
        teeth = inner_top + np.array([0, 0.0], np.float32)
        edge = inner_top[::-1] + np.array([0, min(0.42 * gap, 8 * unit)], np.float32)
        row = patch.area(np.concatenate([teeth, edge]), 0.6 * unit)
        patch.blend(row * inside, (196.0, 208.0, 214.0), 0.9)
        tongue = points[66] - np.array([0, 0.05 * gap], np.float32)
        patch.blend(patch.disc(tongue, 0.4 * gap, 0.12 * gap) * inside, (70.0, 64.0, 140.0), 0.6)
        patch.darken(patch.line(inner_top, 3 * unit, 1.5 * unit) * inside, 0.4)
    patch.blend(patch.line(inner_top, 1.7 * unit, 0.7 * unit), lip * 0.35, 0.75)
    patch.blend(patch.line(inner_low, 1.4 * unit, 0.9 * unit), lip * 0.5, 0.4)
    for corner in (48, 54):
        patch.darken(patch.disc(points[corner], 3 * unit, 2 * unit), 0.35)
    patch.write()


# Landmarks


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
    low_left = np.array([(-0.3, 0.95 * lower + gap_down), (-0.65, 0.62 * lower - 0.4 * lift + gap_down)])
    bottom = np.array([(0.0, lower * 1.03 + gap_down)])
    inner_left = np.array([(-0.86, -0.9 * lift + 0.3 * gap_down), (-0.36, -0.15 * lift - gap_up)])
    inner_low = np.array([(-0.36, 0.003 - 0.15 * lift + gap_down)])
    points = np.concatenate(
        [outer_left, top, _mirror(outer_left), _mirror(low_left), bottom, low_left,
         inner_left, [(0.0, -gap_up)], _mirror(inner_left), _mirror(inner_low),
         [(0.0, 0.006 + gap_down)], inner_low]
    )  # fmt: skip
    points[:, 0] *= half
    points[:, 1] += identity.mouth_y
    return points
