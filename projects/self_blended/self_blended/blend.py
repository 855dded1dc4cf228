# SPDX-License-Identifier: Apache-2.0
"""Self-blended images, from the description in the paper.

Shiohara and Yamasaki, "Detecting Deepfakes with Self-Blended Images", CVPR 2022, section 3: a slightly
changed copy of a face (the source) is blended into the face itself (the target). Functions are pure; all
draws are made by the transform. Images are (H, W, 3) uint8 BGR, sizes in pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from iid_mm.datasets.functional import degradation
from iid_mm.datasets.functional.facial_swap import alpha_blend, elastic_deform
from iid_mm.datasets.functional.geometry import bounding_window, hull_mask
from iid_mm.utils.typing import FloatArray, ImageArray, MaskArray, PointsArray

HULLS = ('face', 'brows_to_chin', 'inner', 'mouth')
"""Which landmarks the hull of a mask is made of."""
_INNER = slice(17, 68)
_MOUTH = [*range(48, 68), 31, 33, 35]
_FOREHEAD = 0.3
_MISMATCH_LEVELS = 12.0
"""Largest remaining difference of the mean colors of a donor and the target, gray levels."""
_WHOLE = 0.999
"""Inside a softened mask values are a little below 1 by rounding."""
VISIBLE = 0.1
"""The box of the blended region encloses the mask above this share of its highest value."""


@dataclass(frozen=True)
class ColorChange:
    """A change of color and sharpness, made to the source or to the target.

    Attributes:
        shifts: Added to the channels B, G, R, gray levels.
        hue: Shift, 0 to 179 as in OpenCV.
        saturation: Shift, gray levels.
        value: Shift, gray levels.
        contrast: Factor around the middle gray.
        brightness: Shift, gray levels.
        sharpen: Amount of an unsharp mask; 0 changes nothing.
        reduce: Factor by which the image is reduced and enlarged again; 1 changes nothing.
    """

    shifts: tuple[float, float, float] = (0.0, 0.0, 0.0)
    hue: int = 0
    saturation: int = 0
    value: int = 0
    contrast: float = 1.0
    brightness: float = 0.0
    sharpen: float = 0.0
    reduce: float = 1.0


@dataclass(frozen=True)
class BlendPlan:
    """All draws of one self-blended image.

    Attributes:
        change: Change of color and sharpness.
        of_source: Whether the source is changed; otherwise the target is.
        scale: Factors of the source's width and height.
        shift: Shift of the source in x and y, pixels.
        hull: One of :data:`HULLS`.
        bend: Displacements of the mask, (gh, gw, 2) pixels.
        sigmas: Standard deviations of the two Gaussians that soften the mask, pixels.
        ratio: Highest value of the mask.
        mismatch: Share of the difference of a donor's colors that remains.
    """

    change: ColorChange
    of_source: bool
    scale: tuple[float, float]
    shift: tuple[float, float]
    hull: str
    bend: FloatArray
    sigmas: tuple[float, float]
    ratio: float
    mismatch: float = 0.0


def change_color(image: ImageArray, change: ColorChange) -> ImageArray:
    """Apply a change of color and sharpness."""
    levels = np.arange(256, dtype=np.float64)[:, None] + np.array(change.shifts)
    levels = (levels - 127.5) * change.contrast + 127.5 + change.brightness
    table = np.clip(np.rint(levels), 0, 255).astype(np.uint8)[None]
    changed = np.asarray(cv2.LUT(image, table), np.uint8)
    if change.hue or change.saturation or change.value:
        changed = degradation.shift_hsv(changed, change.hue, change.saturation, change.value)
    if change.reduce > 1:
        changed = degradation.down_up(changed, change.reduce, cv2.INTER_AREA, cv2.INTER_LINEAR)
    if change.sharpen:
        changed = degradation.sharpen(changed, 1.0, change.sharpen)
    return changed


def hull_points(landmarks: PointsArray, hull: str) -> PointsArray:
    """Points whose hull is the region that is blended.

    Args:
        landmarks: (K, 2) iBUG points, K 68 or 81.
        hull: ``face`` (with the forehead, which 68 points do not show and which is guessed then),
            ``brows_to_chin``, ``inner`` (brows, eyes, nose and mouth) or ``mouth``.

    Returns:
        (n, 2).
    """
    points = landmarks[:68]
    if hull == 'brows_to_chin':
        return points
    if hull == 'inner':
        return points[_INNER]
    if hull == 'mouth':
        return points[_MOUTH]
    if len(landmarks) > 68:
        return landmarks
    brows = points[17:27].copy()
    # Up is from the chin to the middle of the brows, whatever way the head is turned.
    brows += _FOREHEAD * (points[17:27].mean(axis=0) - points[8])
    return np.concatenate([points, brows])


def blending_mask(landmarks: PointsArray, size: tuple[int, int], plan: BlendPlan) -> MaskArray:
    """The soft mask (paper, section 3.2, "mask generator").

    The hull is bent, softened, cut down to where it is still 1, softened again, and multiplied by the ratio:
    where the first Gaussian is the wider one the region shrinks, else it grows.

    Args:
        landmarks: (K, 2) pixels.
        size: Width and height.
        plan: The draws.

    Returns:
        (H, W) float32 in [0, ratio].
    """
    hard = elastic_deform(hull_mask(hull_points(landmarks, plan.hull), size), plan.bend)
    soft = _soften(hard.astype(np.float32), plan.sigmas[0])
    core = (soft > _WHOLE).astype(np.float32)
    # Of a narrow hull nothing may be left.
    soft = _soften(core if core.any() else hard.astype(np.float32), plan.sigmas[1])
    highest = float(soft.max())
    return np.asarray(soft * np.float32(plan.ratio / highest if highest > 0 else 0), np.float32)


def _soften(mask: MaskArray, sigma: float) -> MaskArray:
    side = 2 * max(1, round(2.5 * sigma)) + 1
    return np.asarray(cv2.GaussianBlur(mask, (side, side), sigma), np.float32)


def move(image: ImageArray, scale: Sequence[float], shift: Sequence[float]) -> ImageArray:
    """Scale an image around its center and shift it; missing pixels at the edge are mirrored."""
    height, width = image.shape[:2]
    center = np.array([(width - 1) / 2, (height - 1) / 2])
    offset = center - np.array(scale) * center + np.array(shift)
    matrix = np.array([[scale[0], 0, offset[0]], [0, scale[1], offset[1]]])
    return np.asarray(
        cv2.warpAffine(
            image, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
        ),
        np.uint8,
    )


def self_blend(
    image: ImageArray, landmarks: PointsArray, plan: BlendPlan, donor: ImageArray | None = None
) -> tuple[ImageArray, ImageArray, MaskArray]:
    """Make a self-blended image, or one of two people.

    Args:
        image: (H, W, 3).
        landmarks: (K, 2) pixels.
        plan: The draws.
        donor: (H, W, 3) another person's face, warped onto the one of the image, as the source
            (Li et al., "Face X-ray", CVPR 2020, section 3.2); None blends the image with itself.

    Returns:
        The fake; the genuine image it belongs to, which has the target's colors; the mask.
    """
    mask = blending_mask(landmarks, (image.shape[1], image.shape[0]), plan)
    source, target, change = image, image, plan.change
    if donor is not None:
        # The change of color is made to both: the donor's colors are matched to the target's.
        target = change_color(image, replace(change, sharpen=0.0, reduce=1.0))
        area = mask if mask.max() <= 0 else mask / mask.max()
        source = degradation.transfer_color(donor, target, area, plan.mismatch, _MISMATCH_LEVELS)
        change = ColorChange(sharpen=change.sharpen, reduce=change.reduce)
    if plan.of_source:
        source = change_color(source, change)
    else:
        target = change_color(target, change)
    if donor is None:
        # A copy must be moved to differ; a donor differs anyway.
        source = move(source, plan.scale, plan.shift)
    return alpha_blend(source, target, mask), target, mask


def blended_box(mask: MaskArray) -> npt.NDArray[np.float32] | None:
    """Box of the blended region, (4,) x0, y0, x1, y1; None for an empty mask."""
    highest = float(mask.max())
    if highest <= 0:
        return None
    window = bounding_window((mask > VISIBLE * highest).astype(np.uint8))
    return None if window is None else np.array(window, dtype=np.float32)
