# SPDX-License-Identifier: Apache-2.0
"""One interface to read frames, whatever they are stored in."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from iid_mm.errors import InputError
from iid_mm.media.containers import ReadingStopped, ShouldStop
from iid_mm.media.file_structure import animation_durations
from iid_mm.media.image_headers import check_image
from iid_mm.media.image_reading import (
    PILLOW_ERRORS,
    decode_first,
    open_by_pillow,
    read_image_file,
    to_bgr,
    upright,
)
from iid_mm.utils.files import reason_of

if TYPE_CHECKING:
    from iid_mm.utils.typing import ImageArray


class FrameReader(ABC):
    """Reads chosen frames of one video.

    Attributes:
        numbers: Numbers of the frames, ascending; empty if none can be read.
        problem: What is wrong; empty if nothing is. :meth:`read` may add to it.
    """

    def __init__(self, numbers: Sequence[int] = ()) -> None:
        self.numbers = numbers
        self.problem = ''

    @abstractmethod
    def read(self, numbers: Sequence[int]) -> Iterator[tuple[int, ImageArray]]:
        """Decode frames.

        Args:
            numbers: Frame numbers in any order; those that are not in :attr:`numbers` are ignored.

        Yields:
            Number and (H, W, 3) uint8 BGR image, ascending; a frame that cannot be decoded is left out
            and noted in :attr:`problem`.
        """

    def note(self, reason: str) -> None:
        """Add a reason to :attr:`problem`, unless it is empty or there already."""
        if reason not in self.problem:
            self.problem = f'{self.problem}; {reason}' if self.problem else reason


class ImageReader(FrameReader):
    """Reads frames that are stored as images in a folder.

    Args:
        folder: The folder.
        names: Paths relative to it.
        numbers: Frame number of each, strictly ascending.
    """

    def __init__(self, folder: Path, names: Sequence[str], numbers: Sequence[int]) -> None:
        super().__init__(tuple(numbers))
        self._paths = {number: folder / name for number, name in zip(numbers, names, strict=True)}

    def read(self, numbers: Sequence[int]) -> Iterator[tuple[int, ImageArray]]:
        """Decode frames; see :meth:`FrameReader.read`."""
        wanted = sorted(set(numbers) & set(self.numbers))
        bad = []
        for number in wanted:
            path = self._paths[number]
            try:
                image, images = decode_first(read_image_file(path))
            except (OSError, InputError) as error:
                bad.append(f'{path.name}: {reason_of(error)}')
                continue
            if images > 1:
                self.note(f'1 of {images} images of the file was read ({path.name})')
            yield number, image
        if bad:
            self.note(f'{len(bad)} of {len(wanted)} images cannot be read ({bad[0]})')


class ClipReader(FrameReader):
    """Reads chosen frames of one file that shows them over time.

    Args:
        path: The file.
        should_stop: Called from time to time, True stops; None never stops.

    Attributes:
        numbers: ``range(count)``.
        rate: Average number of frames per second; 0 if unknown.
        times: When each frame is shown, (count,) float64 seconds, ascending.

    Raises:
        ReadingStopped: If ``should_stop`` returned True; :meth:`read` raises it, too.
    """

    def __init__(self, path: Path, should_stop: ShouldStop | None = None) -> None:
        super().__init__(range(0))
        self.path = path
        self.rate = 0.0
        self.times: npt.NDArray[np.float64] = np.zeros(0)
        self._should_stop = should_stop

    @property
    def count(self) -> int:
        """Number of frames; 0 if the file cannot be read."""
        return len(self.numbers)

    def _check_stop(self) -> None:
        """Raise ReadingStopped if the caller wants it."""
        if self._should_stop is not None and self._should_stop():
            raise ReadingStopped


class AnimationReader(ClipReader):
    """Reads the frames of an animated WebP or PNG file, which not every FFmpeg decodes and shows upright."""

    def __init__(self, path: Path, should_stop: ShouldStop | None = None) -> None:
        super().__init__(path, should_stop)
        seconds = animation_durations(path)
        if seconds is None:
            self.note('cannot be read (it is missing, damaged, or no animation)')
            return
        self.numbers = range(len(seconds))
        self.times = np.cumsum([0.0, *seconds])[:-1]
        self.rate = len(seconds) / sum(seconds) if seconds else 0.0

    def read(self, numbers: Sequence[int]) -> Iterator[tuple[int, ImageArray]]:
        """Decode frames; see :meth:`FrameReader.read`."""
        wanted = set(numbers) & set(self.numbers)
        good = 0
        try:
            data = read_image_file(self.path)
            orientation = check_image(data).orientation
            with open_by_pillow(data) as animation:
                # Pillow counts the image for viewers without animation as the first one.
                first = int(bool(animation.info.get('default_image')))
                # All of them up to the last: each frame may change only a part of the one before.
                for number in range(max(wanted, default=-1) + 1):
                    self._check_stop()
                    animation.seek(number + first)
                    if number in wanted:
                        image = upright(to_bgr(animation), orientation)
                        good += 1
                        yield number, image
        except PILLOW_ERRORS as error:
            self.note(f'decoding stopped ({error})')
        if good < len(wanted):
            self.note(f'{len(wanted) - good} of {len(wanted)} frames cannot be decoded')
