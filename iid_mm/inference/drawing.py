# SPDX-License-Identifier: Apache-2.0
"""Drawing a result: annotated frames and the timeline."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import cv2
import numpy as np
from matplotlib.figure import Figure
from matplotlib.offsetbox import AnnotationBbox, OffsetImage

from iid_mm.inference.results import Artifact, FaceScore, FaceView, MediaResult
from iid_mm.utils.typing import ImageArray
from iid_mm.visualization.drawing import (
    BLUE,
    INK,
    ORANGE,
    VERMILION,
    WHITE,
    Color,
    draw_boxes,
    overlay_heat,
    put_text,
    text_size,
)
from iid_mm.visualization.plots import PALETTE, new_figure, polish

MAX_DRAWN_ARTIFACTS = 3
MAX_THUMBNAILS = 5
"""Number of faces above a timeline."""
WHOLE_FACE = 0.8
"""An artifact box that covers this share of the face does not localize anything and is not drawn."""


def verdict_color(probability: float, threshold: float) -> Color:
    """Color of a face: vermilion from the threshold on, else blue; safe for color-blind readers."""
    return VERMILION if probability >= threshold else BLUE


def draw_faces(
    image: ImageArray,
    faces: Sequence[tuple[int, FaceScore]],
    threshold: float = 0.5,
    *,
    name_people: bool = False,
) -> ImageArray:
    """Draw faces, their probabilities and artifact boxes into a frame.

    Args:
        image: (H, W, 3) uint8 BGR.
        faces: Number of the person and score of each face.
        threshold: Probability from which a face is called fake.
        name_people: Whether tags show the number of the person.

    Returns:
        A new image of the same size.
    """
    drawn = np.ascontiguousarray(image).copy()
    height, width = drawn.shape[:2]
    line = max(2, round(min(height, width) / 300))
    # Tags may overlap: that of the most suspicious face is drawn last.
    for number, face in sorted(faces, key=lambda item: item[1].probability):
        color = verdict_color(face.probability, threshold)
        if face.probability >= threshold:
            for artifact in _drawn_artifacts(face):
                points = np.round(np.array(artifact.polygon)).astype(np.int32)
                cv2.polylines(drawn, [points], True, INK, line + 2, cv2.LINE_AA)
                cv2.polylines(drawn, [points], True, ORANGE, line, cv2.LINE_AA)
        x0, y0, x1, y1 = (round(value) for value in face.box)
        cv2.rectangle(drawn, (x0, y0), (x1, y1), INK, line + 2, cv2.LINE_8)
        cv2.rectangle(drawn, (x0, y0), (x1, y1), color, line, cv2.LINE_8)
        who = f'person {number + 1}: ' if name_people else ''
        drawn = _tag(drawn, f'{who}{100 * face.probability:.0f} % fake', (x0, y0, x1, y1), color)
    return drawn


def _drawn_artifacts(face: FaceScore) -> list[Artifact]:
    x0, y0, x1, y1 = face.box
    area = max((x1 - x0) * (y1 - y0), 1.0)
    partial = [
        a for a in face.artifacts if cv2.contourArea(np.array(a.polygon, np.float32)) < WHOLE_FACE * area
    ]
    return partial[:MAX_DRAWN_ARTIFACTS]


def _tag(image: ImageArray, text: str, box: tuple[int, int, int, int], color: Color) -> ImageArray:
    """Write a tag above a box, or inside of it at the upper edge of the frame."""
    height, width = image.shape[:2]
    size = int(np.clip(min(height, width) / 32, 11, 40))
    wide, high = text_size(text, size, bold=True)
    pad = max(2, size // 5)
    left = int(np.clip(box[0], 0, max(width - wide - 2 * pad, 0)))
    top = box[1] - high - 2 * pad
    top = int(np.clip(top if top >= 0 else box[1], 0, max(height - high - 2 * pad, 0)))
    # Only the tag goes through the text renderer: a whole photo of 64 megapixels would cost seconds a face.
    tag = image[top : top + high + 2 * pad + 1, left : left + wide + 2 * pad + 1]
    tag[:] = color
    tag[:] = put_text(np.ascontiguousarray(tag), text, (pad, pad), size=size, color=WHITE, bold=True)
    return image


def draw_view(view: FaceView, size: int = 224, *, heat: bool = False) -> ImageArray:
    """A face as the model saw it, with artifact boxes or the heat map.

    Args:
        view: The face.
        size: Longer side of the image, pixels.
        heat: Overlay the heat map, if there is one, instead of drawing boxes.

    Returns:
        (h, w, 3) uint8 BGR.
    """
    height, width = view.image.shape[:2]
    factor = size / max(height, width)
    shape = (round(width * factor), round(height * factor))
    face = np.asarray(cv2.resize(view.image, shape, interpolation=cv2.INTER_CUBIC), np.uint8)
    if heat:
        return face if view.heat is None else overlay_heat(face, view.heat)
    area = height * width
    for box in view.boxes[: MAX_DRAWN_ARTIFACTS + 1]:
        if (box[2] - box[0]) * (box[3] - box[1]) >= WHOLE_FACE * area:
            continue
        face = draw_boxes(face, np.asarray(box)[None] * factor, color=ORANGE)
    return face


def plot_timeline(result: MediaResult) -> Figure:
    """Draw the probability over time, a line for each person, with the most suspicious faces above.

    Args:
        result: A result with faces.

    Returns:
        The figure.
    """
    tracks = result.main_tracks or result.tracks
    figure = new_figure(9.0, 4.2)
    strip, axes = figure.subplots(2, 1, height_ratios=[1, 2.2])
    for number, track in enumerate(tracks):
        times = np.array([face.time for face in track.faces])
        values = np.array([face.probability for face in track.faces])
        color = PALETTE[number % len(PALETTE)]
        label = f'person {track.number + 1}: {100 * track.probability:.0f} %'
        for part in _unbroken(times):
            axes.plot(times[part], 100 * values[part], '-', color=color, linewidth=1.4)
        axes.plot(
            times, 100 * values, 'o', color=color, markersize=3.5 if len(times) < 200 else 1.5, label=label
        )
    axes.axhline(100 * result.threshold, color='0.35', linestyle='--', linewidth=1)
    axes.annotate(
        'fake from here on',
        (1, 100 * result.threshold),
        xycoords=('axes fraction', 'data'),
        xytext=(-4, 3),
        textcoords='offset points',
        ha='right',
        fontsize=8,
        color='0.35',
    )
    axes.set(xlabel='time (s)', ylabel='score for fake (%)', ylim=(-3, 103))
    polish(axes)
    axes.legend(loc='upper center', bbox_to_anchor=(0.5, -0.16), ncols=4, fontsize=8, frameon=False)
    strip.axis('off')
    views = sorted(
        (view for track in tracks for view in track.views),
        key=lambda view: -view.score.probability,
    )[:MAX_THUMBNAILS]
    for place, view in enumerate(sorted(views, key=lambda view: view.score.time)):
        thumbnail = draw_view(view, 160)[..., ::-1]
        box = AnnotationBbox(
            OffsetImage(thumbnail, zoom=0.42),
            ((place + 0.5) / max(len(views), 1), 0.55),
            xycoords='axes fraction',
            frameon=False,
        )
        strip.add_artist(box)
        strip.annotate(
            f'{view.score.time:.1f} s: {100 * view.score.probability:.0f} %',
            ((place + 0.5) / max(len(views), 1), -0.02),
            xycoords='axes fraction',
            ha='center',
            va='top',
            fontsize=8,
        )
    return figure


def _unbroken(times: np.ndarray) -> list[slice]:
    """Parts of a track without long gaps, which a line must not bridge."""
    if times.size < 2:
        return [slice(0, times.size)]
    steps = np.diff(times)
    breaks = np.flatnonzero(steps > 3 * np.median(steps) + 1e-9) + 1
    edges = [0, *breaks.tolist(), times.size]
    return [slice(a, b) for a, b in itertools.pairwise(edges)]
