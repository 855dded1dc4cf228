# SPDX-License-Identifier: Apache-2.0
"""Faces beside the maps of where a detector looks, as single pictures and as a contact sheet."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from iid_mm.errors import InputError
from iid_mm.utils.files import safe_name
from iid_mm.utils.typing import ImageArray
from iid_mm.visualization.attention_energy import region_energy
from iid_mm.visualization.attention_views import ADM, FaceView
from iid_mm.visualization.drawing import (
    BLUE,
    INK,
    VERMILION,
    WHITE,
    add_caption,
    fit_image,
    image_grid,
    put_text,
    text_size,
)
from iid_mm.visualization.localization_grid import outline, overlay_heat

_GAP = 6
_MARGIN = 8
SHEET = 'contact_sheet.png'
SINGLES = 'faces'
SCALES = ('auto', 'shared', 'own')


def map_tops(views: Sequence[FaceView], scale: str = 'auto') -> list[dict[str, float]]:
    """Value of each map that gets the brightest color.

    Args:
        views: The faces of one sheet.
        scale: ``'shared'``: the highest value of the method on the sheet, so that a face that leaves the
            detector cold looks cold. ``'own'``: the highest value of the map itself. ``'auto'``: shared
            for the artifact head's map, whose values are probabilities, and own for the others, whose
            units mean nothing and differ widely from face to face.

    Returns:
        By method, for each face.

    Raises:
        InputError: ``scale`` is unknown.
    """
    if scale not in SCALES:
        raise InputError(f'scale={scale!r} is unknown; choose one of {", ".join(SCALES)}')
    own = [{method: float(heat.max()) for method, heat in view.maps.items()} for view in views]
    shared = {method: max(tops[method] for tops in own) for method in (own[0] if own else {})}
    common = [m for m in shared if scale == 'shared' or (scale == 'auto' and m == ADM)]
    return [{**tops, **{method: shared[method] for method in common}} for tops in own]


def face_panel(
    view: FaceView, tops: Mapping[str, float], titles: Mapping[str, str], cell: int = 224
) -> ImageArray:
    """Draw one face: plain with the outline of its mask, then under each map.

    Args:
        view: The face.
        tops: Value of each map that gets the brightest color.
        titles: What to call the maps.
        cell: Longer edge of a drawn face, pixels.

    Returns:
        The pictures in a row above a caption.
    """
    face, _ = fit_image(view.image, (cell, cell))
    mask = view.mask
    outlined = face if mask is None else outline(face, mask)
    share = '' if mask is None else f'region {100 * float((mask > 0).mean()):.0f} % of the picture'
    parts = [add_caption(outlined, ['face', share], size=13)]
    for method, heat in view.maps.items():
        top = tops[method]
        hot = overlay_heat(face, heat / top if top > 0 else heat)
        inside = f'highest {float(heat.max()):.2g}'
        if mask is not None:
            hot = outline(hot, mask)
            inside = f'{100 * region_energy(heat, mask):.0f} % inside, {inside}'
        parts.append(add_caption(hot, [titles.get(method, method), inside], size=13))
    gap = np.full((parts[0].shape[0], _GAP, 3), 255, dtype=np.uint8)
    row = np.concatenate([piece for part in parts for piece in (gap, part)][1:], axis=1)
    return add_caption(row, _caption(view), size=14, accent=_accent(view))


def _accent(view: FaceView) -> tuple[int, int, int]:
    if 'gt_label' not in view.sample:
        return INK
    return VERMILION if int(view.sample.gt_label) == 1 else BLUE


def _caption(view: FaceView) -> list[str]:
    sample = view.sample
    score = f'P(fake) {100 * float(sample.pred_score[1]):.0f} %'
    if 'gt_label' not in sample:
        return [score, Path(str(sample.get('img_path', ''))).name]
    kind = 'fake' if int(sample.gt_label) == 1 else 'genuine'
    video = str(sample.get('video_key', '')).split('/')[-1]
    return [f'{kind} {sample.get("method", "")}, {score}', f'{video} frame {sample.get("frame", "?")}']


def contact_sheet(panels: Sequence[ImageArray], heading: Sequence[str], columns: int = 2) -> ImageArray:
    """Lay panels out below a heading.

    Args:
        panels: Of :func:`face_panel`.
        heading: Lines, the first one bold.
        columns: Panels in a row.

    Returns:
        The sheet.
    """
    height, width = np.max([panel.shape[:2] for panel in panels], axis=0)
    grid = image_grid(panels, columns=columns, cell=(int(width), int(height)))
    sizes = (17, *[14] * (len(heading) - 1))
    lines = [
        (line, size, text_size('', size)[1])
        for title, size in zip(heading, sizes, strict=True)
        for line in wrapped(title, grid.shape[1] - 2 * _MARGIN, size, bold=size == sizes[0])
    ]
    band: ImageArray = np.full((_MARGIN + sum(step for *_, step in lines), grid.shape[1], 3), 255, np.uint8)
    band[:] = WHITE
    top = _MARGIN
    for line, size, step in lines:
        band = put_text(band, line, (_MARGIN, top), size=size, bold=size == sizes[0])
        top += step
    return np.concatenate([band, grid])


def wrapped(text: str, width: int, size: int, *, bold: bool = False) -> list[str]:
    """Break a text into lines of at most ``width`` pixels, at spaces."""
    lines = ['']
    for word in text.split():
        longer = f'{lines[-1]} {word}'.strip()
        if lines[-1] and text_size(longer, size, bold=bold)[0] > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def picture_name(number: int, view: FaceView) -> str:
    """File name of a face's picture: its number and what it shows, without signs special to paths."""
    sample = view.sample
    if 'video_key' in sample:
        parts = [
            str(sample.get('method', '')),
            str(sample.video_key).split('/')[-1],
            f'{sample.get("frame", 0):05d}',
        ]
    else:
        parts = [Path(str(sample.get('img_path', 'picture'))).stem]
    return f'{number:03d}_' + safe_name(re.sub(r'[^\w.-]+', '-', '_'.join(parts)), 100) + '.png'
