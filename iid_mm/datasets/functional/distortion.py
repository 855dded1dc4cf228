# SPDX-License-Identifier: Apache-2.0
"""The distortions and the strength of each at each level.

Seven kinds at five levels are those of DeeperForensics-1.0 (Jiang et al., CVPR 2020, arXiv 2001.03024). The
paper names them; their strengths are in the authors' program, ``perturbation/add_distortion_to_video.py``
and ``perturbation/distortions.py`` of https://github.com/EndlessSora/DeeperForensics-1.0 (read at commit
7589587), and are repeated here as facts. Three of them do not do what their name says, or depend on the
image:

* *JPEG compression* (``JPEG``, 2 to 6) encodes nothing: it shrinks the image by this factor and enlarges it
  again. The authors confirm it in issue 6 of their repository, and later papers call it pixelation. Here
  that is :data:`downscaling <DISTORTIONS>`, and ``jpeg`` is a real JPEG encoding at the five qualities of
  ImageNet-C (Hendrycks and Dietterich, ICLR 2019; ``ImageNet-C/create_c/make_imagenet_c.py`` of
  https://github.com/hendrycks/robustness). To compare with published results of DeeperForensics' JPEG, take
  ``downscaling``.
* *Color contrast change* multiplies all values, so that the image gets darker too. Kept.
* *Block-wise distortion* pastes ``n * floor(shorter side / 256)`` gray squares of 8 x 8 px, which is none
  at all on crops below 256 px. Here it is ``n * shorter side / 256``, rounded.

The functions take and return (H, W, 3) uint8 BGR images. Their results are the same on every machine: sums
and products are numpy's on single elements or OpenCV's in integers, and random numbers come from a generator
whose stream numpy guarantees. ``video_compression`` is in :mod:`~iid_mm.datasets.functional.h264`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from iid_mm.datasets.functional.degradation import jpeg
from iid_mm.errors import InputError
from iid_mm.utils.typing import FloatArray, ImageArray, Size

Seed = npt.NDArray[np.uint32]

LEVELS = (1, 2, 3, 4, 5)
"""Levels from weak to strong; level 0 is the clean image."""
CLEAN = 0
BLOCK = 8
"""Side of the blocks of the block-wise distortion, px."""
BLOCK_GRAY = 128
_LUMA = (0.114, 0.587, 0.299)
# BT.601 with the limited range of video: luma spans 219 and chroma 224 of 255 steps.
_LUMA_RANGE, _CHROMA_RANGE = 219 / 255, 224 / 255


@dataclass(frozen=True)
class Distortion:
    """One kind of distortion.

    Attributes:
        name: Name in commands and files.
        title: Name in tables.
        parameter: Meaning and unit of :attr:`values`.
        values: Strength at levels 1 to 5.
        source: Where the values come from.
    """

    name: str
    title: str
    parameter: str
    values: tuple[float, float, float, float, float]
    source: str


_DF = 'DeeperForensics-1.0'
_ALL = (
    Distortion(
        'saturation', 'color saturation', 'factor of the chroma', (0.4, 0.3, 0.2, 0.1, 0.0), f'{_DF}, CS'
    ),
    Distortion(
        'contrast', 'color contrast', 'factor of all values', (0.85, 0.725, 0.6, 0.475, 0.35), f'{_DF}, CC'
    ),
    Distortion(
        'block_wise', 'block-wise', '8 x 8 px blocks a 256 px side', (16, 32, 48, 64, 80), f'{_DF}, BW'
    ),
    Distortion(
        'gaussian_noise',
        'Gaussian noise',
        'variance in YCbCr, range 1',
        (0.001, 0.002, 0.005, 0.01, 0.05),
        f'{_DF}, GNC',
    ),
    Distortion('gaussian_blur', 'Gaussian blur', 'kernel side (px)', (7, 9, 13, 17, 21), f'{_DF}, GB'),
    Distortion('jpeg', 'JPEG compression', 'quality', (25, 18, 15, 10, 7), 'ImageNet-C'),
    Distortion('video_compression', 'video compression', 'H.264 CRF', (30, 32, 35, 38, 40), f'{_DF}, VC'),
    Distortion('downscaling', 'down-scaling', 'factor', (2, 3, 4, 5, 6), f'{_DF}, JPEG'),
)
DISTORTIONS: dict[str, Distortion] = {distortion.name: distortion for distortion in _ALL}
"""All kinds by name, in the order of the table."""


def find_distortion(kind: str) -> Distortion:
    """Look up a kind.

    Raises:
        InputError: If it is unknown.
    """
    if kind not in DISTORTIONS:
        raise InputError(f'distortion {kind!r} is unknown; choose from {", ".join(DISTORTIONS)}')
    return DISTORTIONS[kind]


def strength(kind: str, level: int) -> float:
    """Strength of a kind at a level.

    Args:
        kind: Name of the distortion.
        level: 1 to 5.

    Raises:
        InputError: If the kind is unknown or the level is none of these.
    """
    distortion = find_distortion(kind)
    if level not in LEVELS:
        raise InputError(
            f'level={level!r} of {kind}: must be one of 1 to {LEVELS[-1]}, or 0 for the clean image'
        )
    return distortion.values[level - 1]


def sample_seed(video_key: str, frame: int, image_name: str, kind: str) -> Seed:
    """Seed of one sample's distortion, the same for every level, machine and process.

    One seed for all levels makes curves smooth: a stronger level has the noise of the weaker one, larger, and
    the blocks of the weaker one with others added.

    Args:
        video_key: Key of the video.
        frame: Number of the frame.
        image_name: File name of the crop, which differs among the faces of a frame.
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
        value: Its strength, see :func:`strength`.
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
