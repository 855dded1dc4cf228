# SPDX-License-Identifier: Apache-2.0
"""Linking the faces of a video to tracks, one for each person."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

import numpy as np

from iid_mm.faces.appearance import SURELY_SAME, KnownPerson, Look

if TYPE_CHECKING:
    from iid_mm.faces.analyzers.base import Face
    from iid_mm.utils.typing import BoxesArray


SAME_FACE = 0.5
"""Two boxes in one frame with a smaller distance show one face."""
# Of two people who match, the one who is known longer is preferred: fewer faces than this cost more.
_YOUNG, _YOUNG_FACES = 0.2, 4
# Longest interruption: sampled frames, or share of those of the interrupted person.
_MOMENT, _MOMENT_SHARE = 2, 0.1


def box_distance(first: BoxesArray, second: BoxesArray) -> float:
    """Distance of two boxes.

    Args:
        first: (4,) box.
        second: (4,) box.

    Returns:
        Distance of the centers, plus the difference of the sizes, in units of the larger box's side
        (the square root of its area). 0 for equal boxes.
    """
    centers = [np.array([box[0] + box[2], box[1] + box[3]]) / 2 for box in (first, second)]
    sides = [float(np.sqrt(max(box_area(box), 1e-6))) for box in (first, second)]
    offset = float(np.linalg.norm(centers[0] - centers[1]))
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
        The face; None if all are farther away.
    """
    best = min(faces, key=lambda face: box_distance(face.box, box), default=None)
    return best if best is not None and box_distance(best.box, box) <= max_distance else None


class TrackLinker:
    """Links the faces of successive frames, one frame at a time.

    A face is linked to the track whose last face is near, however long ago that was, and whose looks agree
    with it, because different people may appear in one place before and after a cut. A face that is surely
    recognized is linked from anywhere in the image. A face that matches no track starts a new one. In doubt a
    new track is started rather than two people mixed.

    Args:
        max_distance: Largest :func:`box_distance` between a face and the track it is linked to.

    Attributes:
        last: Last face of each track.
    """

    def __init__(self, max_distance: float = 1.0) -> None:
        self.max_distance = max_distance
        self.last: list[Face] = []
        self._seen: list[dict[int, Face]] = []
        self._frame = -1
        self._people: list[KnownPerson] = []

    def link(
        self,
        faces: Sequence[Face],
        looks: Sequence[Look | None] | None = None,
        *,
        taken: Collection[int] = (),
    ) -> list[int]:
        """Link the faces of the next frame.

        Args:
            faces: Its faces.
            looks: Their looks, see :func:`~iid_mm.faces.appearance.describe`; a face without a look, and
                all of them if None, are linked by their place.
            taken: Tracks to which other faces of this frame already belong.

        Returns:
            Number of the track of each face; new tracks take the next numbers, in the order of the faces.
        """
        looks = looks or [None] * len(faces)
        if not taken:
            self._frame += 1
        links = []
        for t in range(len(self.last)):
            for f, (face, look) in enumerate(zip(faces, looks, strict=True)):
                cost = self._cost(t, face, look)
                if cost is not None:
                    links.append((cost, t, f))
        used = set(taken)
        found: dict[int, int] = {}
        for _, t, f in sorted(links):
            if t not in used and f not in found:
                used.add(t)
                found[f] = t
        for f, (face, look) in enumerate(zip(faces, looks, strict=True)):
            if f not in found:
                found[f] = len(self.last)
                self.last.append(face)
                self._people.append(KnownPerson())
                self._seen.append({})
            self.extend(found[f], face, look)
        return [found[f] for f in range(len(faces))]

    def extend(self, track: int, face: Face, look: Look | None) -> None:
        """Add a face to a track."""
        self.last[track] = face
        self._seen[track][self._frame] = face
        if look is not None:
            self._people[track].add(look)

    def stays(self, track: int, look: Look | None) -> bool:
        """Whether a face that was found only by searching the place of a track may belong to it."""
        person = self._people[track]
        return look is None or person.agrees(look) or person.is_here(look)

    def merged(self) -> list[int]:
        """Merge tracks after the last frame, when more is known about each person.

        A hand, a flash or a turning head may have started a new track of the same person.

        Returns:
            For each track the number of the person, from 0.
        """
        owner = list(range(len(self.last)))
        while (pair := self._find_pair(owner)) is not None:
            short, long = pair
            owner = [long if t == short else t for t in owner]
            self._seen[long] |= self._seen[short]
            self._people[long].join(self._people[short])
        numbers = {t: number for number, t in enumerate(dict.fromkeys(owner))}
        return [numbers[t] for t in owner]

    def _find_pair(self, owner: Sequence[int]) -> tuple[int, int] | None:
        """Two tracks that show one person, the shorter first; None if there are none."""
        ranked = sorted(set(owner), key=lambda t: (len(self._seen[t]), -t))
        for place, short in enumerate(ranked):
            for long in reversed(ranked[place + 1 :]):
                if self._is_in_place_of(short, long) and (
                    self._people[long].is_surely(self._people[short]) or self._is_moment_of(short, long)
                ):
                    return short, long
        return None

    def _is_in_place_of(self, short: int, long: int) -> bool:
        """Whether two tracks are in one place, and never in the same frame."""
        part, whole = self._seen[short], self._seen[long]
        if part.keys() & whole.keys() or not self._people[short].looks:
            return False
        for frame, face in part.items():
            nearest = min(whole, key=lambda other: abs(other - frame))
            if box_distance(face.box, whole[nearest].box) > self.max_distance:
                return False
        return True

    def _is_moment_of(self, short: int, long: int) -> bool:
        """Whether a short track interrupts a long one."""
        moment, whole = self._seen[short], self._seen[long]
        if len(moment) > max(_MOMENT, _MOMENT_SHARE * len(whole)) or len(moment) >= len(whole):
            return False
        if not min(whole) < min(moment) <= max(moment) < max(whole):
            return False
        return all(self._people[long].takes_back(look) for look in self._people[short].looks)

    def _cost(self, track: int, face: Face, look: Look | None) -> float | None:
        """Cost of linking a face to a track; None if it does not match."""
        distance = box_distance(self.last[track].box, face.box)
        change = None if look is None else self._people[track].differs(look)
        near = distance <= self.max_distance
        if look is None or change is None:
            return distance if near else None
        if near and self._people[track].agrees(look):
            return distance + change + (_YOUNG if self._people[track].count < _YOUNG_FACES else 0.0)
        return self.max_distance + change if not near and change <= SURELY_SAME else None


def link_tracks(
    frames: Sequence[Sequence[Face]],
    looks: Sequence[Sequence[Look | None]] | None = None,
    max_distance: float = 1.0,
) -> list[dict[int, int]]:
    """Link the faces of successive frames.

    Every face is in exactly one track, see :class:`TrackLinker`.

    Args:
        frames: Faces of each frame, in order of time.
        looks: Their looks; None links them by their place only.
        max_distance: Largest :func:`box_distance` between a face and the track it is linked to.

    Returns:
        Tracks, by descending weight: for each frame (its position in ``frames``) the position of the face in
        it. The weight is the sum of area times score, so that a short close-up does not outweigh the person
        who is seen all the time.
    """
    linker = TrackLinker(max_distance)
    links = [
        linker.link(faces, None if looks is None else looks[number]) for number, faces in enumerate(frames)
    ]
    owner = linker.merged()
    tracks: list[dict[int, int]] = [{} for _ in range(max(owner, default=-1) + 1)]
    for number, link in enumerate(links):
        for f, track in enumerate(link):
            tracks[owner[track]][number] = f

    def weight(track: dict[int, int]) -> float:
        seen = (frames[number][f] for number, f in track.items())
        return sum(box_area(face.box) * face.score for face in seen)

    return sorted(tracks, key=weight, reverse=True)
