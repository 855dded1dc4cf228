# SPDX-License-Identifier: Apache-2.0
"""Face boxes, crops, and points and boxes moved between frame, crop and canvas.

Points follow OpenCV: the center of the top left pixel is (0, 0), so an image of width w covers x in
[-0.5, w - 0.5].
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
import numpy.typing as npt

from iid_mm.errors import InputError

if TYPE_CHECKING:
    from iid_mm.utils.typing import BoxesArray, ImageArray, PointsArray, Size

Window = tuple[int, int, int, int]
"""Part of a frame: x0, y0, x1, y1 in whole pixels, without x1 and y1."""

FOREHEAD = 0.3
"""Height of the forehead above the brows, relative to the height from brows to chin."""


@dataclass(frozen=True)
class CropSettings:
    """How faces are cropped; must be the same in preparation and inference.

    Attributes:
        margin: Margin around the face box on each side, relative to its longer side.
        max_side: Longest side of a stored crop, pixels.
    """

    margin: float = 0.25
    max_side: int = 320

    def __post_init__(self) -> None:
        if not 0 <= self.margin <= 5:
            raise InputError(f'margin={self.margin!r}: must lie in [0, 5]')
        if self.max_side < 16:
            raise InputError(f'max_side={self.max_side!r}: must be at least 16')


def landmarks_box(landmarks: PointsArray) -> BoxesArray:
    """Bounding box of points.

    Args:
        landmarks: (K, 2) points.

    Returns:
        (4,) float32 box x0, y0, x1, y1.
    """
    return np.concatenate([landmarks.min(axis=0), landmarks.max(axis=0)]).astype(np.float32)


def face_box(landmarks: PointsArray) -> BoxesArray:
    """Box of a face from hairline to chin, independent of the detector that found the face.

    Args:
        landmarks: (K, 2) iBUG points, the first 68 of which are used: they end at the brows.

    Returns:
        (4,) float32 box, the points' bounding box with :data:`FOREHEAD` added on top.
    """
    box = landmarks_box(landmarks[:68])
    box[1] -= FOREHEAD * (box[3] - box[1])
    return box


def crop_window(box: BoxesArray, size: Size, margin: float) -> Window | None:
    """Square window around a box, clipped to the frame.

    Args:
        box: (4,) face box.
        size: Width and height of the frame.
        margin: Added on each side, relative to the longer side of the box.

    Returns:
        The window; None if less than 2 x 2 pixels of it lie in the frame.
    """
    x0, y0, x1, y1 = (float(value) for value in box)
    half = max(x1 - x0, y1 - y0) * (0.5 + margin)
    # +0.5: from pixel centers to pixel edges, where windows are cut.
    cx, cy = (x0 + x1) / 2 + 0.5, (y0 + y1) / 2 + 0.5
    width, height = size
    left, top = max(round(cx - half), 0), max(round(cy - half), 0)
    right, bottom = min(round(cx + half), width), min(round(cy + half), height)
    if right - left < 2 or bottom - top < 2:
        return None
    return left, top, right, bottom


def stored_size(window: Window, max_side: int) -> Size:
    """Size of the stored crop of a window.

    Args:
        window: The window.
        max_side: Longest side of a stored crop; smaller windows are not resized.

    Returns:
        Width and height, at least 1.
    """
    width, height = window[2] - window[0], window[3] - window[1]
    scale = min(1.0, max_side / max(width, height))
    return max(round(width * scale), 1), max(round(height * scale), 1)


def crop_image(image: ImageArray, window: Window, max_side: int) -> ImageArray:
    """Crop a window and shrink it to its stored size.

    Args:
        image: (H, W[, 3]) uint8.
        window: The window, inside the image.
        max_side: Longest side of a stored crop.

    Returns:
        The crop, contiguous.
    """
    x0, y0, x1, y1 = window
    crop = image[y0:y1, x0:x1]
    size = stored_size(window, max_side)
    if size == (x1 - x0, y1 - y0):
        return np.ascontiguousarray(crop)
    return np.asarray(cv2.resize(crop, size, interpolation=cv2.INTER_AREA), np.uint8)


def crop_points(points: PointsArray, window: Window, max_side: int) -> PointsArray:
    """Move points from the frame to the stored crop.

    Args:
        points: (K, 2) points in pixels of the frame.
        window: Window of the crop.
        max_side: Longest side of a stored crop.

    Returns:
        (K, 2) float32 points in pixels of the stored crop; they may lie outside of it.
    """
    x0, y0, x1, y1 = window
    width, height = stored_size(window, max_side)
    scale = np.array([width / (x1 - x0), height / (y1 - y0)])
    moved = (points.astype(np.float64) - (x0, y0) + 0.5) * scale - 0.5
    return moved.astype(np.float32)


def stored_points(points: PointsArray) -> PointsArray:
    """Round landmarks as the index stores them.

    A thousandth of a pixel is far below what detectors resolve, and packs better.
    """
    return np.asarray(np.round(points, 3), points.dtype)


def canvas_to_frame(
    boxes: npt.ArrayLike, warp_matrix: npt.ArrayLike, window: Window, crop_size: Size
) -> npt.NDArray[np.float64]:
    """Move boxes from the model's canvas to the frame.

    Boxes are in pixel edges, an image of width w covers x from 0 to w; matrices map pixel centers.

    Args:
        boxes: (n, 4) x0, y0, x1, y1 on the canvas.
        warp_matrix: (2, 3) affine matrix from the crop to the canvas.
        window: Window of the crop.
        crop_size: Width and height of the crop, which may be smaller than its window.

    Returns:
        (n, 4, 2) corners x, y in pixels of the frame: upper left, upper right, lower right and lower left of
        each box on the canvas.
    """
    corners = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)[:, [0, 1, 2, 1, 2, 3, 0, 3]]
    points = corners.reshape(-1, 2) - 0.5
    matrix = np.asarray(warp_matrix, dtype=np.float64)[:2]
    on_crop = np.linalg.solve(matrix[:, :2], (points - matrix[:, 2]).T).T + 0.5
    x0, y0, x1, y1 = window
    scale = np.array([(x1 - x0) / crop_size[0], (y1 - y0) / crop_size[1]])
    return np.asarray((on_crop * scale + (x0, y0)).reshape(-1, 4, 2), dtype=np.float64)
