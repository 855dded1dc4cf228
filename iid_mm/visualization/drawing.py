# SPDX-License-Identifier: Apache-2.0
"""Drawing on plain images: boxes, text, captions and grids.

The functions are pure, their inputs stay as they are. Images are (H, W, 3) uint8, BGR. Boxes are
(n, 4), x0, y0, x1, y1, pixels. Colors are (B, G, R). Sizes in arguments are (w, h).
"""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import cv2
import numpy as np
import numpy.typing as npt
from matplotlib.font_manager import FontProperties, findfont
from PIL import Image, ImageDraw, ImageFont

from iid_mm.errors import InputError
from iid_mm.utils.files import printable, reason_of, write_bytes
from iid_mm.utils.typing import ImageArray, Size

Color = tuple[int, int, int]

# Okabe and Ito's palette: told apart with any common color vision.
BLUE: Color = (178, 114, 0)
SKY: Color = (233, 180, 86)
GREEN: Color = (115, 158, 0)
ORANGE: Color = (0, 159, 230)
VERMILION: Color = (0, 94, 213)
WHITE: Color = (255, 255, 255)
INK: Color = (40, 36, 34)
PAPER: Color = (250, 250, 250)

_SMALLEST_CAPTION = 0.85
"""Part of its size to which a line of a caption may shrink."""


@functools.cache
def _font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    # matplotlib brings DejaVu Sans along, so text looks the same on every machine.
    weight = 'bold' if bold else 'normal'
    return ImageFont.truetype(findfont(FontProperties(family='DejaVu Sans', weight=weight)), size)


def text_size(text: str, size: int, *, bold: bool = False) -> Size:
    """Width and height in pixels of one line of text; the height is the same for every text."""
    font = _font(size, bold)
    ascent, descent = font.getmetrics()
    return round(font.getlength(printable(text))), ascent + descent


def put_text(
    image: ImageArray,
    text: str,
    origin: tuple[int, int],
    *,
    size: int = 13,
    color: Color = INK,
    bold: bool = False,
) -> ImageArray:
    """Write one line of smooth text.

    Args:
        image: (H, W, 3).
        text: The line; what does not fit into the image is cut off.
        origin: Upper left corner (x, y).
        size: Height of the font in pixels.
        color: Color of the text.
        bold: Bold face.

    Returns:
        A new image.
    """
    canvas = Image.fromarray(np.ascontiguousarray(image[..., ::-1]))
    ImageDraw.Draw(canvas).text(origin, printable(text), font=_font(size, bold), fill=color[::-1])
    return np.ascontiguousarray(np.asarray(canvas)[..., ::-1])


def shorten(text: str, width: int, *, size: int = 13, bold: bool = False) -> str:
    """Cut the middle out of a line until it fits into ``width`` pixels."""
    if text_size(text, size, bold=bold)[0] <= width:
        return text
    for kept in range(len(text) - 1, 0, -1):
        tail = kept // 2
        short = text[: kept - tail] + '…' + text[len(text) - tail :]
        if text_size(short, size, bold=bold)[0] <= width:
            return short
    return '…'


def fit_image(image: ImageArray, size: Size) -> tuple[ImageArray, float]:
    """Scale an image to the largest size inside ``size``, up or down, keeping its proportions.

    Args:
        image: (H, W, 3).
        size: (w, h) to fit into.

    Returns:
        The scaled image and the factor, by which boxes are to be multiplied.

    Raises:
        InputError: The image is not (H, W, 3) uint8 or has no pixels.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or image.size == 0:
        raise InputError(
            f'image of shape {image.shape} and type {image.dtype} cannot be drawn; give (H, W, 3) uint8, BGR'
        )
    height, width = image.shape[:2]
    factor = min(size[0] / width, size[1] / height)
    new_size = (max(1, round(width * factor)), max(1, round(height * factor)))
    if new_size == (width, height):
        return image.copy(), 1.0
    interpolation = cv2.INTER_CUBIC if factor > 1 else cv2.INTER_AREA
    return np.asarray(cv2.resize(image, new_size, interpolation=interpolation), np.uint8), factor


def draw_boxes(
    image: ImageArray,
    boxes: npt.ArrayLike,
    labels: Sequence[str] | None = None,
    scores: npt.ArrayLike | None = None,
    color: Color | Sequence[Color] = ORANGE,
) -> ImageArray:
    """Draw boxes with a dark rim, which keeps them visible on skin and on any background.

    Draw on an image that already has its final size (:func:`fit_image`), so that lines and tags
    stay sharp. Boxes that reach over the edge are drawn along the edge.

    Args:
        image: (H, W, 3).
        boxes: (n, 4) xyxy, pixels of ``image``.
        labels: A tag for each box; None: no words.
        scores: (n,) values for the tags, written with two decimals; None: no values.
        color: One color, or one for each box.

    Returns:
        A new image.

    Raises:
        InputError: Boxes, labels, scores or colors do not go together.
    """
    corners = np.asarray(boxes, dtype=np.float64).reshape(-1, 4) if np.size(boxes) else np.empty((0, 4))
    colors = _colors(color, len(corners))
    tags = _tags(len(corners), labels, scores)
    if len(colors) != len(corners) or len(tags) != len(corners):
        raise InputError(
            f'{len(corners)} boxes, {len(tags)} labels or scores and {len(colors)} colors; '
            'give one for each box'
        )
    drawn = np.ascontiguousarray(image).copy()
    height, width = drawn.shape[:2]
    line = max(2, round(min(height, width) / 130))
    # The rim lies outside the line, so the outermost line needs room for itself and its rim.
    inset = line
    limits = np.array([width - 1 - inset, height - 1 - inset] * 2)
    pixels = np.clip(np.round(corners), inset, np.maximum(limits, inset)).astype(int)
    # Large boxes first: where edges coincide, the smaller box stays visible.
    extent = pixels[:, 2:] - pixels[:, :2]
    for number in np.argsort(-extent.prod(axis=1), kind='stable').tolist():
        x0, y0, x1, y1 = pixels[number].tolist()
        cv2.rectangle(drawn, (x0, y0), (x1, y1), INK, line + 2, cv2.LINE_8)
        cv2.rectangle(drawn, (x0, y0), (x1, y1), colors[number], line, cv2.LINE_8)
    taken: list[tuple[int, int, int, int]] = []
    for corner, tag, own in zip(pixels.tolist(), tags, colors, strict=True):
        if tag:
            drawn = _draw_tag(drawn, tag, corner, own, taken)
    return drawn


def _colors(color: Color | Sequence[Color], count: int) -> list[Color]:
    if all(isinstance(part, (int, np.integer)) for part in color):
        return [cast(Color, tuple(color))] * count
    return list(cast(Sequence[Color], color))


def _tags(count: int, labels: Sequence[str] | None, scores: npt.ArrayLike | None) -> list[str]:
    words = [''] * count if labels is None else list(labels)
    if scores is None:
        return words
    values = [f'{value:.2f}' for value in np.asarray(scores, dtype=np.float64).reshape(-1)]
    if len(values) != len(words):
        return values
    return [f'{word} {value}'.strip() for word, value in zip(words, values, strict=True)]


def _draw_tag(
    image: ImageArray,
    tag: str,
    corner: Sequence[int],
    color: Color,
    taken: list[tuple[int, int, int, int]],
) -> ImageArray:
    """Write a tag at the first free place: a corner of its box, or above or below another tag."""
    height, width = image.shape[:2]
    size = int(np.clip(min(height, width) / 18, 10, 18))
    text_width, text_height = text_size(tag, size, bold=True)
    tag_width, tag_height = text_width + 6, text_height + 1
    left, top, right, bottom = corner
    spots = [
        (left, top),
        (right - tag_width, top),
        (left, bottom - tag_height),
        (right - tag_width, bottom - tag_height),
        *((x0, y0 - tag_height) for x0, y0, _, _ in taken),
        *((x0, y1) for x0, _, _, y1 in taken),
    ]
    areas = []
    for x, y in spots:
        x0 = min(max(x, 0), max(width - tag_width, 0))
        y0 = min(max(y, 0), max(height - tag_height, 0))
        areas.append((x0, y0, x0 + tag_width, y0 + tag_height))
    free = [area for area in areas if not any(_overlap(area, other) for other in taken)]
    x0, y0, x1, y1 = (free or areas)[0]
    taken.append((x0, y0, x1, y1))
    cv2.rectangle(image, (x0, y0), (x1 - 1, y1 - 1), color, -1)
    # Luma decides between dark and light text.
    dark = 0.114 * color[0] + 0.587 * color[1] + 0.299 * color[2] < 130
    return put_text(image, tag, (x0 + 3, y0), size=size, color=WHITE if dark else INK, bold=True)


def _overlap(a: tuple[int, int, int, int], b: tuple[int, int, int, int]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def add_caption(
    image: ImageArray,
    lines: Sequence[str],
    *,
    size: int = 13,
    color: Color = INK,
    background: Color = PAPER,
    accent: Color | None = None,
) -> ImageArray:
    """Put a band with text below an image; the image itself stays uncovered.

    Args:
        image: (H, W, 3).
        lines: Lines of text, the first one bold; too long ones are set a little smaller, and lose their
            middle if that is not enough.
        size: Height of the font in pixels.
        color: Color of the text.
        background: Color of the band.
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
    band: ImageArray = np.full((stripe + 2 * pad + step * len(lines), width, 3), background, dtype=np.uint8)
    if accent is not None:
        band[:stripe] = accent
    for number, line in enumerate(lines):
        bold = number == 0
        fitting = (s for s in range(size, smallest, -1) if text_size(line, s, bold=bold)[0] <= room)
        line_size = next(fitting, smallest)
        text = shorten(line, room, size=line_size, bold=bold)
        origin = (pad, stripe + pad + number * step)
        band = put_text(band, text, origin, size=line_size, color=color, bold=bold)
    return np.concatenate([image, band])


def image_grid(
    images: Sequence[ImageArray],
    captions: Sequence[str | Sequence[str]] | None = None,
    columns: int = 8,
    cell: int | Size = 224,
    *,
    gap: int = 8,
    accents: Sequence[Color | None] | None = None,
    background: Color = WHITE,
) -> ImageArray:
    """Lay images out in rows, each with its caption below.

    Args:
        images: n images of any sizes; each is scaled to its cell, small ones up.
        captions: A caption (a line, or several) for each image; None: no captions.
        columns: Cells in a row.
        cell: Size of the image area of a cell, an edge or (w, h), pixels.
        gap: Space around the cells, pixels.
        accents: Color of a stripe between image and caption; None: no stripe.
        background: Color around the cells.

    Returns:
        The grid.

    Raises:
        InputError: No images, ``columns`` below 1, or not one caption for each image.
    """
    if not images or columns < 1:
        raise InputError(f'{len(images)} images in columns={columns}: give at least one of both')
    texts = [[]] * len(images) if captions is None else [_lines(caption) for caption in captions]
    colors = [None] * len(images) if accents is None else list(accents)
    if len(texts) != len(images) or len(colors) != len(images):
        raise InputError(
            f'{len(texts)} captions and {len(colors)} accents for {len(images)} images; '
            'give one for each image'
        )
    width, height = (cell, cell) if isinstance(cell, int) else cell
    rows = max(len(text) for text in texts)
    size = int(np.clip(width / 15, 10, 16))
    tiles = []
    for image, text, accent in zip(images, texts, colors, strict=True):
        scaled, _ = fit_image(image, (width, height))
        tile = np.full((height, width, 3), background, dtype=np.uint8)
        top, left = (height - scaled.shape[0]) // 2, (width - scaled.shape[1]) // 2
        tile[top : top + scaled.shape[0], left : left + scaled.shape[1]] = scaled
        padded = [*text, *[''] * (rows - len(text))]
        tiles.append(add_caption(tile, padded, size=size, accent=accent) if rows else tile)
    return _lay_out(tiles, min(columns, len(tiles)), gap, background)


def _lines(caption: str | Sequence[str]) -> list[str]:
    return [caption] if isinstance(caption, str) else list(caption)


def _lay_out(tiles: Sequence[ImageArray], columns: int, gap: int, background: Color) -> ImageArray:
    # A stripe makes tiles higher, so the highest one sets the row.
    height, width = max(tile.shape[0] for tile in tiles), tiles[0].shape[1]
    rows = -(-len(tiles) // columns)
    shape = (rows * (height + gap) + gap, columns * (width + gap) + gap, 3)
    grid = np.full(shape, background, dtype=np.uint8)
    for number, tile in enumerate(tiles):
        row, column = divmod(number, columns)
        top, left = gap + row * (height + gap), gap + column * (width + gap)
        grid[top : top + tile.shape[0], left : left + width] = tile
    return grid


def write_picture(path: str | os.PathLike[str], picture: ImageArray, *, argument: str = '') -> None:
    """Write a picture; its folder is made, its suffix is the format.

    Args:
        path: The file.
        picture: (H, W, 3) BGR.
        argument: What errors put before the path: the argument that named it.

    Raises:
        InputError: It cannot be written.
    """
    target = Path(path)
    try:
        write_bytes(target, encode_picture(picture, target.suffix))
    except OSError as error:
        raise InputError(
            f'{argument}{printable(path)} cannot be written ({reason_of(error)}); choose another folder'
        ) from error
    except cv2.error as error:
        raise InputError(
            f'{argument}{printable(path)} cannot be written; use a suffix such as .png'
        ) from error


def encode_picture(picture: ImageArray, suffix: str) -> bytes:
    """Encode a picture in memory: OpenCV crashes on file names that are not valid UTF-8.

    Args:
        picture: (H, W, 3) BGR.
        suffix: The format, such as ``.png``.

    Raises:
        cv2.error: OpenCV cannot encode it.
    """
    encoded, data = cv2.imencode(suffix or '.', picture)
    if not encoded:
        raise cv2.error(f'cannot encode {suffix}')
    return data.tobytes()
