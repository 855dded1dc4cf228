# SPDX-License-Identifier: Apache-2.0
"""Structural dissimilarity of two aligned images and the window where it is largest."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from iid_mm.utils.typing import ImageArray, Size

KERNEL = 11
SIGMA = 1.5
_C1 = (0.01 * 255) ** 2
_C2 = (0.03 * 255) ** 2


def dssim_map(first: ImageArray, second: ImageArray) -> npt.NDArray[np.float32]:
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
    result: npt.NDArray[np.float32] = mean_p - mean_q
    result *= variance_p - variance_q
    mean_p += mean_q
    variance_p += variance_q
    mean_p *= variance_p
    result /= mean_p
    np.subtract(1, result, out=result)
    result *= 0.5
    return result


def _blur(image: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    blurred: npt.NDArray[np.float32] = cv2.GaussianBlur(image, (KERNEL, KERNEL), SIGMA)
    return blurred


def best_window(score: npt.NDArray[np.float32], size: Size) -> tuple[int, int, int, int]:
    """Position of the window with the largest sum.

    Args:
        score: (H, W), e.g. the dissimilarity inside the face hull and 0 outside.
        size: Window (w, h), not larger than the array.

    Returns:
        x0, y0, x1, y1 (x1 and y1 exclusive); the topmost, then leftmost, of equal windows.
    """
    width, height = size
    table = cv2.integral(score, sdepth=cv2.CV_64F)
    sums = table[height:, width:] - table[:-height, width:]
    sums -= table[height:, :-width] - table[:-height, :-width]
    y0, x0 = np.unravel_index(int(np.argmax(sums)), sums.shape)
    return int(x0), int(y0), int(x0) + width, int(y0) + height
