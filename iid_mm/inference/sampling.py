# SPDX-License-Identifier: Apache-2.0
"""Choosing and reading the frames to analyze."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from iid_mm.errors import InputError
from iid_mm.inference.media import CAMERA, IMAGE, VIDEO, Media
from iid_mm.media.containers import ShouldStop
from iid_mm.media.file_structure import animation_durations, is_clip
from iid_mm.media.image_reading import decode_first, read_image_file
from iid_mm.media.readers import AnimationReader
from iid_mm.media.video_reader import VideoReader
from iid_mm.utils.files import reason_of
from iid_mm.utils.sampling import evenly_spaced
from iid_mm.utils.typing import ImageArray

FALLBACK_RATE = 25.0
"""Frames per second where a video or camera does not give its rate."""


@dataclass(frozen=True)
class Sampling:
    """Which frames of a video are analyzed.

    Attributes:
        frames: Number of evenly spaced frames, as in training and test; None: all.
        fps: Frames per second, instead of ``frames``; None: not used.
        camera_seconds: How long a camera is read, seconds.
    """

    frames: int | None = 32
    fps: float | None = None
    camera_seconds: float = 10.0

    def __post_init__(self) -> None:
        if self.frames is not None and self.frames < 1:
            raise InputError(f'frames={self.frames}: give at least 1, or None for all')
        if self.fps is not None and not 0 < self.fps <= 1000:
            raise InputError(f'fps={self.fps}: give a number above 0')
        if not 0 < self.camera_seconds < float('inf'):
            raise InputError(f'camera_seconds={self.camera_seconds}: give a number above 0')

    def choose(self, total: int, rate: float, times: npt.NDArray[np.float64] | None = None) -> list[int]:
        """Numbers of the frames to analyze.

        With ``fps``, the frame shown at each multiple of 1/fps seconds; across a gap between frames, the next
        frame.

        Args:
            total: Frames of the video.
            rate: Frames a second.
            times: When each is shown, (total,) seconds, ascending; None: at ``rate``.
        """
        if self.fps is None:
            return list(range(total)) if self.frames is None else evenly_spaced(total, self.frames)
        if times is None:
            times = np.arange(total) / rate
        if total < 2:
            return list(range(total))
        # A frame is due if a multiple of 1/fps lies between the end of the one before and its own end.
        steps = np.diff(times)
        usual = np.median(steps)
        # A frame ends at the latest when the next one starts.
        ends = (times + np.append(np.minimum(steps, usual), usual)) * self.fps
        # Times are rounded: within a millionth counts as a multiple.
        due = np.ceil(ends - 1e-6)
        return [0, *(np.flatnonzero(due[1:] > due[:-1]) + 1).tolist()]


@dataclass(frozen=True)
class TimedFrame:
    """A frame.

    Attributes:
        number: From 0.
        time: When it is shown, seconds from the start of the file.
        image: (H, W, 3) uint8 BGR.
    """

    number: int
    time: float
    image: ImageArray


class FrameStream(ABC):
    """Frames of one input, one at a time.

    Attributes:
        total: Frames of the whole input.
        rate: Average frames per second; 0 for an image.
        expected: Number of frames to come if none is broken.
        times: When each of ``total`` frames is shown, seconds, ascending; empty for a camera.
    """

    total = 0
    rate = 0.0
    expected = 0
    times: npt.NDArray[np.float64] = np.zeros(0)

    @abstractmethod
    def __iter__(self) -> Iterator[TimedFrame]:
        """Yield the frames, ascending."""

    @property
    def problem(self) -> str:
        """What was wrong with the input so far; empty if nothing."""
        return ''


class ImageStream(FrameStream):
    """The one frame of an image file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.total = self.expected = 1
        self.times = np.zeros(1)
        self._problem = ''

    def __iter__(self) -> Iterator[TimedFrame]:
        try:
            image, images = decode_first(read_image_file(self.path))
        except (OSError, InputError) as error:
            self._problem = f'cannot be read ({reason_of(error)})'
            return
        if images > 1:
            self._problem = f'1 of {images} images of the file was analyzed'
        yield TimedFrame(0, 0.0, image)

    @property
    def problem(self) -> str:
        """See :attr:`FrameStream.problem`."""
        return self._problem


class VideoStream(FrameStream):
    """Chosen frames of a video or animation.

    Args:
        path: The file.
        sampling: Which frames.
        numbers: Read these frames instead of those that ``sampling`` chooses.
        should_stop: Called from time to time; if it returns True, reading stops. None never stops.

    Raises:
        ReadingStopped: If ``should_stop`` returned True; also while iterating.
    """

    def __init__(
        self,
        path: Path,
        sampling: Sampling,
        numbers: Sequence[int] | None = None,
        should_stop: ShouldStop | None = None,
    ) -> None:
        self.reader: VideoReader | AnimationReader
        kind = VideoReader if animation_durations(path) is None else AnimationReader
        self.reader = kind(path, should_stop)
        self.total = self.reader.count
        self.rate = self.reader.rate or FALLBACK_RATE
        self.times = self.reader.times if self.reader.rate else np.arange(self.total) / self.rate
        chosen = sampling.choose(self.total, self.rate, self.times) if numbers is None else list(numbers)
        self.numbers = chosen
        self.expected = len(chosen)

    def __iter__(self) -> Iterator[TimedFrame]:
        for number, image in self.reader.read(self.numbers):
            yield TimedFrame(number, float(self.times[number]), image)

    @property
    def problem(self) -> str:
        """See :attr:`FrameStream.problem`."""
        return self.reader.problem


class CameraStream(FrameStream):
    """Frames of a camera.

    Args:
        camera: Its number.
        sampling: Duration and, with ``fps``, the highest frame rate.
    """

    def __init__(self, camera: int, sampling: Sampling) -> None:
        self.camera = camera
        self.sampling = sampling
        self._capture: Any = cv2.VideoCapture(camera)
        self.is_open = bool(self._capture.isOpened())
        self.rate = float(self._capture.get(cv2.CAP_PROP_FPS) or 0) or FALLBACK_RATE
        self.expected = max(int(sampling.camera_seconds * min(self.rate, sampling.fps or self.rate)), 1)

    def __iter__(self) -> Iterator[TimedFrame]:
        start = time.monotonic()
        last = -float('inf')
        try:
            while self.is_open:
                good, image = self._capture.read()
                now = time.monotonic() - start
                if not good or now > self.sampling.camera_seconds:
                    return
                number = self.total
                self.total += 1
                if self.sampling.fps is None or now - last >= 1 / self.sampling.fps:
                    last = now
                    yield TimedFrame(number, now, np.asarray(image, np.uint8))
        finally:
            self._capture.release()

    @property
    def problem(self) -> str:
        """See :attr:`FrameStream.problem`."""
        if not self.is_open:
            return f'camera {self.camera} cannot be opened; is it connected, and may this user read it?'
        return '' if self.total else f'camera {self.camera} gives no images'


def by_content(media: Media) -> Media:
    """Set the kind by content rather than suffix: an animation may be named like an image."""
    if media.path is None or (clip := is_clip(media.path)) is None:
        return media
    return replace(media, kind=VIDEO if clip else IMAGE)


def open_stream(media: Media, sampling: Sampling, should_stop: ShouldStop | None = None) -> FrameStream:
    """Open an input for reading; see :class:`VideoStream` for ``should_stop``."""
    if media.kind == CAMERA:
        return CameraStream(media.camera or 0, sampling)
    media = by_content(media)
    assert media.path is not None
    if media.kind == IMAGE:
        return ImageStream(media.path)
    return VideoStream(media.path, sampling, should_stop=should_stop)
