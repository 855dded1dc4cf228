# SPDX-License-Identifier: Apache-2.0
"""Distortions of single images. Each takes and returns an (H, W, 3) uint8 BGR image.

Their results are the same on every machine: sums and products are numpy's on single elements or OpenCV's in
integers, and random numbers come from a generator whose stream numpy guarantees.
"""

from __future__ import annotations

import hashlib

import cv2
import numpy as np
import numpy.typing as npt

from iid_mm.datasets.functional.degradation import jpeg
from iid_mm.utils.typing import FloatArray, ImageArray, Size

Seed = npt.NDArray[np.uint32]

BLOCK = 8
"""Side of the blocks of the block-wise distortion, px."""
BLOCK_GRAY = 128
_LUMA = (0.114, 0.587, 0.299)
# BT.601 with the limited range of video: luma spans 219 and chroma 224 of 255 steps.
_LUMA_RANGE, _CHROMA_RANGE = 219 / 255, 224 / 255


def sample_seed(video_key: str, frame: int, image_name: str, kind: str) -> Seed:
    """Seed of one sample's distortion, the same for every level, machine and process.

    One seed for all levels makes curves smooth: a stronger level has the noise of the weaker one, larger, and
    the blocks of the weaker one with others added.

    Args:
        video_key: Key of the video.
        frame: Number of the frame.
        image_name: File name of the crop, which tells several faces of a frame apart.
        kind: Name of the distortion.

    Returns:
        (8,) words.
    """
    text = '\n'.join((video_key, str(frame), image_name, kind))
    return np.frombuffer(hashlib.sha256(text.encode()).digest(), dtype='>u4').astype(np.uint32)


def change_saturation(image: ImageArray, factor: float) -> ImageArray:
    """Multiply the chroma (BT.601), luma stays; 0 makes the image gray."""
    pixels = image.astype(np.float32)
    luma = _LUMA[0] * pixels[..., 0] + _LUMA[1] * pixels[..., 1] + _LUMA[2] * pixels[..., 2]
    return _to_uint8(luma[..., None] + factor * (pixels - luma[..., None]))


def change_contrast(image: ImageArray, factor: float) -> ImageArray:
    """Multiply all values, as published: contrast and brightness fall."""
    table = np.rint(np.arange(256) * factor).astype(np.uint8)
    changed: ImageArray = cv2.LUT(image, table)
    return changed


def block_count(size: Size, blocks: float) -> int:
    """How many blocks an image gets.

    Args:
        size: (w, h) of the image.
        blocks: Blocks of an image whose shorter side has 256 px; the number is proportional to that side.

    Returns:
        At least 1.
    """
    return max(1, round(blocks * min(size) / 256))


def paste_blocks(image: ImageArray, count: int, seed: Seed) -> ImageArray:
    """Paste gray blocks at random places; they may overlap and lie wholly inside.

    The first blocks of a larger count are those of a smaller one.
    """
    height, width = image.shape[:2]
    side = min(BLOCK, height, width)
    draws = np.random.RandomState(seed).random_sample((count, 2))
    corners = (draws * (width - side + 1, height - side + 1)).astype(np.int64)
    changed = image.copy()
    for left, top in corners.tolist():
        changed[top : top + side, left : left + side] = BLOCK_GRAY
    return changed


def gaussian_noise(image: ImageArray, variance: float, seed: Seed) -> ImageArray:
    """Add white Gaussian noise to luma and chroma.

    Args:
        image: (H, W, 3).
        variance: Of each component of limited-range BT.601 YCbCr, whose values lie in [0, 1].
        seed: Of the noise.
    """
    # The conversions are linear, so the noise alone is converted and nothing of the image is lost.
    draws = np.random.RandomState(seed).standard_normal(image.shape).astype(np.float32)
    draws *= np.float32(255 * np.sqrt(variance))
    luma = draws[..., 0] / np.float32(_LUMA_RANGE)
    blue = draws[..., 1] / np.float32(_CHROMA_RANGE)
    red = draws[..., 2] / np.float32(_CHROMA_RANGE)
    noise = np.stack(
        [luma + 1.772 * blue, luma - 0.344136 * blue - 0.714136 * red, luma + 1.402 * red], axis=-1
    )
    return _to_uint8(image + noise)


def gaussian_blur(image: ImageArray, side: int) -> ImageArray:
    """Blur with a Gaussian kernel of ``side`` pixels (odd) and a sixth of them as sigma."""
    blurred: ImageArray = cv2.GaussianBlur(image, (side, side), side / 6)
    return blurred


def downscale(image: ImageArray, factor: int) -> ImageArray:
    """Reduce by a whole factor and enlarge again, both bilinear without anti-aliasing, as published."""
    height, width = image.shape[:2]
    small = cv2.resize(
        image, (max(1, width // factor), max(1, height // factor)), interpolation=cv2.INTER_LINEAR
    )
    enlarged: ImageArray = cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)
    return enlarged


def distort_image(image: ImageArray, kind: str, value: float, seed: Seed) -> ImageArray:
    """Apply one of the kinds that need one image only: all but ``video_compression``.

    Args:
        image: (H, W, 3) uint8, BGR.
        kind: Name of the distortion.
        value: Its strength, see :func:`~robustness.distortions.strength`.
        seed: Of its random draws.

    Returns:
        A new image of the same size.
    """
    if kind == 'saturation':
        return change_saturation(image, value)
    if kind == 'contrast':
        return change_contrast(image, value)
    if kind == 'block_wise':
        return paste_blocks(image, block_count((image.shape[1], image.shape[0]), value), seed)
    if kind == 'gaussian_noise':
        return gaussian_noise(image, value, seed)
    if kind == 'gaussian_blur':
        return gaussian_blur(image, int(value))
    if kind == 'jpeg':
        return jpeg(image, int(value))
    if kind == 'downscaling':
        return downscale(image, int(value))
    raise ValueError(f'kind={kind!r} cannot be applied to a single image')


def psnr(first: ImageArray, second: ImageArray) -> float:
    """Peak signal-to-noise ratio of two images of one shape, dB; infinite if they are equal."""
    error = float(np.mean((first.astype(np.float64) - second) ** 2))
    return float('inf') if error == 0 else float(10 * np.log10(255**2 / error))


def _to_uint8(values: FloatArray) -> ImageArray:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)
