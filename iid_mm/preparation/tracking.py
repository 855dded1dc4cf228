# SPDX-License-Identifier: Apache-2.0
"""Which of several faces is the one that a video is about."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from iid_mm.preparation.analysers.base import Face

if TYPE_CHECKING:
    from iid_mm.utils.typing import BoxesArray


def box_distance(first: BoxesArray, second: BoxesArray) -> float:
    """How far apart two boxes are.

    Args:
        first: (4,) box.
        second: (4,) box.

    Returns:
        Distance of the centres, plus the difference of the sizes, in units of the larger box's side
        (the square root of its area). 0 for equal boxes.
    """
    centres = [np.array([box[0] + box[2], box[1] + box[3]]) / 2 for box in (first, second)]
    sides = [float(np.sqrt(max(box_area(box), 1e-6))) for box in (first, second)]
    offset = float(np.linalg.norm(centres[0] - centres[1]))
    return (offset + abs(sides[0] - sides[1])) / max(sides)


def box_area(box: BoxesArray) -> float:
    """Area of a (4,) box in square pixels."""
    return float((box[2] - box[0]) * (box[3] - box[1]))


def select_track(frames: Sequence[Sequence[Face]], max_distance: float = 1.0) -> list[Face | None]:
    """Choose one face a frame: the largest one that runs through the video.

    Faces of successive frames are linked to the track whose last face is nearest; the track with
    the largest sum of area times score wins. A short close-up of somebody else therefore does not
    win over the person who is seen all the time.

    Args:
        frames: Faces of each frame, in order of time.
        max_distance: Largest :func:`box_distance` between a face and the track it is linked to.

    Returns:
        The face of the winning track in each frame, None where it was not found.
    """
    tracks: list[dict[int, Face]] = []
    for number, faces in enumerate(frames):
        links = sorted(
            (box_distance(next(reversed(track.values())).box, face.box), t, f)
            for t, track in enumerate(tracks)
            for f, face in enumerate(faces)
        )
        used_tracks: set[int] = set()
        used_faces: set[int] = set()
        for distance, t, f in links:
            if distance <= max_distance and t not in used_tracks and f not in used_faces:
                tracks[t][number] = faces[f]
                used_tracks.add(t)
                used_faces.add(f)
        tracks.extend({number: face} for f, face in enumerate(faces) if f not in used_faces)
    if not tracks:
        return [None] * len(frames)
    weights = [sum(box_area(f.box) * f.score for f in track.values()) for track in tracks]
    best = tracks[int(np.argmax(weights))]
    return [best.get(number) for number in range(len(frames))]
