# SPDX-License-Identifier: Apache-2.0
"""The 68 iBUG landmarks of a face: frontal layout of an identity, moved by the expression."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from iid_mm.toy.geometry import stereographic

if TYPE_CHECKING:
    from iid_mm.toy.factors import Expression
    from iid_mm.toy.geometry import Array
    from iid_mm.toy.identity import Identity

# Jaw line from the image's left ear to the chin, frontal view (x, y); mirrored for the other side.
_JAW = (
    (-0.955, -0.03), (-0.945, 0.15), (-0.91, 0.33), (-0.855, 0.49), (-0.765, 0.63),
    (-0.64, 0.745), (-0.48, 0.83), (-0.26, 0.885), (0.0, 0.905),
)  # fmt: skip


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
