# SPDX-License-Identifier: Apache-2.0
"""Detecting and tracking faces, one frame at a time."""

from __future__ import annotations

from dataclasses import dataclass

from iid_mm.faces.analyzers.base import Face, FaceAnalyzer
from iid_mm.faces.appearance import OTHER_SCENE, describe, describe_scene, scene_difference
from iid_mm.faces.cropping import (
    CropSettings,
    Window,
    crop_image,
    crop_points,
    crop_window,
    face_box,
    stored_points,
)
from iid_mm.faces.tracking import SAME_FACE, TrackLinker, box_distance, nearest_face
from iid_mm.inference.sampling import TimedFrame
from iid_mm.utils.typing import FloatArray, ImageArray, PointsArray

THOROUGH_EVERY = 8
"""Small faces beside large ones are searched for every so many frames; in between they are tracked."""


@dataclass(frozen=True)
class FoundFace:
    """A face in a frame, cropped as in preparation.

    Attributes:
        track: Number of the person.
        face: Box and landmarks in pixels of the frame.
        window: Crop window in the frame.
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
    """Detects all faces of a frame and assigns them to people.

    If a person of the last frame is missing, a second, more sensitive search runs where the face was. Small
    faces beside large ones are searched for in the first frame, in every
    :data:`THOROUGH_EVERY`-th, and where a new scene begins.

    Args:
        analyzer: The face analyzer.
        cropping: Margin and size of crops.
        min_face: Faces whose box is smaller than this, in pixels, are ignored.

    Attributes:
        frames_with_small: Number of frames in which a face was ignored for its size.
    """

    def __init__(self, analyzer: FaceAnalyzer, cropping: CropSettings, min_face: int = 0) -> None:
        self.analyzer = analyzer
        self.cropping = cropping
        self.min_face = min_face
        self.frames_with_small = 0
        self._linker = TrackLinker()
        self._present: set[int] = set()
        self._count = 0
        self._scene: FloatArray | None = None

    def find(self, frame: TimedFrame) -> list[FoundFace]:
        """Find the faces of the next frame, the most confident first."""
        image = frame.image
        scene = describe_scene(image)
        new_scene = self._scene is None or scene_difference(self._scene, scene) >= OTHER_SCENE
        thorough = new_scene or self._count % THOROUGH_EVERY == 0
        self._count += 1
        self._scene = scene
        search = self.analyzer.analyze_all if thorough else self.analyzer.analyze
        every = search(image)
        faces = [face for face in every if self._is_large(face)]
        self.frames_with_small += len(faces) < len(every)
        tracks = self._linker.link(faces, describe(image, faces, scene))
        if self.analyzer.searches:
            for track in sorted(self._present - set(tracks)):
                hint = self._linker.last[track].box
                face = nearest_face(self.analyzer.analyze(image, hint), hint)
                if face is None or not self._is_large(face):
                    continue
                if any(box_distance(face.box, other.box) <= SAME_FACE for other in faces):
                    continue
                (look,) = describe(image, [face], scene)
                if self._linker.stays(track, look):
                    self._linker.extend(track, face, look)
                else:
                    (track,) = self._linker.link([face], [look], taken=tracks)
                faces.append(face)
                tracks.append(track)
        self._present = set(tracks)
        cut = (self._cut(image, face, track) for face, track in zip(faces, tracks, strict=True))
        return [found for found in cut if found is not None]

    def final_tracks(self) -> list[int]:
        """The person of each track, once all frames are read, see :meth:`TrackLinker.merged`."""
        return self._linker.merged()

    def _is_large(self, face: Face) -> bool:
        x0, y0, x1, y1 = face_box(face.landmarks)
        return max(float(x1 - x0), float(y1 - y0)) >= self.min_face

    def _cut(self, image: ImageArray, face: Face, track: int) -> FoundFace | None:
        size = (image.shape[1], image.shape[0])
        window = crop_window(face_box(face.landmarks), size, self.cropping.margin)
        if window is None:
            return None
        crop = crop_image(image, window, self.cropping.max_side)
        # Rounded as in prepared datasets: the same warp, the same pixels, the same score.
        points = stored_points(crop_points(face.landmarks, window, self.cropping.max_side))
        return FoundFace(track, face, window, crop, points)
