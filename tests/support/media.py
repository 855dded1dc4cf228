# SPDX-License-Identifier: Apache-2.0
"""Tiny videos, images and landmarks whose crops can be worked out by hand."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import av
import cv2
import numpy as np

if TYPE_CHECKING:
    from iid_mm.utils.typing import ImageArray, PointsArray, Size

SIZE: Size = (64, 48)
"""Width and height of the frames."""
SIDE = 20.0
"""Side of the square box around the landmarks of a face, pixels."""


def make_frame(number: int, *, size: Size = SIZE, seed: int = 0, fake: bool = False) -> ImageArray:
    """A smooth random image that brightens with time and moves to the right with the face in it.

    Args:
        number: Frame number; every frame is 2 gray values brighter than the one before and 1 px further.
        size: Width and height.
        seed: Equal seeds give equal images.
        fake: Change the image under :func:`make_mask`.

    Returns:
        (H, W, 3) uint8 BGR.
    """
    coarse = np.random.default_rng(seed).uniform(60, 150, (6, 8, 3)).astype(np.float32)
    image = np.roll(cv2.resize(coarse, size, interpolation=cv2.INTER_CUBIC), number, axis=1)
    if fake:
        changed = make_mask(number, size=size)[..., 0] > 0
        image[changed] = 230 - image[changed]
    image += 2 * (number % 40)
    return np.clip(image, 0, 255).astype(np.uint8)


def make_mask(number: int, *, size: Size = SIZE) -> ImageArray:
    """White where :func:`make_frame` changes a fake: in a face that moves as that of :func:`write_landmarks`.

    Args:
        number: Frame number.
        size: Width and height.

    Returns:
        (H, W, 3) uint8, 0 or 255.
    """
    width, height = size
    mask = np.zeros((height, width, 3), np.uint8)
    center = (width * 5 // 16 + number, height // 2)
    return np.asarray(cv2.ellipse(mask, center, (8, 9), 0, 0, 360, (255, 255, 255), -1), np.uint8)


def make_frames(count: int, *, size: Size = SIZE, seed: int = 0, fake: bool = False) -> list[ImageArray]:
    """The first ``count`` frames of :func:`make_frame`."""
    return [make_frame(number, size=size, seed=seed, fake=fake) for number in range(count)]


def write_video(path: Path, frames: Iterable[ImageArray], *, codec: str = 'libx264', crf: int = 10) -> Path:
    """Write a video of 25 frames a second.

    Args:
        path: The file; its suffix chooses the container.
        frames: (H, W, 3) uint8 BGR with even sides.
        codec: Encoder of FFmpeg.
        crf: Quality of x264; lower is better.

    Returns:
        ``path``.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(os.path.abspath(path), 'w') as container:
        options = {'crf': str(crf), 'x264-params': 'cpu-independent=1:threads=1'}
        stream = container.add_stream(codec, rate=25, options=options if codec == 'libx264' else {})
        stream.pix_fmt = 'yuv420p'
        for number, image in enumerate(frames):
            if number == 0:
                stream.height, stream.width = image.shape[:2]
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format='bgr24')))
        container.mux(stream.encode())
    return path


def write_image(path: Path, image: ImageArray) -> Path:
    """Write an image in the format of the suffix and return ``path``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(path.suffix, image)[1].tobytes())
    return path


def face_points(left: float, top: float, side: float = SIDE, *, count: int = 68) -> PointsArray:
    """Landmarks of a face that looks into the camera.

    Args:
        left: Left edge of the bounding box of the first 68 points.
        top: Its upper edge.
        side: Its width and height.
        count: 68, or 81 for 13 more points above the brows.

    Returns:
        (count, 2) float32 iBUG points.
    """
    angles = np.linspace(np.pi, 0, 17)
    jaw = [(0.5 + 0.5 * np.cos(a), 0.2 + 0.8 * np.sin(a)) for a in angles]
    brows = [
        (x, 0.0 if i == 2 else 0.05) for s in (0.1, 0.55) for i, x in enumerate(np.linspace(s, s + 0.35, 5))
    ]
    nose = [(0.5, y) for y in (0.2, 0.3, 0.4, 0.5)] + [(x, 0.55) for x in (0.4, 0.45, 0.5, 0.55, 0.6)]
    lids = ((-0.1, 0), (-0.04, -0.04), (0.04, -0.04), (0.1, 0), (0.04, 0.04), (-0.04, 0.04))
    eyes = [(cx + x, 0.2 + y) for cx in (0.28, 0.72) for x, y in lids]
    outer = [(0.5 - 0.2 * np.cos(a), 0.75 - 0.08 * np.sin(a)) for a in np.arange(12) * np.pi / 6]
    inner = [(0.5 - 0.12 * np.cos(a), 0.75 - 0.03 * np.sin(a)) for a in np.arange(8) * np.pi / 4]
    forehead = [(x, -0.3) for x in np.linspace(0.05, 0.95, 13)] if count == 81 else []
    points = np.array(jaw + brows + nose + eyes + outer + inner + forehead)
    return (points * side + (left, top)).astype(np.float32)


def write_landmarks(root: Path, video: Path, count: int, *, left: float = 10, top: float = 14) -> Path:
    """Write the side file of the analyzer ``precomputed``: a face that moves 1 px to the right a frame.

    Args:
        root: Folder of the dataset.
        video: The video (or folder of frames) in it.
        count: Frames.
        left: Left edge of the face in frame 0.
        top: Its upper edge.

    Returns:
        Path of the side file.
    """
    path = (root / 'landmarks' / video.relative_to(root)).with_suffix('.npy')
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, np.stack([face_points(left + t, top) for t in range(count)]))
    return path
