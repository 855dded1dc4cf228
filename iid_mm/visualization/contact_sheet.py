# SPDX-License-Identifier: Apache-2.0
"""Face crops with their landmarks, one row for each kind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from iid_mm.errors import InputError
from iid_mm.utils.typing import ImageArray, PointsArray
from iid_mm.visualization.drawing import (
    BLUE,
    GREEN,
    INK,
    ORANGE,
    PAPER,
    VERMILION,
    WHITE,
    Color,
    fit_image,
    put_text,
    shorten,
    text_size,
)
from iid_mm.visualization.image_grid import image_grid

# Jaw, brows, bridge and base of the nose, eyes, outer and inner lips; the eyes and lips are closed lines.
_PARTS = ((0, 17), (17, 22), (22, 27), (27, 31), (31, 36), (36, 42), (42, 48), (48, 60), (60, 68))
_CLOSED = frozenset({(36, 42), (42, 48), (48, 60), (60, 68)})
_GAP = 6


@dataclass(frozen=True)
class SheetSample:
    """One sample.

    Attributes:
        image: The crop; None if it cannot be read.
        landmarks: (K, 2) pixels of the crop, K >= 68 iBUG points.
        caption: Lines below it, the first one bold.
        pair: Genuine crop to show next to it; None for none.
    """

    image: ImageArray | None
    landmarks: PointsArray
    caption: Sequence[str]
    pair: ImageArray | None = None


@dataclass(frozen=True)
class SheetRow:
    """Samples of one kind.

    Attributes:
        title: What they are.
        note: More about them, in plain type next to the title.
        fake: Whether they are fakes: decides the color.
        samples: The samples; those with a pair take two tiles.
    """

    title: str
    note: str
    fake: bool
    samples: Sequence[SheetSample]

    @property
    def color(self) -> Color:
        """Of the title and of the stripes below the crops."""
        return VERMILION if self.fake else BLUE


def draw_landmarks(image: ImageArray, points: PointsArray) -> ImageArray:
    """Draw iBUG landmarks as points joined to the lines of a face.

    Args:
        image: (H, W, 3).
        points: (K, 2) pixels of ``image``; from the 69th on single points, as 81-point sets have them.

    Returns:
        A new image.
    """
    drawn = np.ascontiguousarray(image).copy()
    # Subpixel positions: 4 binary places.
    pixels = np.round(np.clip(points.astype(np.float64), -1e4, 1e4) * 16).astype(np.int32)
    for part in _PARTS:
        line = pixels[slice(*part)].reshape(-1, 1, 2)
        cv2.polylines(drawn, [line], part in _CLOSED, GREEN, 1, cv2.LINE_AA, 4)
    for x, y in pixels.tolist():
        # Small points: eyes and mouth must stay visible.
        cv2.circle(drawn, (x, y), 12, WHITE, cv2.FILLED, cv2.LINE_AA, 4)
    return drawn


def _draw_box(image: ImageArray, points: PointsArray) -> ImageArray:
    """Draw the bounding box of points, thinner than artifact boxes, so that the face stays visible."""
    height, width = image.shape[:2]
    corners = np.concatenate([np.floor(points.min(axis=0)), np.ceil(points.max(axis=0))])
    x0, y0, x1, y1 = np.clip(corners, 0, (width - 1, height - 1) * 2).astype(int).tolist()
    drawn = np.ascontiguousarray(image).copy()
    cv2.rectangle(drawn, (x0, y0), (x1, y1), ORANGE, 1, cv2.LINE_8)
    return drawn


def contact_sheet(rows: Sequence[SheetRow], title: str, *, columns: int = 8, cell: int = 192) -> ImageArray:
    """Draw rows of samples, each with its landmarks and their bounding box.

    Args:
        rows: The rows, none of them empty.
        title: A line at the top.
        columns: Tiles in a row; samples that do not fit are left out.
        cell: Edge of a tile, pixels.

    Returns:
        The sheet, BGR.

    Raises:
        InputError: No rows, or fewer than 2 columns.
    """
    if not rows or columns < 2:
        raise InputError(f'{len(rows)} rows of {columns} columns: give at least one row and two columns')
    width = columns * (cell + _GAP) + _GAP
    parts = [_band(title, '', width, INK, size=18)]
    for row in rows:
        parts += [_band(row.title, row.note, width, row.color), _tiles(row, columns, cell)]
    return np.concatenate(parts)


def _band(title: str, note: str, width: int, color: Color, size: int = 15) -> ImageArray:
    height = text_size('', size)[1]
    band: ImageArray = np.full((height + _GAP, width, 3), WHITE, dtype=np.uint8)
    title = shorten(title, width - 2 * _GAP, size=size, bold=True)
    band = put_text(band, title, (_GAP, _GAP // 2), size=size, color=color, bold=True)
    left = _GAP + text_size(title, size, bold=True)[0] + 2 * _GAP
    if note and width - left > 4 * size:
        note = shorten(note, width - left - _GAP, size=size - 3)
        band = put_text(band, note, (left, _GAP // 2 + 2), size=size - 3)
    return band


def _tiles(row: SheetRow, columns: int, cell: int) -> ImageArray:
    """The samples of a row side by side, as wide as the sheet."""
    tiles: list[tuple[ImageArray, Sequence[str], Color]] = []
    for sample in row.samples:
        shown = [(_tile(sample.image, sample.landmarks, cell), sample.caption, row.color)]
        if sample.pair is not None:
            shown.append((_tile(sample.pair, None, cell), ['its genuine frame'], BLUE))
        if len(tiles) + len(shown) > columns:
            break
        tiles += shown
    images, captions, accents = zip(*tiles, strict=True)
    grid = image_grid(images, captions, columns, cell, gap=_GAP, accents=accents)
    right = columns * (cell + _GAP) + _GAP - grid.shape[1]
    return np.pad(grid, ((0, 0), (0, right), (0, 0)), constant_values=255)


def _tile(image: ImageArray | None, landmarks: PointsArray | None, cell: int) -> ImageArray:
    if image is None:
        blank: ImageArray = np.full((cell, cell, 3), PAPER, dtype=np.uint8)
        return put_text(blank, 'cannot be read', (8, cell // 2 - 8), color=VERMILION, bold=True)
    scaled, factor = fit_image(image, (cell, cell))
    if landmarks is not None:
        # Pixel centers are whole numbers, so edges and not centers keep their place.
        points = ((landmarks + 0.5) * factor - 0.5).astype(np.float32)
        scaled = draw_landmarks(_draw_box(scaled, points), points)
    return scaled
