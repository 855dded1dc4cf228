# SPDX-License-Identifier: Apache-2.0
"""Exact reading of single frames from videos, broken ones included.

A frame number n means the n-th frame in presentation order, from 0. The numbers come from the time
stamps of the packets, so a frame that cannot be decoded is missing under its own number and does
not shift the ones after it.

Seeking is done by reading all packets and decoding from the last key frame before a wanted frame only.
Reading costs little next to decoding, and what no index of the file decides cannot go wrong because the
index is missing, sparse or broken.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import islice, takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import numpy as np
from av.error import FFmpegError

from iid_mm.errors import InputError
from iid_mm.preparation.image_files import MAX_PIXELS
from iid_mm.preparation.numbering import number_frames
from iid_mm.preparation.packets import Entry, Packets
from iid_mm.preparation.readers import FrameReader

if TYPE_CHECKING:
    from iid_mm.utils.typing import ImageArray

DECODER_OPTIONS = {
    'max_pixels': str(MAX_PIXELS),
    # Damage is an error instead of a guess at the picture.
    'err_detect': 'crccheck+bitstream+buffer+explode',
}
# Containers in which packets follow each other without holes.
_GAPLESS = ('matroska,webm', 'avi')


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


class VideoReader(FrameReader):
    """Reads chosen frames of one video file; every defect of the file ends up in :attr:`problem`.

    Args:
        path: The video file.

    Attributes:
        path: The video file.
        numbers: ``range(count)``.
        rate: Average number of frames a second; 0 if the file does not tell.
        problem: What is wrong with the file, empty if nothing. :meth:`read` may add to it.
        decoded: Packets that were decoded so far.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.numbers = range(0)
        self.rate = 0.0
        self.problem = ''
        self.decoded = 0
        self._numbers: dict[int, int] | None = None
        self._entries: list[Entry] = []
        try:
            self._count_frames()
        except FFmpegError as error:
            self.note(f'cannot be read ({_text(error)})')

    @property
    def count(self) -> int:
        """Number of frames, counted from the packets and not taken from the header; 0 if unreadable."""
        return len(self.numbers)

    def read(self, numbers: Sequence[int]) -> Iterator[tuple[int, ImageArray]]:
        """Decode frames.

        Args:
            numbers: Frame numbers in any order; those outside the video are ignored.

        Yields:
            Number and image, ascending; a frame that cannot be decoded is left out and noted in
            :attr:`problem`.
        """
        wanted = sorted({number for number in numbers if 0 <= number < self.count})
        if not wanted:
            return
        left = wanted
        good = 0
        # A second attempt only if the first one skipped packets and met something unexpected.
        for entries in [self._entries, []] if self._entries else [[]]:
            try:
                for number, frame in self._decode(left, entries):
                    if number in left:
                        left = left[bisect_right(left, number) :]
                        if frame is not None:
                            good += 1
                            yield number, to_image(frame)
                    if not left:
                        break
                break
            except _UnexpectedFrame:
                continue
            except FFmpegError as error:
                self.note(f'decoding stopped ({_text(error)})')
                break
        if good < len(wanted):
            self.note(f'{len(wanted) - good} of {len(wanted)} frames cannot be decoded')

    def _open(self) -> Any:
        return av.open(str(self.path), metadata_errors='replace', options={'max_pixels': str(MAX_PIXELS)})

    def _count_frames(self) -> None:
        with self._open() as container:
            if not container.streams.video:
                self.note('has no video stream')
                return
            stream = container.streams.video[0]
            codec = stream.codec_context
            if codec is None:
                self.note('uses a codec that is unknown here')
                return
            if codec.width * codec.height > MAX_PIXELS:
                self.note(f'has frames of {codec.width}x{codec.height} pixels, which is too large')
                return
            promised, reorders = stream.frames, codec.has_b_frames
            kind = container.format.name
            packets = Packets(gapless=kind in _GAPLESS)
            name, extradata = codec.codec.canonical_name, codec.extradata or b''
            try:
                for packet in container.demux():
                    if packet.size:
                        packets.pass_over(packet)
                        if packet.stream_index == stream.index:
                            packets.add(packet, name, extradata)
            except FFmpegError as error:
                self.note(f'ends early ({_text(error)})')
            index = [entry.pos + 8 for entry in stream.index_entries if entry.size] if kind == 'avi' else []
            rate = stream.average_rate
            self.rate = float(rate or 0)
            base = stream.time_base
            step = float(1 / (rate * base)) if rate and base else 0.0
            duration = float((container.duration or 0) / (av.time_base * base)) if base else 0.0
        if packets.total < promised:
            self.note(f'the header promises {promised} frames, the file holds {packets.total}')
        found = number_frames(
            packets, reorders=reorders, step=step, promised=promised, duration=duration, index=index
        )
        if found.problem:
            self.note(found.problem)
        self._numbers = found.numbers
        self.numbers = range(found.count)
        if self._numbers is None:
            # Frames after a damage cannot be counted.
            sound = takewhile(_is_sound, self._decode())
            self.numbers = range(sum(1 for _ in islice(sound, found.count)))
        else:
            self._entries = packets.entries(self._numbers)
        if not self.numbers:
            self.note('holds no frame')

    def _decode(self, wanted: Sequence[int] = (), entries: Sequence[Entry] = ()) -> Iterator[tuple[int, Any]]:
        """Yield number and frame of what comes out of the decoder; None for a damaged frame.

        Decoders conceal errors and go on, so a damaged or lost frame spoils those predicted from it:
        nothing is used from the first error up to the next sound key frame.

        Args:
            wanted: Frame numbers, ascending; none for all.
            entries: Where decoding may start; frames that are not wanted may then be left out.

        Raises:
            _UnexpectedFrame: If after a skip anything but a sound frame comes out.
        """
        counting = self._numbers is None
        state = _State(counting=counting)
        targets = _Targets(wanted, entries)
        with self._open() as container:
            stream = container.streams.video[0]
            codec = stream.codec_context
            # The processes share the cores already: one thread each.
            codec.thread_type = 'NONE'
            codec.thread_count = 1
            codec.options = DECODER_OPTIONS
            place = -1
            skipping = False
            for packet in _filled(container, stream):
                place += 1
                # The first packet may hold what the decoder has to know about the encoder.
                if packet is not None and 0 < place < targets.start.packet:
                    skipping = True
                    continue
                if skipping and packet is not None:
                    skipping = False
                    codec.flush_buffers()
                    state = _State(targets.start.number, skipped=True)
                self.decoded += packet is not None
                try:
                    frames = codec.decode(packet)
                except FFmpegError as error:
                    state.fail()
                    self.note(f'a packet cannot be decoded ({_text(error)})')
                    continue
                for frame in frames:
                    number = state.expected if self._numbers is None else self._numbers.get(frame.pts)
                    if number is None or (state.awaits_key and number < state.expected):
                        continue
                    sound = state.judge(number, frame)
                    if not sound:
                        self.note('some frames are damaged')
                    yield number, frame if sound else None
                    targets.passed(number)


def _is_sound(item: tuple[int, Any]) -> bool:
    return item[1] is not None


class _UnexpectedFrame(Exception):
    """Decoding from a key frame did not go as it should."""


class _State:
    """Where a decoder is, and whether it can be trusted.

    Args:
        expected: Number of the next frame.
        skipped: Packets before it were skipped.
        counting: There are no time stamps, so that frames after a loss have no number.
    """

    def __init__(self, expected: int = 0, *, skipped: bool = False, counting: bool = False) -> None:
        self.expected = expected
        self.counting = counting
        self.skipped = skipped
        self.awaits_key = skipped
        self.damaged = False

    def fail(self) -> None:
        """A packet could not be decoded."""
        if self.skipped:
            raise _UnexpectedFrame
        self.damaged = True

    def judge(self, number: int, frame: Any) -> bool:
        """Whether the next frame is sound."""
        lost = self.damaged or number != self.expected
        self.damaged = bool(frame.is_corrupt) or (lost and (self.counting or not frame.key_frame))
        if self.skipped and (self.damaged or lost or (self.awaits_key and not frame.key_frame)):
            raise _UnexpectedFrame
        self.awaits_key = False
        self.expected = number + 1
        return not self.damaged


class _Targets:
    """The frames that are still wanted.

    Args:
        wanted: Their numbers, ascending.
        entries: Where decoding may start.
    """

    def __init__(self, wanted: Sequence[int], entries: Sequence[Entry]) -> None:
        self._wanted = wanted
        self._entries = entries
        self._first = -1
        self.start = Entry(0, 0)
        """Where to start decoding for the next wanted frame."""
        self.passed(-1)

    def passed(self, number: int) -> None:
        """A frame has come out."""
        first = bisect_right(self._wanted, number)
        if first == self._first or first == len(self._wanted):
            return
        self._first = first
        before = bisect_right(self._entries, self._wanted[first], key=lambda entry: entry.number)
        if before:
            self.start = self._entries[before - 1]


def _filled(container: Any, stream: Any) -> Iterator[Any]:
    """Yield the packets that hold data, and None at the end, which makes a decoder hand out the rest."""
    for packet in container.demux(stream):
        if packet.size:
            yield packet
    yield None


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
