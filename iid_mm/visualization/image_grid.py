# SPDX-License-Identifier: Apache-2.0
"""Laying images out: captions, headings, rows and grids; conventions as in :mod:`.drawing`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from iid_mm.errors import InputError
from iid_mm.utils.typing import ImageArray, Size
from iid_mm.visualization.drawing import PAPER, WHITE, Color, fit_image, put_text, shorten, text_size

_SMALLEST_CAPTION = 0.85
"""Part of its size to which a line of a caption may shrink."""
_MARGIN = 8
"""Around a heading, pixels."""


def add_caption(
    image: ImageArray, lines: Sequence[str], *, size: int = 13, accent: Color | None = None
) -> ImageArray:
    """Put a band with text below an image; the image itself stays uncovered.

    Args:
        image: (H, W, 3).
        lines: Lines of text, the first one bold; a line that is too long is set a little smaller, and loses
            its middle if that is not enough.
        size: Height of the font in pixels.
        accent: Color of a stripe between image and text; None: no stripe.

    Returns:
        A new image of the same width.
    """
    width = image.shape[1]
    pad = max(3, size // 3)
    room = width - 2 * pad
    smallest = round(_SMALLEST_CAPTION * size)
    step = text_size('', size)[1]
    stripe = 0 if accent is None else max(3, size // 4)
    band: ImageArray = np.full((stripe + 2 * pad + step * len(lines), width, 3), PAPER, dtype=np.uint8)
    if accent is not None:
        band[:stripe] = accent
    for number, line in enumerate(lines):
        bold = number == 0
        fitting = (s for s in range(size, smallest, -1) if text_size(line, s, bold=bold)[0] <= room)
        line_size = next(fitting, smallest)
        text = shorten(line, room, size=line_size, bold=bold)
        band = put_text(band, text, (pad, stripe + pad + number * step), size=line_size, bold=bold)
    return np.concatenate([image, band])


def add_heading(image: ImageArray, lines: Sequence[str]) -> ImageArray:
    """Put lines of text above an image, the first one bold; long lines are broken at spaces.

    Args:
        image: (H, W, 3).
        lines: The lines.

    Returns:
        A new image of the same width.
    """
    width = image.shape[1]
    bands: list[ImageArray] = [np.full((_MARGIN, width, 3), WHITE, dtype=np.uint8)]
    for number, text in enumerate(lines):
        size, bold = (14, False) if number else (17, True)
        for line in wrapped(text, width - 2 * _MARGIN, size, bold=bold):
            band = np.full((text_size('', size)[1], width, 3), WHITE, dtype=np.uint8)
            bands.append(put_text(band, line, (_MARGIN, 0), size=size, bold=bold))
    return np.concatenate([*bands, image])


def wrapped(text: str, width: int, size: int, *, bold: bool = False) -> list[str]:
    """Break a text at spaces into lines of at most ``width`` pixels."""
    lines = ['']
    for word in text.split():
        longer = f'{lines[-1]} {word}'.strip()
        if lines[-1] and text_size(longer, size, bold=bold)[0] > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def side_by_side(images: Sequence[ImageArray], gap: int = 6) -> ImageArray:
    """Join images of one height to a row with white gaps between them."""
    white = np.full((images[0].shape[0], gap, 3), WHITE, dtype=np.uint8)
    return np.concatenate([part for image in images for part in (white, image)][1:], axis=1)


def image_grid(
    images: Sequence[ImageArray],
    captions: Sequence[str | Sequence[str]] | None = None,
    columns: int = 8,
    cell: int | Size | None = 224,
    *,
    gap: int = 8,
    accents: Sequence[Color | None] | None = None,
) -> ImageArray:
    """Lay images out in rows, each with its caption below.

    Args:
        images: n images of any sizes; each is scaled to its cell, small ones up.
        captions: A caption (a line, or several) for each image; None: no captions.
        columns: Cells in a row.
        cell: Size of the image area of a cell, an edge or (w, h), pixels; None: that of the largest image.
        gap: Space around the cells, pixels.
        accents: Color of a stripe between image and caption; None: no stripe.

    Returns:
        The grid.

    Raises:
        InputError: No images, ``columns`` below 1, or not one caption for each image.
    """
    if not images or columns < 1:
        raise InputError(f'{len(images)} images in columns={columns}: give at least one of both')
    captions = [()] * len(images) if captions is None else captions
    texts = [[caption] if isinstance(caption, str) else list(caption) for caption in captions]
    colors = list(accents or [None] * len(images))
    if len(texts) != len(images) or len(colors) != len(images):
        raise InputError(
            f'{len(texts)} captions and {len(colors)} accents for {len(images)} images; '
            'give one for each image'
        )
    if cell is None:
        cell = (max(image.shape[1] for image in images), max(image.shape[0] for image in images))
    width, height = (cell, cell) if isinstance(cell, int) else cell
    rows = max(len(text) for text in texts)
    size = int(np.clip(width / 15, 10, 16))
    tiles = []
    for image, text, accent in zip(images, texts, colors, strict=True):
        tile = _centered(fit_image(image, (width, height))[0], (width, height))
        padded = [*text, *[''] * (rows - len(text))]
        tiles.append(add_caption(tile, padded, size=size, accent=accent) if rows else tile)
    return _laid_out(tiles, min(columns, len(tiles)), gap)


def _centered(image: ImageArray, size: Size) -> ImageArray:
    """Place an image in the middle of a white canvas of (w, h) pixels."""
    right, below = size[0] - image.shape[1], size[1] - image.shape[0]
    margins = ((below // 2, below - below // 2), (right // 2, right - right // 2), (0, 0))
    return np.pad(image, margins, constant_values=255)


def _laid_out(tiles: Sequence[ImageArray], columns: int, gap: int) -> ImageArray:
    # A stripe makes tiles higher, so the highest one sets the row.
    height, width = max(tile.shape[0] for tile in tiles) + gap, tiles[0].shape[1] + gap
    rows = -(-len(tiles) // columns)
    grid: ImageArray = np.full((rows * height + gap, columns * width + gap, 3), WHITE, dtype=np.uint8)
    for number, tile in enumerate(tiles):
        row, column = divmod(number, columns)
        top, left = gap + row * height, gap + column * width
        grid[top : top + tile.shape[0], left : left + tile.shape[1]] = tile
    return grid
