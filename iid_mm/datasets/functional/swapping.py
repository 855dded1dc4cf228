# SPDX-License-Identifier: Apache-2.0
"""Swap a face, or a window of it, between an aligned fake frame and its genuine frame."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from iid_mm.datasets.functional.blending import Window, alpha_blend, poisson_blend
from iid_mm.datasets.functional.dssim import KERNEL, best_window, dssim_map
from iid_mm.datasets.functional.masks import (
    BinaryMask,
    elastic_deform,
    feather,
    hull_mask,
    window_mask,
)
from iid_mm.utils.typing import FloatArray, ImageArray, PointsArray, Size

FEATHER_KERNEL = 5
FEATHER_SIGMA = 3.0


def face_mask(landmarks: PointsArray, size: Size, bend: FloatArray | None = None) -> BinaryMask:
    """Hull of the landmarks, bent by a coarse displacement field if one is given.

    Args:
        landmarks: (K, 2) pixels of the canvas.
        size: Canvas (w, h).
        bend: (gh, gw, 2) pixels, see :func:`~iid_mm.datasets.functional.masks.elastic_deform`.

    Returns:
        (h, w) uint8.
    """
    mask = hull_mask(landmarks, size)
    return mask if bend is None else elastic_deform(mask, bend)


def paste(
    source: ImageArray,
    target: ImageArray,
    mask: BinaryMask,
    poisson: bool,
    limit: Window | None = None,
) -> ImageArray:
    """Blend the masked part of one image into another.

    Args:
        source: (H, W, 3), from which the part is taken.
        target: (H, W, 3), into which it is put.
        mask: (H, W).
        poisson: Blend gradients; otherwise mix colors with a feathered mask.
        limit: Window that Poisson blending must not leave. Alpha blending reaches
            ``FEATHER_KERNEL // 2`` px beyond the mask.

    Returns:
        (H, W, 3) uint8, a new array.
    """
    if poisson:
        return poisson_blend(source, target, mask, limit)
    return alpha_blend(source, target, feather(mask, FEATHER_KERNEL, FEATHER_SIGMA))


def most_altered_window(fake: ImageArray, genuine: ImageArray, mask: BinaryMask, size: Size) -> Window:
    """Window of given size where the frames differ most inside the mask.

    Args:
        fake: (H, W, 3).
        genuine: (H, W, 3).
        mask: (H, W); differences outside do not count.
        size: Window (w, h); clipped to the canvas.

    Returns:
        x0, y0, x1, y1 inside the canvas; x1 and y1 are exclusive.
    """
    height, width = mask.shape
    clipped = (min(size[0], width), min(size[1], height))
    return best_window(dssim_map(fake, genuine) * mask, clipped)


def swap_window(
    fake: ImageArray, genuine: ImageArray, mask: BinaryMask, window: Window, poisson: bool
) -> ImageArray:
    """Put the part of the fake face that lies in a window into the genuine frame.

    Every pixel that changes, feather included, lies inside the window.
    """
    inner = window_mask(mask, window, margin=FEATHER_KERNEL // 2)
    return paste(fake, genuine, inner, poisson, limit=window)


def change_scores(
    first: ImageArray, second: ImageArray, window: Window | None = None
) -> npt.NDArray[np.float32]:
    """Structural dissimilarity of two images wherever it can be above 0.

    Args:
        first: (H, W, 3).
        second: (H, W, 3).
        window: x0, y0, x1, y1 outside of which the images are equal; saves time.

    Returns:
        (H, W), or the smaller (h, w) around the window that the change reaches.
    """
    if window is not None:
        height, width = first.shape[:2]
        reach = KERNEL - 1
        x0, y0 = max(0, window[0] - reach), max(0, window[1] - reach)
        x1, y1 = min(width, window[2] + reach), min(height, window[3] + reach)
        first, second = first[y0:y1, x0:x1], second[y0:y1, x0:x1]
    return dssim_map(first, second)
