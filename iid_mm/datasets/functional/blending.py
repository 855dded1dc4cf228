# SPDX-License-Identifier: Apache-2.0
"""Paste a part of one aligned image into another, pixel on pixel."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt
from scipy import fft

from iid_mm.datasets.functional.masks import BinaryMask, bounding_window, window_mask
from iid_mm.utils.typing import ImageArray, MaskArray

Window = tuple[int, int, int, int]
"""x0, y0, x1, y1; x1 and y1 are exclusive."""
Planes = npt.NDArray[np.float32]
"""Color planes, (3, H, W)."""


def alpha_blend(source: ImageArray, target: ImageArray, mask: MaskArray) -> ImageArray:
    """Mix two images.

    Args:
        source: (H, W, 3), shown where the mask is 1.
        target: (H, W, 3), shown where the mask is 0.
        mask: (H, W) float32 in [0, 1].

    Returns:
        (H, W, 3) uint8, a new array.
    """
    blended: ImageArray = cv2.blendLinear(source, target, mask, 1 - mask)
    return blended


def poisson_blend(
    source: ImageArray, target: ImageArray, mask: BinaryMask, limit: Window | None = None
) -> ImageArray:
    """Paste the gradients of a part of one image into another, seamlessly.

    The Poisson equation is solved on a rectangle around the mask, where the wanted gradients are those
    of the source inside the mask and those of the target outside, and the edge of the rectangle keeps
    the target's values. This is what ``cv2.seamlessClone`` computes; sine transforms of suitable
    length and no shift of the pasted part make it several times faster and safe at the border.

    Args:
        source: (H, W, 3).
        target: (H, W, 3).
        mask: (H, W), 1 where to paste.
        limit: x0, y0, x1, y1 that the rectangle must not exceed; None for the image. Pixels on the
            edge of the limit keep the target's values.

    Returns:
        (H, W, 3) uint8, a new array; equal to the target outside the rectangle, which is little larger
        than the mask. An empty mask gives the target.
    """
    height, width = mask.shape
    limit = limit or (0, 0, width, height)
    result = target.copy()
    mask = window_mask(mask, (limit[0] + 1, limit[1] + 1, limit[2] - 1, limit[3] - 1))
    window = bounding_window(mask, margin=1)
    if window is None:
        return result
    x0, x1 = _fast_range(window[0], window[2], limit[0], limit[2])
    y0, y1 = _fast_range(window[1], window[3], limit[1], limit[3])
    source, target = source[y0:y1, x0:x1], target[y0:y1, x0:x1]
    # uint8 to float32 first: cv2's arithmetic on mixed types is an order of magnitude slower.
    difference = np.ascontiguousarray((source.astype(np.float32) - target).transpose(2, 0, 1))
    correction = _solve_poisson(_divergence(difference, mask[y0:y1, x0:x1]))
    inner = result[y0 + 1 : y1 - 1, x0 + 1 : x1 - 1]
    total = cv2.merge(list(correction))
    total += inner
    # convertScaleAbs rounds and saturates in one pass, but would mirror negative values.
    np.maximum(total, 0, out=total)
    inner[:] = cv2.convertScaleAbs(total)
    return result


def _fast_range(start: int, stop: int, low: int, high: int) -> tuple[int, int]:
    """Widen a range, within limits, to a length whose sine transform is fast."""
    # The transform of the stop - start - 2 inner pixels is an FFT of 2 * (stop - start - 1) values.
    length = min(fft.next_fast_len(stop - start - 1) + 1, high - low)
    start = min(max(low, start - (length - (stop - start)) // 2), high - length)
    return start, start + length


def _divergence(difference: Planes, mask: BinaryMask) -> Planes:
    """Divergence of the difference's gradient, kept only between two pixels of the mask.

    Args:
        difference: (3, h, w) source minus target.
        mask: (h, w).

    Returns:
        (3, h - 2, w - 2): for the inner pixels, the right side of the equation for the correction.
    """
    weights = mask.astype(np.float32)
    across = difference[:, 1:-1, 1:] - difference[:, 1:-1, :-1]
    across *= weights[1:-1, 1:] * weights[1:-1, :-1]
    down = difference[:, 1:, 1:-1] - difference[:, :-1, 1:-1]
    down *= weights[1:, 1:-1] * weights[:-1, 1:-1]
    divergence = across[:, :, 1:] - across[:, :, :-1]
    divergence += down[:, 1:]
    divergence -= down[:, :-1]
    return divergence


@lru_cache(maxsize=256)
def _eigenvalues(count: int) -> npt.NDArray[np.float32]:
    """Eigenvalues of the 1-D second difference with zero ends, (count,)."""
    steps = np.arange(1, count + 1)
    return (2 * np.cos(np.pi * steps / (count + 1)) - 2).astype(np.float32)


def _solve_poisson(right: Planes) -> Planes:
    """Solve the discrete Poisson equation that is zero around each plane, (3, h, w); reuses it."""
    height, width = right.shape[1:]
    spectrum = fft.dstn(right, type=1, axes=(1, 2), overwrite_x=True)
    spectrum /= _eigenvalues(height)[:, None] + _eigenvalues(width)
    solved: Planes = fft.idstn(spectrum, type=1, axes=(1, 2), overwrite_x=True)
    return solved
