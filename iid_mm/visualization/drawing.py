# SPDX-License-Identifier: Apache-2.0
"""Drawing on plain images: text, boxes, heat maps and masks.

The functions are pure, their inputs stay as they are. Images are (H, W, 3) uint8, BGR. Boxes are
(n, 4), x0, y0, x1, y1, pixels. Colors are (B, G, R). Sizes in arguments are (w, h).
"""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from matplotlib.font_manager import FontProperties, findfont
from PIL import Image, ImageDraw, ImageFont

from iid_mm.errors import InputError
from iid_mm.utils.files import printable, reason_of, write_bytes
from iid_mm.utils.typing import FloatArray, ImageArray, Size

Color = tuple[int, int, int]

# The palette of Okabe and Ito, whose colors stay distinct with any common color vision.
BLUE: Color = (178, 114, 0)
SKY: Color = (233, 180, 86)
GREEN: Color = (115, 158, 0)
ORANGE: Color = (0, 159, 230)
VERMILION: Color = (0, 94, 213)
WHITE: Color = (255, 255, 255)
INK: Color = (40, 36, 34)
PAPER: Color = (250, 250, 250)
_HEAT_OPACITY = 0.6


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
    scores: npt.ArrayLike | None = None,
    color: Color | Sequence[Color] = ORANGE,
) -> ImageArray:
    """Draw boxes with a dark rim, which keeps them visible on skin and on any background.

    Draw on an image that already has its final size (:func:`fit_image`), so that lines and tags
    stay sharp. Boxes that reach over the edge are drawn along the edge.

    Args:
        image: (H, W, 3).
        boxes: (n, 4) xyxy, pixels of ``image``.
        scores: (n,) values written beside the boxes with two decimals; None: none.
        color: One color, or one for each box.

    Returns:
        A new image.

    Raises:
        InputError: Boxes, scores and colors differ in number.
    """
    corners = np.asarray(boxes, dtype=np.float64).reshape(-1, 4) if np.size(boxes) else np.empty((0, 4))
    colors = [tuple(row) for row in np.reshape(color, (-1, 3)).tolist()]
    colors = colors * len(corners) if len(colors) == 1 else colors
    values = [] if scores is None else np.asarray(scores, dtype=np.float64).reshape(-1).tolist()
    if len(colors) != len(corners) or (scores is not None and len(values) != len(corners)):
        raise InputError(
            f'{len(corners)} boxes, {len(values)} scores and {len(colors)} colors; give one for each box'
        )
    drawn = np.ascontiguousarray(image).copy()
    height, width = drawn.shape[:2]
    line = max(2, round(min(height, width) / 130))
    # The rim lies outside the line, so the outermost line needs room for itself and its rim.
    limits = np.array([width - 1 - line, height - 1 - line] * 2)
    pixels = np.clip(np.round(corners), line, np.maximum(limits, line)).astype(int)
    # Large boxes first: where edges coincide, the smaller box stays visible.
    extent = pixels[:, 2:] - pixels[:, :2]
    for number in np.argsort(-extent.prod(axis=1), kind='stable').tolist():
        x0, y0, x1, y1 = pixels[number].tolist()
        cv2.rectangle(drawn, (x0, y0), (x1, y1), INK, line + 2, cv2.LINE_8)
        cv2.rectangle(drawn, (x0, y0), (x1, y1), colors[number], line, cv2.LINE_8)
    taken: list[tuple[int, int, int, int]] = []
    for number, value in enumerate(values):
        drawn = _draw_tag(drawn, f'{value:.2f}', pixels[number].tolist(), colors[number], taken)
    return drawn


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
    room = (max(width - tag_width, 0), max(height - tag_height, 0))
    areas = [(x, y, x + tag_width, y + tag_height) for x, y in np.clip(spots, 0, room).tolist()]
    free = (area for area in areas if not any(_overlap(area, other) for other in taken))
    x0, y0, x1, y1 = next(free, areas[0])
    taken.append((x0, y0, x1, y1))
    cv2.rectangle(image, (x0, y0), (x1 - 1, y1 - 1), color, -1)
    # Luma decides between dark and light text.
    dark = 0.114 * color[0] + 0.587 * color[1] + 0.299 * color[2] < 130
    return put_text(image, tag, (x0 + 3, y0), size=size, color=WHITE if dark else INK, bold=True)


def _overlap(a: tuple[int, int, int, int], b: tuple[int, int, int, int]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def overlay_heat(image: ImageArray, heat: FloatArray) -> ImageArray:
    """Lay a heat map over an image; where it is 0 the image stays as it is.

    Args:
        image: (H, W, 3).
        heat: (h, w), 0 to 1; it is enlarged to the image.

    Returns:
        A new image.
    """
    size = (image.shape[1], image.shape[0])
    share = cv2.resize(np.asarray(heat, dtype=np.float32), size, interpolation=cv2.INTER_LINEAR).clip(0, 1)
    # Dark violet to yellow: its brightness rises with the value, also in print.
    colors = cv2.applyColorMap((255 * share).round().astype(np.uint8), cv2.COLORMAP_INFERNO)
    weight = _HEAT_OPACITY * np.sqrt(share)[..., None]
    return ((1 - weight) * image + weight * colors).round().astype(np.uint8)


def draw_outline(image: ImageArray, mask: npt.NDArray[Any]) -> ImageArray:
    """Draw the outline of a mask, (h, w), not 0 = inside, which is enlarged to the image."""
    size = (image.shape[1], image.shape[0])
    large = cv2.resize((mask > 0).astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
    contours, _ = cv2.findContours(large, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    drawn = image.copy()
    thickness = max(2, round(min(size) / 100))
    cv2.drawContours(drawn, contours, -1, INK, thickness + 1)
    cv2.drawContours(drawn, contours, -1, GREEN, thickness)
    return drawn


def write_image(path: str | os.PathLike[str], image: ImageArray, *, argument: str = '') -> None:
    """Write an image; its folder is made, its suffix is the format.

    Args:
        path: The file.
        image: (H, W, 3) BGR.
        argument: The argument that named the path; errors put it before the path.

    Raises:
        InputError: It cannot be written.
    """
    target = Path(path)
    try:
        write_bytes(target, encode_image(image, target.suffix))
    except OSError as error:
        raise InputError(
            f'{argument}{printable(path)} cannot be written ({reason_of(error)}); choose another folder'
        ) from error
    except cv2.error as error:
        raise InputError(
            f'{argument}{printable(path)} cannot be written; use a suffix such as .png'
        ) from error


def encode_image(image: ImageArray, suffix: str) -> bytes:
    """Encode an image in memory: OpenCV crashes on file names that are not valid UTF-8.

    Args:
        image: (H, W, 3) BGR.
        suffix: The format, such as ``.png``.

    Raises:
        cv2.error: OpenCV cannot encode it.
    """
    encoded, data = cv2.imencode(suffix or '.', image)
    if not encoded:
        raise cv2.error(f'cannot encode {suffix}')
    return data.tobytes()
