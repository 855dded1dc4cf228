# SPDX-License-Identifier: Apache-2.0
"""Exact reading of single frames from videos, broken ones included.

A frame number n means the n-th frame in presentation order, from 0. The numbers come from the time
stamps of the packets, so a frame that cannot be decoded is missing under its own number and does
not shift the ones after it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import numpy as np
from av.error import FFmpegError

from iid_mm.errors import InputError

if TYPE_CHECKING:
    from iid_mm.utils.typing import ImageArray


def evenly_spaced(total: int, count: int) -> list[int]:
    """Choose frame numbers that cover a video evenly.

    The video is cut into ``count`` parts of equal length and the middle frame of each is taken, so
    that neither the first nor the last frame (often a fade or a broken one) is favoured.

    Args:
        total: Number of frames of the video.
        count: How many numbers are wanted.

    Returns:
        ``min(total, count)`` different numbers in [0, total), ascending; all if ``total <= count``.

    Raises:
        InputError: If ``total`` is negative or ``count`` is not positive.
    """
    if total < 0 or count < 1:
        raise InputError(f'total={total}, count={count}: need total >= 0 and count >= 1')
    if total <= count:
        return list(range(total))
    return [(2 * part + 1) * total // (2 * count) for part in range(count)]


class VideoReader:
    """Reads chosen frames of one video file; every defect of the file ends up in :attr:`problem`.

    Args:
        path: The video file.

    Attributes:
        path: The video file.
        count: Number of frames, counted from the packets and not taken from the header; 0 if the
            file cannot be read at all.
        problem: What is wrong with the file, empty if nothing. :meth:`read` may add to it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.count = 0
        self.problem = ''
        self._numbers: dict[int, int] | None = None
        try:
            self._count_frames()
        except FFmpegError as error:
            self._note(f'cannot be read ({_text(error)})')

    def read(self, numbers: Sequence[int]) -> Iterator[tuple[int, ImageArray]]:
        """Decode frames.

        Args:
            numbers: Frame numbers in any order; those outside the video are ignored.

        Yields:
            Number and image, ascending; a frame that cannot be decoded is left out and noted in
            :attr:`problem`.
        """
        wanted = {number for number in numbers if 0 <= number < self.count}
        missing = set(wanted)
        if not wanted:
            return
        last = max(wanted)
        try:
            for number, frame in self._decode():
                if frame is not None and number in missing:
                    missing.discard(number)
                    yield number, to_image(frame)
                if number >= last:
                    break
        except FFmpegError as error:
            self._note(f'decoding stopped ({_text(error)})')
        if missing:
            self._note(f'{len(missing)} of {len(wanted)} frames cannot be decoded')

    def _note(self, reason: str) -> None:
        if reason not in self.problem:
            self.problem = f'{self.problem}; {reason}' if self.problem else reason

    def _open(self) -> Any:
        return av.open(str(self.path), metadata_errors='replace')

    def _count_frames(self) -> None:
        with self._open() as container:
            if not container.streams.video:
                self._note('has no video stream')
                return
            stream = container.streams.video[0]
            codec = stream.codec_context
            if codec is None:
                self._note('uses a codec that is unknown here')
                return
            promised = stream.frames
            stamps: list[int | None] = []
            packets = 0
            try:
                for packet in container.demux(stream):
                    if packet.size:
                        packets += 1
                        # Packets that an edit list cuts away are decoded but never shown.
                        if not getattr(packet, 'is_discard', False):
                            stamps.append(packet.pts)
            except FFmpegError as error:
                self._note(f'ends early ({_text(error)})')
        if packets < promised:
            self._note(f'the header promises {promised} frames, the file holds {packets}')
        known = sorted({stamp for stamp in stamps if stamp is not None})
        # Some AVI files have no time stamps, or number the packets although the codec reorders them.
        # VP8 has packets that are never shown.
        in_order = known == stamps and len(known) > 1 and codec.has_b_frames
        if len(known) == len(stamps) and not in_order and codec.name != 'vp8':
            self._numbers = {stamp: number for number, stamp in enumerate(known)}
            self.count = len(known)
        else:
            for _ in self._decode():
                self.count += 1
        if not self.count:
            self._note('holds no frame')

    def _decode(self) -> Iterator[tuple[int, Any]]:
        """Yield number and frame of what comes out of the decoder; None for a damaged frame.

        Decoders conceal errors and go on, so a damaged or lost frame spoils those predicted from it:
        nothing is used from the first error up to the next sound key frame.
        """
        with self._open() as container:
            stream = container.streams.video[0]
            # The processes share the cores already: one thread each.
            stream.thread_type = 'NONE'
            stream.codec_context.thread_count = 1
            damaged = False
            expected = 0
            for packet in container.demux(stream):
                try:
                    frames = packet.decode()
                except FFmpegError as error:
                    self._note(f'a packet cannot be decoded ({_text(error)})')
                    damaged = True
                    continue
                for frame in frames:
                    number = self._number(frame, expected)
                    if number is None:
                        continue
                    lost = damaged or number != expected
                    damaged = bool(frame.is_corrupt) or (lost and not frame.key_frame)
                    if damaged:
                        self._note('some frames are damaged')
                    expected = number + 1
                    yield number, None if damaged else frame

    def _number(self, frame: Any, expected: int) -> int | None:
        """Number of a decoded frame; ``expected`` where the time stamps are of no use."""
        return expected if self._numbers is None else self._numbers.get(frame.pts)


def to_image(frame: Any) -> ImageArray:
    """Convert a decoded frame to an upright image.

    Args:
        frame: ``av.VideoFrame``.

    Returns:
        (H, W, 3) uint8 BGR, turned as the file's display matrix asks.
    """
    return upright(frame.to_ndarray(format='bgr24'), getattr(frame, 'rotation', 0))


def upright(image: ImageArray, degrees: int) -> ImageArray:
    """Turn an image by a multiple of a right angle.

    Args:
        image: (H, W, 3) uint8.
        degrees: Angle, counter-clockwise; rounded to a multiple of 90.

    Returns:
        The turned image, contiguous.
    """
    turns = round(degrees / 90) % 4
    return np.ascontiguousarray(np.rot90(image, turns)) if turns else image


def _text(error: FFmpegError) -> str:
    return error.strerror or type(error).__name__
