# SPDX-License-Identifier: Apache-2.0
"""Which faces of a video belong together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from iid_mm.preparation.analysers.base import Face
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


def nearest_face(faces: Sequence[Face], box: BoxesArray, max_distance: float = 1.0) -> Face | None:
    """The face nearest to a box.

    Args:
        faces: Faces of an image.
        box: (4,) box.
        max_distance: Largest :func:`box_distance`.

    Returns:
        The face; None if every one is further away.
    """
    best = min(faces, key=lambda face: box_distance(face.box, box), default=None)
    return best if best is not None and box_distance(best.box, box) <= max_distance else None


def link_tracks(frames: Sequence[Sequence[Face]], max_distance: float = 1.0) -> list[dict[int, int]]:
    """Link the faces of successive frames.

    A face is linked to the track whose last face is nearest; every face is in exactly one track.

    Args:
        frames: Faces of each frame, in order of time.
        max_distance: Largest :func:`box_distance` between a face and the track it is linked to.

    Returns:
        Tracks, the weightiest first: for each frame (its position in ``frames``) the position of the
        face in it. The weight is the sum of area times score, so that a short close-up of somebody
        does not come before the person who is seen all the time.
    """
    tracks: list[dict[int, int]] = []
    last: list[Face] = []
    for number, faces in enumerate(frames):
        links = sorted(
            (box_distance(seen.box, face.box), t, f)
            for t, seen in enumerate(last)
            for f, face in enumerate(faces)
        )
        used_tracks: set[int] = set()
        used_faces: set[int] = set()
        for distance, t, f in links:
            if distance <= max_distance and t not in used_tracks and f not in used_faces:
                tracks[t][number] = f
                last[t] = faces[f]
                used_tracks.add(t)
                used_faces.add(f)
        for f, face in enumerate(faces):
            if f not in used_faces:
                tracks.append({number: f})
                last.append(face)

    def weight(track: dict[int, int]) -> float:
        seen = (frames[number][f] for number, f in track.items())
        return sum(box_area(face.box) * face.score for face in seen)

    return sorted(tracks, key=weight, reverse=True)
