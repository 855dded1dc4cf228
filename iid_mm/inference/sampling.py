# SPDX-License-Identifier: Apache-2.0
"""Which frames are looked at, and reading them."""

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
"""Frames a second of a video or camera that does not tell."""


@dataclass(frozen=True)
class Sampling:
    """Which frames of a video are looked at.

    Attributes:
        frames: So many, evenly spaced, as in training and test; None: all of them.
        fps: So many a second, in place of ``frames``; None: not asked for.
        camera_seconds: How long a camera is watched.
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
        """Numbers of the frames to look at.

        With ``fps``, of each 1/fps seconds from the start the frame that is shown at their beginning; where
        frames are further apart than usual, the next one.

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
        # A frame is due if a multiple of 1/fps lies from the usual end of the one before to its own.
        steps = np.diff(times)
        usual = np.median(steps)
        # No frame is shown any more when the next one is.
        ends = (times + np.append(np.minimum(steps, usual), usual)) * self.fps
        # Times are rounded: what is within a millionth of a multiple is one.
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
        rate: Frames a second on average, 0 for an image.
        expected: Frames that will come if none is broken.
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
        """What is wrong with the input, as far as it was read; empty if nothing."""
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
        numbers: These frames in place of those that ``sampling`` chooses.
        should_stop: Asked now and then, while the file is opened and read, whether to stop; None never stops.

    Raises:
        ReadingStopped: If ``should_stop`` said so; from iterating, too.
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
    """Frames of a camera, as they come.

    Args:
        camera: Its number.
        sampling: How long, and with ``fps`` how many a second at most.
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
        return '' if self.total else f'camera {self.camera} gives no pictures'


def by_content(media: Media) -> Media:
    """Correct what a suffix says by what the file holds: an animation that is named like an image."""
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
