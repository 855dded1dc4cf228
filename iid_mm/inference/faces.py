# SPDX-License-Identifier: Apache-2.0
"""Finding and following faces, one frame at a time."""

from __future__ import annotations

from dataclasses import dataclass

from iid_mm.inference.sampling import TimedFrame
from iid_mm.preparation.analysers.base import Face, FaceAnalyser
from iid_mm.preparation.cropping import Window, crop_image, crop_points, crop_window, face_box
from iid_mm.preparation.tracking import TrackLinker, box_distance, nearest_face
from iid_mm.preparation.writer import stored_points
from iid_mm.utils.typing import ImageArray, PointsArray

SAME_FACE = 0.5
"""Two boxes in one frame that are nearer than this show one face."""


@dataclass(frozen=True)
class FoundFace:
    """A face in a frame, cut out as preparation does it.

    Attributes:
        track: Number of the person.
        face: Box and landmarks in pixels of the frame.
        window: Where it was cut out.
        crop: (h, w, 3) uint8 BGR.
        landmarks: (K, 2) float32, pixels of the crop.
    """

    track: int
    face: Face
    window: Window
    crop: ImageArray
    landmarks: PointsArray

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Face from hairline to chin, pixels of the frame."""
        x0, y0, x1, y1 = (float(value) for value in face_box(self.face.landmarks))
        return x0, y0, x1, y1


class FaceFollower:
    """Finds all faces of a frame and tells whose they are.

    A person who was in the last frame and is not found in this one is looked for again, harder, in the
    place where the face was.

    Args:
        analyser: Finds faces.
        margin: Margin of crops, see :class:`~iid_mm.preparation.settings.Settings`.
        max_side: Longest side of crops.
        min_face: Faces whose box is smaller than this, in pixels, are passed over.
    """

    def __init__(self, analyser: FaceAnalyser, margin: float, max_side: int, min_face: int = 0) -> None:
        self.analyser = analyser
        self.margin = margin
        self.max_side = max_side
        self.min_face = min_face
        self._linker = TrackLinker()
        self._present: set[int] = set()

    def find(self, frame: TimedFrame) -> list[FoundFace]:
        """Find the faces of the next frame, the best first."""
        faces = [face for face in self.analyser.analyse(frame.image) if self._is_large(face)]
        tracks = self._linker.link(faces)
        if self.analyser.searches:
            for track in sorted(self._present - set(tracks)):
                hint = self._linker.last[track].box
                face = nearest_face(self.analyser.analyse(frame.image, hint), hint)
                if face is None or not self._is_large(face):
                    continue
                if all(box_distance(face.box, other.box) > SAME_FACE for other in faces):
                    self._linker.last[track] = face
                    faces.append(face)
                    tracks.append(track)
        self._present = set(tracks)
        cut = (self._cut(frame.image, face, track) for face, track in zip(faces, tracks, strict=True))
        return [found for found in cut if found is not None]

    def _is_large(self, face: Face) -> bool:
        x0, y0, x1, y1 = face_box(face.landmarks)
        return max(float(x1 - x0), float(y1 - y0)) >= self.min_face

    def _cut(self, image: ImageArray, face: Face, track: int) -> FoundFace | None:
        size = (image.shape[1], image.shape[0])
        window = crop_window(face_box(face.landmarks), size, self.margin)
        if window is None:
            return None
        crop = crop_image(image, window, self.max_side)
        # Rounded like those of prepared sets: the same warp, the same pixels, the same score.
        points = stored_points(crop_points(face.landmarks, window, self.max_side))
        return FoundFace(track, face, window, crop, points)
