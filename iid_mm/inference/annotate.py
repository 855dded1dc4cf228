# SPDX-License-Identifier: Apache-2.0
"""Annotated videos: every frame; faces are interpolated between analyzed frames."""

from __future__ import annotations

import os
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from av.error import FFmpegError

from iid_mm.errors import InputError
from iid_mm.inference.drawing import draw_faces
from iid_mm.inference.results import Artifact, FaceScore, MediaResult, PersonTrack
from iid_mm.inference.sampling import Sampling, VideoStream
from iid_mm.utils.files import printable, reason_of, temporary_beside
from iid_mm.utils.typing import ImageArray

CRF = '20'
"""Quality of the H.264 coding, 0 best."""
TICKS = 90_000
"""Time stamps per second, as in MPEG."""


class VideoWriter:
    """Writes an H.264 file that browsers play; it appears complete or not at all.

    Args:
        path: The file, ``.mp4``.
        rate: Frames a second on average.

    Raises:
        InputError: The file cannot be written; also raised by :meth:`write` and :meth:`close`.
    """

    def __init__(self, path: Path, rate: float) -> None:
        if not path.parent.is_dir():
            raise InputError(f'{printable(path)} cannot be written: there is no such folder')
        self.path = path
        self._temporary = temporary_beside(path)
        # FFmpeg would read a relative name that begins like 12:30 as a URL.
        place = os.path.abspath(self._temporary)
        with self._writing():
            self._container: Any = av.open(place, 'w', format='mp4', options={'movflags': 'faststart'})
            self._stream: Any = self._container.add_stream(
                'libx264',
                rate=Fraction(min(max(rate, 1), 240)).limit_denominator(1001),
                options={'crf': CRF, 'preset': 'veryfast'},
            )
        self._stream.pix_fmt = 'yuv420p'
        self._stream.codec_context.time_base = Fraction(1, TICKS)
        self._size: tuple[int, int] | None = None
        self._last = -1

    def write(self, image: ImageArray, time: float) -> None:
        """Add a frame.

        Args:
            image: (H, W, 3) uint8 BGR. Frames of another size than the first are resized to it.
            time: Presentation time in seconds, ascending.
        """
        # 4:2:0 coding requires even sizes.
        size = image.shape[1] // 2 * 2, image.shape[0] // 2 * 2
        if self._size is None:
            self._size = self._stream.width, self._stream.height = size
        elif size != self._size:
            image = np.asarray(cv2.resize(image, self._size, interpolation=cv2.INTER_AREA), np.uint8)
        width, height = self._size
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image[:height, :width]), format='bgr24')
        self._last = max(round(time * TICKS), self._last + 1)
        frame.pts, frame.time_base = self._last, Fraction(1, TICKS)
        with self._writing():
            for packet in self._stream.encode(frame):
                self._container.mux(packet)

    def close(self, *, keep: bool = True) -> None:
        """Finish the file, or delete it."""
        keep = keep and self._size is not None
        try:
            with self._writing(keep):
                if keep:
                    for packet in self._stream.encode():
                        self._container.mux(packet)
                self._container.close()
                if keep:
                    os.replace(self._temporary, self.path)
        finally:
            # A failing deletion must not hide the first error.
            with suppress(OSError):
                self._temporary.unlink(missing_ok=True)

    @contextmanager
    def _writing(self, matters: bool = True) -> Iterator[None]:
        try:
            yield
        except (OSError, FFmpegError) as error:
            if matters:
                raise InputError(f'{printable(self.path)} cannot be written ({reason_of(error)})') from error


def annotate_video(
    source: Path, out: Path, result: MediaResult, progress: Callable[[int, int], None] | None = None
) -> None:
    """Write a copy of a video with faces, probabilities and artifact boxes drawn in.

    Frames and times are those of :class:`VideoStream`: upright, with square pixels. Between analyzed frames,
    boxes and probabilities are interpolated; a face that is missing in the next analyzed frame is not drawn.

    Args:
        source: The video.
        out: The output, ``.mp4``.
        result: The result of the video.
        progress: Called with the number of written frames and of all frames.

    Raises:
        InputError: The file cannot be written.
    """
    stream = VideoStream(source, Sampling(frames=None))
    places = [TrackPlaces(track, sorted(result.times)) for track in result.tracks]
    writer = VideoWriter(out, stream.rate)
    done = False
    try:
        for count, frame in enumerate(stream, 1):
            faces = [(p.track.number, face) for p in places if (face := p.at(frame.number, frame.time))]
            drawn = draw_faces(frame.image, faces, result.threshold, name_people=len(places) > 1)
            writer.write(drawn, frame.time)
            if progress is not None:
                progress(count, stream.expected)
        done = True
    finally:
        writer.close(keep=done)


class TrackPlaces:
    """Positions of a person in all frames, interpolated between analyzed ones.

    Args:
        track: The person.
        looked_at: Numbers of all analyzed frames, ascending.
    """

    def __init__(self, track: PersonTrack, looked_at: Sequence[int]) -> None:
        self.track = track
        self._looked_at = looked_at
        self._faces = {face.frame: face for face in track.faces}

    def at(self, number: int, time: float) -> FaceScore | None:
        """The face in a frame; None if the person is not there."""
        if number in self._faces:
            return self._faces[number]
        place = bisect_left(self._looked_at, number)
        before = self._faces.get(self._looked_at[place - 1]) if place else None
        after = self._faces.get(self._looked_at[place]) if place < len(self._looked_at) else None
        if before is None or after is None:
            # Before the first and after the last analyzed frame, the nearest one is used.
            if place == 0 and after is not None:
                return after
            return before if place == len(self._looked_at) else None
        weight = (number - before.frame) / (after.frame - before.frame)
        nearer = before if weight < 0.5 else after
        box = tuple(a + weight * (b - a) for a, b in zip(before.box, after.box, strict=True))
        move = [box[i] - nearer.box[i] for i in (0, 1)]
        artifacts = tuple(
            Artifact(tuple((x + move[0], y + move[1]) for x, y in artifact.polygon), artifact.score)
            for artifact in nearer.artifacts
        )
        probability = before.probability + weight * (after.probability - before.probability)
        return FaceScore(
            number, time, (box[0], box[1], box[2], box[3]), nearer.detection, probability, artifacts
        )
