# SPDX-License-Identifier: Apache-2.0
"""Multi-scale facial swap: paste a face, or a window of it, from one aligned frame into another.

:func:`swap_face` carries out one swap in this order::

    landmarks -> hull_mask -> elastic_deform                mask of the face (bent in some global swaps)
    dssim_map * mask -> best_window -> window_mask          mask cut to a window (partial swaps only)
    source, target, mask -> alpha_blend or poisson_blend    swapped image

and :func:`change_scores` says how much the result still differs from the genuine frame. All draws are made
by :class:`~iid_mm.datasets.transforms.MultiScaleFacialSwap`; nothing here is random.

Images are (H, W, 3) uint8 BGR on one canvas, masks (H, W).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt
from scipy import fft

from iid_mm.datasets.functional.geometry import (
    BinaryMask,
    Window,
    bounding_window,
    hull_mask,
    window_mask,
)
from iid_mm.utils.typing import FloatArray, ImageArray, MaskArray, PointsArray, Size

Planes = npt.NDArray[np.float32]
"""Color planes, (3, H, W)."""
Scores = npt.NDArray[np.float32]
"""(H, W) dissimilarities, 0 (equal) to 1."""

FEATHER_KERNEL = 5
FEATHER_SIGMA = 3.0
SSIM_KERNEL = 11
SSIM_SIGMA = 1.5
_C1 = (0.01 * 255) ** 2
_C2 = (0.03 * 255) ** 2


@dataclass(frozen=True)
class SwapPlan:
    """One draw of what to do with a fake.

    Attributes:
        kind: ``untouched``, ``genuine_into_fake``, ``fake_into_genuine`` or ``partial``.
        poisson: Blend gradients; otherwise mix colors with a feathered mask.
        window: Window (w, h); drawn for every plan, used only by partial ones.
        bend: (gh, gw, 2) displacements in pixels that bend the mask of a global swap; None leaves it.
    """

    kind: str
    poisson: bool
    window: Size
    bend: FloatArray | None


def swap_face(
    fake: ImageArray, genuine: ImageArray, landmarks: PointsArray, plan: SwapPlan
) -> tuple[ImageArray, Window | None]:
    """Carry out a plan.

    Args:
        fake: (H, W, 3).
        genuine: (H, W, 3) frame that the fake was made from.
        landmarks: (K, 2) pixels of the canvas.
        plan: The draws; its kind is not ``untouched``.

    Returns:
        (H, W, 3) uint8, a new array, and the window of a partial swap: every pixel that differs from the
        genuine frame lies inside.
    """
    mask = hull_mask(landmarks, (fake.shape[1], fake.shape[0]))
    if plan.bend is not None:
        mask = elastic_deform(mask, plan.bend)
    if plan.kind == 'partial':
        window = best_window(dssim_map(fake, genuine) * mask, plan.window)
        inner = window_mask(mask, window, margin=FEATHER_KERNEL // 2)
        return paste(fake, genuine, inner, plan.poisson, limit=window), window
    source, target = (fake, genuine) if plan.kind == 'fake_into_genuine' else (genuine, fake)
    return paste(source, target, mask, plan.poisson), None


def change_scores(first: ImageArray, second: ImageArray, window: Window | None = None) -> Scores:
    """Structural dissimilarity of two images, or of the surroundings of a window.

    Args:
        first: (H, W, 3).
        second: (H, W, 3).
        window: x0, y0, x1, y1: only this window and 10 px around it are compared; None compares everything.

    Returns:
        (H, W), or the smaller (h, w) around the window.
    """
    if window is not None:
        height, width = first.shape[:2]
        reach = SSIM_KERNEL - 1
        x0, y0 = max(0, window[0] - reach), max(0, window[1] - reach)
        x1, y1 = min(width, window[2] + reach), min(height, window[3] + reach)
        first, second = first[y0:y1, x0:x1], second[y0:y1, x0:x1]
    return dssim_map(first, second)


# Masks


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


def feather(mask: BinaryMask) -> MaskArray:
    """Soften the edge of a mask with a Gaussian; values change up to ``FEATHER_KERNEL // 2`` px outside."""
    soft: MaskArray = cv2.GaussianBlur(
        mask.astype(np.float32), (FEATHER_KERNEL, FEATHER_KERNEL), FEATHER_SIGMA
    )
    return soft


# Where two frames differ


def dssim_map(first: ImageArray, second: ImageArray) -> Scores:
    """Structural dissimilarity ``(1 - SSIM) / 2`` at every pixel.

    Computed on gray values (a third of the work of color, and forgeries that change no gray value
    are rare) with a Gaussian window, 11 x 11, sigma 1.5.

    Args:
        first: (H, W, 3) uint8 BGR.
        second: (H, W, 3) uint8 BGR.

    Returns:
        (H, W) float32, 0 (equal) to 1.
    """
    # uint8 to float32 first: cv2's arithmetic on mixed types is an order of magnitude slower.
    gray_1, gray_2 = (cv2.cvtColor(image, cv2.COLOR_BGR2GRAY).astype(np.float32) for image in (first, second))
    # The local means of sum p, difference q, p^2 and q^2 are enough, and with q = 0 numerator and
    # denominator are computed alike, so that equal images give exactly 0.
    total, difference = gray_1 + gray_2, gray_1 - gray_2
    mean_p, mean_q = _blur(total), _blur(difference)
    variance_p, variance_q = _blur(total * total), _blur(difference * difference)
    mean_p *= mean_p
    mean_q *= mean_q
    variance_p -= mean_p
    variance_q -= mean_q
    mean_p += 2 * _C1
    variance_p += 2 * _C2
    result: Scores = mean_p - mean_q
    result *= variance_p - variance_q
    mean_p += mean_q
    variance_p += variance_q
    mean_p *= variance_p
    result /= mean_p
    np.subtract(1, result, out=result)
    result *= 0.5
    return result


def _blur(image: Scores) -> Scores:
    blurred: Scores = cv2.GaussianBlur(image, (SSIM_KERNEL, SSIM_KERNEL), SSIM_SIGMA)
    return blurred


def best_window(score: Scores, size: Size) -> Window:
    """Position of the window with the largest sum.

    Args:
        score: (H, W), e.g. the dissimilarity inside the face hull and 0 outside.
        size: Window (w, h), clipped to the array.

    Returns:
        x0, y0, x1, y1 (x1 and y1 exclusive); the topmost, then leftmost, of equal windows.
    """
    width, height = min(size[0], score.shape[1]), min(size[1], score.shape[0])
    table = cv2.integral(score, sdepth=cv2.CV_64F)
    sums = table[height:, width:] - table[:-height, width:]
    sums -= table[height:, :-width] - table[:-height, :-width]
    y0, x0 = np.unravel_index(int(np.argmax(sums)), sums.shape)
    return int(x0), int(y0), int(x0) + width, int(y0) + height


# Blending


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
    return alpha_blend(source, target, feather(mask))


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
