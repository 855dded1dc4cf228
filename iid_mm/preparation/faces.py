# SPDX-License-Identifier: Apache-2.0
"""The faces of a video: found, followed through time, and cut out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from iid_mm.faces.analyzers.base import Face, FaceAnalyzer, FrameRef
from iid_mm.faces.appearance import KnownPerson, Look, describe
from iid_mm.faces.cropping import Window, crop_image, crop_window, face_box
from iid_mm.faces.tracking import SAME_FACE, link_tracks, nearest_face
from iid_mm.preparation.settings import Settings
from iid_mm.structures.video_record import VideoRecord

if TYPE_CHECKING:
    from iid_mm.utils.typing import ImageArray, Size

Frames = Iterator[tuple[int, 'ImageArray']]


@dataclass(frozen=True)
class FaceCrop:
    """A face in a frame, cut out.

    Attributes:
        size: Width and height of the frame.
        window: Where it was cut out.
        face: Its box and landmarks, in pixels of the frame.
        crop: What is stored.
        look: What the face looks like; None if it was not described.
    """

    size: Size
    window: Window
    face: Face
    crop: ImageArray
    look: Look | None = None


@dataclass
class Track:
    """One person in a video.

    Attributes:
        faces: Frame number -> face.
        others: Numbers of the frames in which somebody else was found.
    """

    faces: dict[int, FaceCrop] = field(default_factory=dict)
    others: set[int] = field(default_factory=set)

    def nearest(self, number: int) -> Face:
        """The face of the frame nearest in time."""
        return self.faces[min(self.faces, key=lambda other: (abs(other - number), other))].face

    def stays(self, look: Look | None) -> bool:
        """Whether a face that was looked for in the place of this person may be taken for theirs."""
        person = KnownPerson()
        for number in sorted(self.faces):
            if (known := self.faces[number].look) is not None:
                person.add(known)
        return look is None or person.agrees(look) or person.takes_back(look)


@dataclass
class VideoFaces:
    """All faces of the wanted frames of a video.

    Memory: crops are held, frames are not.

    Attributes:
        decoded: Numbers of the frames that could be decoded.
        tracks: The people in it, the weightiest first (:func:`link_tracks`). Where another person takes
            somebody's place, at a cut or later, there are two.
    """

    decoded: list[int]
    tracks: list[Track]


class FaceFinder:
    """Finds and cuts out the faces of a video.

    Windows are not smoothed over time: the frames of a video lie far apart, a smoothed window would lag
    behind a moving head, and alignment by the landmarks takes the jitter out later.

    Args:
        settings: Margin and size of crops.
        analyzer: Finds the faces.
    """

    def __init__(self, settings: Settings, analyzer: FaceAnalyzer) -> None:
        self.settings = settings
        self.analyzer = analyzer

    def find(self, record: VideoRecord, frames: Frames) -> VideoFaces:
        """Find the faces of a video and follow them.

        Args:
            record: The video.
            frames: Its frames: number and image, ascending.
        """
        numbers: list[int] = []
        crops: list[list[FaceCrop]] = []
        for number, image in frames:
            found = self.analyzer.analyze(image, where=FrameRef(record, number))
            cut = [self.cut(record, image, face) for face in found]
            kept = [crop for crop in cut if crop is not None]
            looks = describe(image, [crop.face for crop in kept])
            numbers.append(number)
            crops.append([replace(crop, look=look) for crop, look in zip(kept, looks, strict=True)])
        links = link_tracks(
            [[crop.face for crop in found] for found in crops],
            [[crop.look for crop in found] for found in crops],
        )
        tracks = [
            Track(
                {numbers[i]: crops[i][f] for i, f in link.items()},
                {numbers[i] for other in links if other is not link for i in other},
            )
            for link in links
        ]
        return VideoFaces(numbers, tracks)

    def retry(self, record: VideoRecord, frames: Frames, track: Track, others: Sequence[Track] = ()) -> None:
        """Look again for a person in frames in which the search of the whole image missed them.

        Args:
            record: The video.
            frames: Those frames.
            track: The person; gets what is found, and learns where somebody else is found.
            others: All people of the video: what is theirs already is not taken.
        """
        for number, image in frames:
            face = self.find_at(record, number, image, track.nearest(number))
            crop = self.cut(record, image, face) if face else None
            if face is None or crop is None:
                continue
            there = [other.faces[number].face for other in others if number in other.faces]
            (look,) = describe(image, [face])
            if nearest_face(there, face.box, SAME_FACE) is None and track.stays(look):
                track.faces[number] = replace(crop, look=look)
            else:
                track.others.add(number)

    def find_at(self, record: VideoRecord, number: int, image: ImageArray, hint: Face) -> Face | None:
        """The face of an image that lies where one lies in a frame with the same scene.

        Args:
            record: The video.
            number: Number of the frame.
            image: The frame.
            hint: Where to look.
        """
        where = FrameRef(record, number)
        face = nearest_face(self.analyzer.analyze(image, hint.box, where=where), hint.box)
        if face is None and self.analyzer.searches:
            face = nearest_face(self.analyzer.analyze(image, where=where), hint.box)
        return face

    def cut(self, record: VideoRecord, image: ImageArray, face: Face) -> FaceCrop | None:
        """Cut a face out; None if it lies outside of the image."""
        size = (image.shape[1], image.shape[0])
        if record.cropped:
            window: Window | None = (0, 0, *size)
        else:
            window = crop_window(face_box(face.landmarks), size, self.settings.margin)
        if window is None:
            return None
        return FaceCrop(size, window, face, crop_image(image, window, self.settings.max_side))
