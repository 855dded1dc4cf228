# SPDX-License-Identifier: Apache-2.0
"""Image degradations. Each takes and returns an (H, W, 3) uint8 BGR image and draws nothing itself.

OpenCV alone: one call costs 0.1-0.4 ms at 224 px, and no import of an augmentation library (seconds,
with a network request) stands before the first batch.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from iid_mm.utils.typing import FloatArray, ImageArray, MaskArray

INTERPOLATIONS = (cv2.INTER_NEAREST, cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_AREA)
"""What :func:`down_up` may be given."""

_LEVELS = np.arange(256, dtype=np.float64)


def _look_up(image: ImageArray, levels: FloatArray) -> ImageArray:
    """Replace every gray level v by ``levels[v]``; ``levels`` is (256,) or (256, 3)."""
    table = np.clip(np.rint(levels), 0, 255).astype(np.uint8)
    mapped: ImageArray = cv2.LUT(image, table[None] if table.ndim == 2 else table)
    return mapped


def jpeg(image: ImageArray, quality: int) -> ImageArray:
    """Compress as JPEG and decode; ``quality`` from 1 to 100."""
    _, buffer = cv2.imencode('.jpg', image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(buffer, cv2.IMREAD_COLOR), dtype=np.uint8)


def min_max_stretch(image: ImageArray) -> ImageArray:
    """Stretch the range of gray levels, over all channels, to 0-255; a flat image stays."""
    # As rows: on a single column cv2 is a hundred times slower.
    low, high, _, _ = cv2.minMaxLoc(image.reshape(image.shape[0], -1))
    if high <= low or (low == 0 and high == 255):
        return image
    return _look_up(image, (_LEVELS - low) * (255 / (high - low)))


def add_noise(image: ImageArray, noise: npt.NDArray[np.float32]) -> ImageArray:
    """Add (H, W, 3) noise in gray levels."""
    total = image.astype(np.float32)
    total += noise
    # convertScaleAbs rounds and saturates in one pass, but would mirror negative values.
    np.maximum(total, 0, out=total)
    noisy: ImageArray = cv2.convertScaleAbs(total)
    return noisy


def low_frequency_noise(image: ImageArray, grid: FloatArray) -> ImageArray:
    """Add smooth noise.

    Args:
        image: (H, W, 3).
        grid: (gh, gw, 3) gray levels on a coarse grid that spans the image; enlarged with cubic
            interpolation.
    """
    size = (image.shape[1], image.shape[0])
    return add_noise(image, cv2.resize(grid.astype(np.float32), size, interpolation=cv2.INTER_CUBIC))


def gaussian_noise(image: ImageArray, sigma: float, seed: int) -> ImageArray:
    """Add Gaussian noise of ``sigma`` gray levels, drawn from ``seed``."""
    # cv2's generator is three times faster than numpy's and is seeded per process, so give it its
    # own seed for every image.
    # One plane: of three channels cv2 would fill the first with a scalar sigma and leave the others flat.
    noise = np.empty((image.shape[0], image.shape[1] * 3), dtype=np.int16)
    cv2.setRNGSeed(seed)
    # Eighths of gray levels: sigma below 1 would otherwise be lost to rounding.
    cv2.randn(noise, 0, 8 * sigma)
    return add_noise(image, noise.reshape(image.shape) * np.float32(0.125))


def shift_hsv(image: ImageArray, hue: int, saturation: int, value: int) -> ImageArray:
    """Shift hue (cyclic, 0-179 as in OpenCV), saturation and value (clipped, 0-255)."""
    hsv = cv2.cvtColor(image, cv2.COLOR_BGR2HSV)
    levels = np.stack([(_LEVELS + hue) % 180, _LEVELS + saturation, _LEVELS + value], axis=1)
    shifted: ImageArray = cv2.cvtColor(_look_up(hsv, levels), cv2.COLOR_HSV2BGR)
    return shifted


def gamma(image: ImageArray, exponent: float) -> ImageArray:
    """Raise gray levels, as fractions of 255, to a power."""
    return _look_up(image, 255 * (_LEVELS / 255) ** exponent)


def color_tone(image: ImageArray, gains: Sequence[float]) -> ImageArray:
    """Multiply the channels, B, G, R, by gains: a warmer or colder white."""
    return _look_up(image, _LEVELS[:, None] * np.asarray(gains, dtype=np.float64))


def motion_blur(image: ImageArray, length: int, angle: float) -> ImageArray:
    """Average along a line.

    Args:
        image: (H, W, 3).
        length: Pixels; an odd number.
        angle: Direction in degrees, 0 is horizontal.
    """
    kernel = np.zeros((length, length), dtype=np.float32)
    middle = length // 2
    reach = middle * np.array([np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))])
    start, stop = (tuple(int(v) for v in np.rint(middle + sign * reach)) for sign in (-1, 1))
    cv2.line(kernel, start, stop, 1.0)
    blurred: ImageArray = cv2.filter2D(image, -1, kernel / kernel.sum())
    return blurred


def gaussian_blur(image: ImageArray, sigma: float) -> ImageArray:
    """Blur with a Gaussian of ``sigma`` pixels."""
    side = 2 * max(1, round(2.5 * sigma)) + 1
    blurred: ImageArray = cv2.GaussianBlur(image, (side, side), sigma)
    return blurred


def sharpen(image: ImageArray, sigma: float, amount: float) -> ImageArray:
    """Unsharp mask: add ``amount`` times what a Gaussian of ``sigma`` pixels takes away.

    Args:
        image: (H, W, 3).
        sigma: Pixels.
        amount: 0 changes nothing.
    """
    sharpened: ImageArray = cv2.addWeighted(image, 1 + amount, gaussian_blur(image, sigma), -amount, 0)
    return sharpened


def down_up(image: ImageArray, factor: float, down: int, up: int) -> ImageArray:
    """Reduce by a factor and enlarge again.

    Args:
        image: (H, W, 3).
        factor: At least 1.
        down: OpenCV's interpolation for the reduction.
        up: And for the enlargement.
    """
    height, width = image.shape[:2]
    small = (max(1, round(width / factor)), max(1, round(height / factor)))
    reduced = cv2.resize(image, small, interpolation=down)
    enlarged: ImageArray = cv2.resize(reduced, (width, height), interpolation=up)
    return enlarged


def transfer_color(
    image: ImageArray, goal: ImageArray, mask: MaskArray, mismatch: float, residue: float
) -> ImageArray:
    """Bring mean and spread of an image's colors under a mask toward those of another.

    Args:
        image: (H, W, 3) uint8, to be changed.
        goal: (H, W, 3) uint8, whose colors are wanted.
        mask: (H, W) where the statistics are taken (> 0.5).
        mismatch: Share of the difference that remains, 0 matches fully.
        residue: Largest difference of the means that remains, in gray levels.

    Returns:
        (H, W, 3) uint8.
    """
    area = mask > 0.5
    if not area.any():
        return image
    have, want = image[area].astype(np.float32), goal[area].astype(np.float32)
    ratio = np.clip(want.std(0).mean() / max(float(have.std(0).mean()), 1.0), 0.6, 1.5)
    remain = np.float32(mismatch) * (have.mean(0) - want.mean(0))
    remain *= min(1.0, residue / max(float(np.linalg.norm(remain)), 1e-6))
    ratio = np.float32(mismatch) + np.float32(1 - mismatch) * ratio
    mixed = (image - have.mean(0)) * ratio + want.mean(0) + remain
    return np.clip(np.rint(mixed), 0, 255).astype(np.uint8)
