# SPDX-License-Identifier: Apache-2.0
"""Blending masks: face hull, elastic deformation, feather. Masks are (H, W)."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from iid_mm.utils.typing import FloatArray, MaskArray, PointsArray, Size

BinaryMask = npt.NDArray[np.uint8]
"""(H, W) uint8, 0 or 1."""


def hull_mask(landmarks: PointsArray, size: Size) -> BinaryMask:
    """Fill the convex hull of the landmarks.

    Args:
        landmarks: (K, 2) pixels; points outside the canvas are allowed.
        size: Canvas (w, h).

    Returns:
        (h, w) uint8, 1 inside the hull and on its edge.
    """
    mask = np.zeros((size[1], size[0]), dtype=np.uint8)
    # Far-away points would overflow the fixed-point arithmetic of the polygon filler.
    limit = 8 * max(size)
    points = np.rint(np.clip(landmarks, -limit, limit)).astype(np.int32)
    cv2.fillConvexPoly(mask, cv2.convexHull(points), 1)
    return mask


def window_mask(mask: BinaryMask, window: tuple[int, int, int, int], margin: int = 0) -> BinaryMask:
    """Keep of a mask what lies inside a window.

    Args:
        mask: (H, W).
        window: x0, y0, x1, y1; x1 and y1 are exclusive.
        margin: Leave out this many pixels along the edge of what remains, so that a feather of that
            width stays inside the window.

    Returns:
        (H, W) uint8.
    """
    x0, y0, x1, y1 = window
    part = mask[y0:y1, x0:x1]
    if margin:
        side = 2 * margin + 1
        kernel = np.ones((side, side), dtype=np.uint8)
        # The border counts as outside: the mask must shrink at the edge of the window too.
        part = cv2.erode(part, kernel, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    result = np.zeros_like(mask)
    result[y0:y1, x0:x1] = part
    return result


def elastic_deform(mask: BinaryMask, displacement: FloatArray) -> BinaryMask:
    """Bend a mask with a smooth displacement field.

    Args:
        mask: (H, W).
        displacement: (gh, gw, 2) x and y displacements in pixels on a coarse grid that spans the
            mask; it is enlarged with cubic interpolation.

    Returns:
        (H, W) uint8, 0 or 1.
    """
    height, width = mask.shape
    field = cv2.resize(displacement.astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
    field[..., 0] += np.arange(width, dtype=np.float32)
    field[..., 1] += np.arange(height, dtype=np.float32)[:, None]
    bent: BinaryMask = cv2.remap(mask, field, None, cv2.INTER_NEAREST)
    return bent


def feather(mask: BinaryMask, kernel: int = 5, sigma: float = 3.0) -> MaskArray:
    """Soften the edge of a mask with a Gaussian; values change up to ``kernel // 2`` px outside."""
    soft: MaskArray = cv2.GaussianBlur(mask.astype(np.float32), (kernel, kernel), sigma)
    return soft


def bounding_window(mask: BinaryMask, margin: int = 0) -> tuple[int, int, int, int] | None:
    """Smallest window around a mask.

    Args:
        mask: (H, W).
        margin: Pixels to add on every side; the result is clipped to the image.

    Returns:
        x0, y0, x1, y1 (x1 and y1 exclusive), or None for an empty mask.
    """
    x, y, width, height = cv2.boundingRect(mask)
    if not width:
        return None
    rows, columns = mask.shape
    return (
        max(0, x - margin),
        max(0, y - margin),
        min(columns, x + width + margin),
        min(rows, y + height + margin),
    )
