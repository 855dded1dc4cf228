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


class TrackLinker:
    """Links the faces of successive frames, one frame at a time.

    A face is linked to the track whose last face is nearest, however long ago that was; a face near no
    track begins one.

    Args:
        max_distance: Largest :func:`box_distance` between a face and the track it is linked to.

    Attributes:
        last: Last face of each track.
    """

    def __init__(self, max_distance: float = 1.0) -> None:
        self.max_distance = max_distance
        self.last: list[Face] = []

    def link(self, faces: Sequence[Face]) -> list[int]:
        """Link the faces of the next frame.

        Args:
            faces: Its faces.

        Returns:
            Number of the track of each face; new tracks take the next numbers, in the order of the faces.
        """
        links = sorted(
            (box_distance(seen.box, face.box), t, f)
            for t, seen in enumerate(self.last)
            for f, face in enumerate(faces)
        )
        used: set[int] = set()
        found: dict[int, int] = {}
        for distance, t, f in links:
            if distance <= self.max_distance and t not in used and f not in found:
                used.add(t)
                found[f] = t
        for f, face in enumerate(faces):
            if f in found:
                self.last[found[f]] = face
            else:
                found[f] = len(self.last)
                self.last.append(face)
        return [found[f] for f in range(len(faces))]


def link_tracks(frames: Sequence[Sequence[Face]], max_distance: float = 1.0) -> list[dict[int, int]]:
    """Link the faces of successive frames.

    Every face is in exactly one track, see :class:`TrackLinker`.

    Args:
        frames: Faces of each frame, in order of time.
        max_distance: Largest :func:`box_distance` between a face and the track it is linked to.

    Returns:
        Tracks, the weightiest first: for each frame (its position in ``frames``) the position of the
        face in it. The weight is the sum of area times score, so that a short close-up of somebody
        does not come before the person who is seen all the time.
    """
    linker = TrackLinker(max_distance)
    tracks: list[dict[int, int]] = []
    for number, faces in enumerate(frames):
        for f, track in enumerate(linker.link(faces)):
            if track == len(tracks):
                tracks.append({})
            tracks[track][number] = f

    def weight(track: dict[int, int]) -> float:
        seen = (frames[number][f] for number, f in track.items())
        return sum(box_area(face.box) * face.score for face in seen)

    return sorted(tracks, key=weight, reverse=True)
