# SPDX-License-Identifier: Apache-2.0
"""Parts of an image, for detectors of a fixed input size that miss small faces in the whole image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from iid_mm.faces.cropping import Window, crop_window, landmarks_box
from iid_mm.faces.tracking import box_area, box_distance

if TYPE_CHECKING:
    from iid_mm.faces.analyzers.base import Detection, Face
    from iid_mm.utils.typing import BoxesArray, ImageArray, PointsArray, Size

MAX_PARTS = 200
"""Most parts of one image that are searched, so that the largest photos take seconds."""
MAX_PART_SIDE = 1280
"""Larger parts are shrunk before detection; the inputs of detectors are smaller still."""
MIN_PART_FACE = 32
"""Side of the smallest faces that parts are searched for, in pixels: scores of smaller ones mean little."""
PART_SCORE = 0.6
"""Score that a face needs in a part: parts show more, also wallpaper."""
MAX_ASPECT = 8
"""More elongated images do not show people, and would have very many parts."""


@dataclass(frozen=True)
class Region:
    """A part of an image, perhaps resized.

    Attributes:
        image: (h, w, 3) uint8, contiguous.
        origin: Pixel of the whole image at the part's top left corner.
        scale: Pixels of ``image`` per pixel of the whole image, along x and y.
    """

    image: ImageArray
    origin: tuple[int, int]
    scale: tuple[float, float]

    def to_whole(self, points: PointsArray) -> PointsArray:
        """Move (K, 2) points from pixels of the part to pixels of the whole image, float32."""
        # Pixel centers are whole numbers, so a pixel reaches half a pixel to each side.
        moved = (points.astype(np.float64) + 0.5) / self.scale - 0.5 + self.origin
        return moved.astype(np.float32)

    def box_to_whole(self, box: BoxesArray) -> BoxesArray:
        """Move a (4,) box likewise."""
        return self.to_whole(box.reshape(2, 2)).reshape(4)


def cut_window(image: ImageArray, window: Window, *, max_side: int = 0, min_side: int = 0) -> Region:
    """Crop a window and resize it for a detector.

    Args:
        image: (H, W, 3) uint8.
        window: Window inside the image.
        max_side: A longer part is shrunk to this; 0 for no limit.
        min_side: A shorter part is enlarged to this, at most twofold; 0 for no limit.

    Returns:
        The part.
    """
    x0, y0, x1, y1 = window
    part = image[y0:y1, x0:x1]
    side = max(x1 - x0, y1 - y0)
    scale = 1.0
    if max_side and side > max_side:
        scale = max_side / side
    elif min_side and side < min_side:
        scale = min(min_side / side, 2.0)
    if scale == 1:
        return Region(np.ascontiguousarray(part), (x0, y0), (1.0, 1.0))
    size = max(round((x1 - x0) * scale), 1), max(round((y1 - y0) * scale), 1)
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    resized = np.asarray(cv2.resize(part, size, interpolation=how), np.uint8)
    return Region(resized, (x0, y0), (size[0] / (x1 - x0), size[1] / (y1 - y0)))


def cut_around(
    image: ImageArray, box: BoxesArray, margin: float, *, max_side: int = 0, min_side: int = 0
) -> Region | None:
    """Crop the square around a box.

    Args:
        image: (H, W, 3) uint8.
        box: (4,) box.
        margin: Added on each side, relative to the longer side of the box.
        max_side: See :func:`cut_window`.
        min_side: See :func:`cut_window`.

    Returns:
        The part; None if it lies outside of the image.
    """
    window = crop_window(box, (image.shape[1], image.shape[0]), margin)
    return None if window is None else cut_window(image, window, max_side=max_side, min_side=min_side)


def square_parts(width: int, height: int, share: float = 0.6) -> list[Window]:
    """Divide an image into overlapping squares.

    Args:
        width: Width of the image.
        height: Height of the image.
        share: Side of the squares, relative to the shorter side of the image.

    Returns:
        Windows x0, y0, x1, y1, row by row, that cover the image and overlap by a third or more; none for a
        strip that is more than :data:`MAX_ASPECT` times as long as it is wide.
    """
    if max(width, height) > MAX_ASPECT * min(width, height):
        return []
    side = max(round(share * min(width, height)), 1)

    def starts(length: int) -> list[int]:
        steps = max(int(np.ceil((length - side) / (side * 2 / 3))), 0)
        return [round(step * (length - side) / max(steps, 1)) for step in range(steps + 1)]

    return [(x, y, x + side, y + side) for y in starts(height) for x in starts(width)]


def nested_parts(width: int, height: int, min_side: int) -> list[Window]:
    """Squares of :func:`square_parts` of several sizes, each half as large as the one before.

    Args:
        width: Width of the image.
        height: Height of the image.
        min_side: Side of the smallest squares.

    Returns:
        Windows, the largest first, at most :data:`MAX_PARTS`.
    """
    windows = square_parts(width, height)
    share = 0.3
    while windows and share * min(width, height) >= min_side:
        level = square_parts(width, height, share)
        if len(windows) + len(level) > MAX_PARTS:
            break
        windows += level
        share /= 2
    return windows


def search_parts(
    image: ImageArray,
    found: Sequence[Detection],
    windows: Sequence[Window],
    detect: Callable[[ImageArray], list[Detection]],
) -> list[Detection]:
    """Add the faces that a detector finds in parts of an image to those in the whole image.

    Args:
        image: (H, W, 3) uint8.
        found: Detections in the whole image; all are kept.
        windows: The parts.
        detect: Detects faces in a part, in its pixels.

    Returns:
        All detections, each face once, those in the whole image first, each group by score. A face at the
        border of a part is left to another part.
    """
    size = (image.shape[1], image.shape[0])
    extra: list[Detection] = []
    for window in windows:
        part = cut_window(image, window, max_side=MAX_PART_SIDE)
        boxes = [(part.box_to_whole(box), score) for box, score in detect(part.image)]
        extra += [
            (box, score)
            for box, score in boxes
            if score >= PART_SCORE and box_area(box) >= MIN_PART_FACE**2 and not _is_cut(box, window, size)
        ]
    kept = list(found)
    for box, score in sorted(extra, key=lambda item: -item[1]):
        if not any(same_face(box, other) for other, _ in kept):
            kept.append((box, score))
    return kept


def _is_cut(box: BoxesArray, window: Window, size: Size) -> bool:
    """Whether a box reaches a border of a part inside of the image."""
    x0, y0, x1, y1 = window
    rim = 0.02 * (x1 - x0)
    return bool(
        (x0 > 0 and box[0] < x0 + rim)
        or (y0 > 0 and box[1] < y0 + rim)
        or (x1 < size[0] and box[2] > x1 - rim)
        or (y1 < size[1] and box[3] > y1 - rim)
    )


def same_face(first: BoxesArray, second: BoxesArray) -> bool:
    """Whether two boxes show one face: they overlap much, or most of the smaller lies in the larger."""
    size = np.minimum(first[2:], second[2:]) - np.maximum(first[:2], second[:2])
    if size.min() <= 0:
        return False
    smaller = min(box_area(first), box_area(second))
    return overlap(first, second) > 0.4 or float(size[0]) * float(size[1]) > 0.6 * smaller


def distinct_faces(faces: Sequence[Face]) -> list[Face]:
    """Drop faces whose landmarks are in the place of those of an earlier one."""
    kept: list[Face] = []
    for face in faces:
        box = landmarks_box(face.landmarks)
        if not any(same_face(box, landmarks_box(other.landmarks)) for other in kept):
            kept.append(face)
    return kept


def overlap(first: BoxesArray, second: BoxesArray) -> float:
    """Intersection over union of two (4,) boxes."""
    size = np.minimum(first[2:], second[2:]) - np.maximum(first[:2], second[:2])
    if size.min() <= 0:
        return 0.0
    common = float(size[0]) * float(size[1])
    return common / (box_area(first) + box_area(second) - common)


def keep_distinct(detections: Sequence[Detection], max_overlap: float = 0.4) -> list[Detection]:
    """Sort by score and drop duplicates, because overlapping parts show the same face twice.

    Args:
        detections: Boxes and scores.
        max_overlap: Largest :func:`overlap` of two faces.

    Returns:
        The distinct ones, best first; ties stay in order.
    """
    kept: list[Detection] = []
    for box, score in sorted(detections, key=lambda item: -item[1]):
        if all(overlap(box, other) <= max_overlap for other, _ in kept):
            kept.append((box, score))
    return kept


def choose_near(detections: Sequence[Detection], hint: BoxesArray) -> Detection | None:
    """The detection nearest to a hint; None if it is farther away than about its own size.

    Args:
        detections: Boxes and scores.
        hint: (4,) box.
    """
    ranked = sorted(detections, key=lambda item: box_distance(item[0], hint))
    return ranked[0] if ranked and box_distance(ranked[0][0], hint) <= 1 else None
