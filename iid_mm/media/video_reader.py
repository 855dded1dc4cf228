# SPDX-License-Identifier: Apache-2.0
"""Exact reading of single frames from videos, also from damaged ones.

Frame n is the n-th frame in presentation order, from 0. The numbers come from the time stamps of the
packets, so that a frame that cannot be decoded does not shift the numbers of later ones.

To seek, all packets are read, and decoding starts at the last key frame before a wanted frame. Reading is
cheap compared with decoding, and does not depend on an index of the file, which may be missing, sparse or
damaged.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import numpy as np
from av.error import FFmpegError

from iid_mm.errors import InputError
from iid_mm.media.containers import ShouldStop, choose_stream, open_container
from iid_mm.media.file_structure import is_truncated
from iid_mm.media.image_headers import MAX_PIXELS
from iid_mm.media.numbering import Numbering, number_frames
from iid_mm.media.packets import NO_ENTRIES, Entries, Entry, Packets
from iid_mm.media.pixels import colors_of, complete, to_image
from iid_mm.media.readers import ClipReader
from iid_mm.utils.files import reason_of

if TYPE_CHECKING:
    from iid_mm.utils.typing import ImageArray

MAX_FRAMES = 2_700_000
"""Longer videos are not read: a day at 30 frames per second has 2.6 million frames."""
_MAX_PACKETS = 2 * MAX_FRAMES
# The parts of an intact file do not overlap; compressed headers make packets a little larger than the file.
_PACKET_BYTES_PER_BYTE = 4
# The frames of videos without time stamps are counted by decoding; of longer videos the packets are counted.
_COUNTED_PIXELS = 1 << 31
# Average rates of headers are rounded.
_RATE_TOLERANCE = 0.02
DECODER_OPTIONS = {
    'max_pixels': str(MAX_PIXELS),
    # Damage is an error and not concealed.
    'err_detect': 'crccheck+bitstream+buffer+explode',
}
# Containers in which packets follow each other without holes.
_GAPLESS = ('matroska,webm', 'avi')


class VideoReader(ClipReader):
    """Reads chosen frames of one video file; every defect of the file is noted in :attr:`problem`.

    The frames are counted from the packets, not taken from the header. Time 0 is the start of the file, which
    is that of the sound if it begins before the video.

    Attributes:
        decoded: Number of packets decoded so far.
    """

    def __init__(self, path: Path, should_stop: ShouldStop | None = None) -> None:
        super().__init__(path, should_stop)
        self.decoded = 0
        self._stream = 0
        self._numbers: Numbering | None = None
        self._entries: Entries = NO_ENTRIES
        try:
            self._count_frames()
        except (FFmpegError, OSError, ValueError) as error:
            self.note(f'cannot be read ({reason_of(error)})')

    def read(self, numbers: Sequence[int]) -> Iterator[tuple[int, ImageArray]]:
        """Decode frames; see :meth:`FrameReader.read`."""
        wanted = sorted({number for number in numbers if 0 <= number < self.count})
        if not wanted:
            return
        place = good = 0
        # A second attempt only if the first one skipped packets and found something unexpected.
        for entries in [self._entries, NO_ENTRIES] if len(self._entries.numbers) else [NO_ENTRIES]:
            try:
                for number, frame, aspect in self._decode(wanted[place:], entries):
                    passed = bisect_right(wanted, number, lo=place)
                    if passed > place and wanted[passed - 1] == number and frame is not None:
                        image, note = to_image(frame, aspect)
                        self.note(note)
                        good += 1
                        yield number, image
                    place = passed
                    if place == len(wanted):
                        break
                break
            except _UnexpectedFrame:
                continue
            except (FFmpegError, OSError, ValueError) as error:
                self.note(f'decoding stopped ({reason_of(error)})')
                break
        if good < len(wanted):
            self.note(f'{len(wanted) - good} of {len(wanted)} frames cannot be decoded')

    def _count_frames(self) -> None:
        with open_container(self.path, self._should_stop) as container:
            stream = self._choose_stream(container)
            if stream is None:
                return
            promised, reorders = stream.frames, stream.codec_context.has_b_frames
            packets = self._packets(container, stream)
            index: list[int] = []
            lossy = packets.hole is not None or packets.total < promised
            if lossy and container.format.name == 'avi':
                index = [entry.pos + 8 for entry in stream.index_entries if entry.size]
            rate = stream.average_rate
            base = stream.time_base
            step = float(1 / (rate * base)) if rate and base else 0.0
            start = None if container.start_time is None else max(container.start_time, 0) / av.time_base
            # Matroska counts the length from zero and not from the first frame.
            length = (container.duration or 0) / av.time_base
            if container.format.name == 'matroska,webm':
                length -= start or 0
            duration = length / float(base) if base else 0.0
        if packets.total < promised:
            self.note(f'the header promises {promised} frames, the file holds {packets.total}')
        elif is_truncated(self.path):
            self.note('the file ends early')
        found = number_frames(
            packets,
            reorders=reorders,
            step=step,
            promised=promised,
            duration=duration,
            index=np.array(index, np.int64),
        )
        self.note(found.problem)
        if found.stamps is None:
            self.numbers = range(self._count_by_decoding(found.count))
        else:
            self._numbers = found
            self.numbers = range(found.count)
            self._entries = packets.entries(found.stamps, found.numbers)
        self._set_times(found, float(rate or 0), base, start)
        if not self.numbers:
            self.note('holds no frame')

    def _choose_stream(self, container: Any) -> Any:
        """Choose the stream to read; None without one whose frames may be decoded."""
        stream, note = choose_stream(container)
        self.note(note)
        if stream is None:
            return None
        codec = stream.codec_context
        if codec.width * codec.height > MAX_PIXELS:
            self.note(f'has frames of {codec.width}x{codec.height} pixels, which is too large')
            return None
        self._stream = stream.index
        return stream

    def _packets(self, container: Any, stream: Any) -> Packets:
        """Read all packets."""
        codec = stream.codec_context
        packets = Packets(gapless=container.format.name in _GAPLESS)
        name, extradata = codec.codec.canonical_name, codec.extradata or b''
        # Packets of sound matter only where a hole between two of any kind shows a loss.
        every = container.demux() if packets.gapless else container.demux(stream)
        left = _PACKET_BYTES_PER_BYTE * container.size + (1 << 26)
        try:
            for count, packet in enumerate(every, 1):
                size = packet.size
                if size:
                    packets.pass_over(packet)
                    if not packets.gapless or packet.stream_index == self._stream:
                        packets.add(packet, name, extradata)
                left -= size
                if left < 0:
                    raise InputError('its packets refer to the same data over and over')
                if packets.total > MAX_FRAMES or count > _MAX_PACKETS:
                    raise InputError(
                        f'it has more than {MAX_FRAMES} frames or {_MAX_PACKETS} packets; cut out the part '
                        'in question, for example with: ffmpeg -ss 0:30 -t 60 -i long.mp4 -c copy part.mp4'
                    )
        except FFmpegError as error:
            self.note(f'ends early ({reason_of(error)})')
        return packets

    def _count_by_decoding(self, most: int) -> int:
        """Number of frames before the first damage; without time stamps later ones have no number."""
        count = pixels = 0
        for number, frame, _ in self._decode():
            if frame is None or number >= most:
                break
            count += 1
            pixels += frame.width * frame.height
            if pixels > _COUNTED_PIXELS:
                return most
        return count

    def _set_times(self, found: Numbering, rate: float, base: Fraction | None, start: float | None) -> None:
        ticks = found.times[: self.count]
        if len(ticks) < self.count or not base or not len(ticks):
            self.rate = rate
            self.times = np.arange(self.count) / rate if rate else np.zeros(self.count)
            return
        # Integers are divided once, so that 3 * 512 ticks of 1/12800 s are exactly 3/25 s.
        self.times = (ticks - ticks[0]).astype(np.float64) * base.numerator / base.denominator
        delay = 0.0 if start is None else float(int(ticks[0]) * base) - start
        # The start is rounded to microseconds.
        if delay > max(1e-3, 1.5 * float(base)):
            self.times += delay
        length = float(self.times[-1] - self.times[0])
        measured = (self.count - 1) / length if length > 0 else rate
        # The rate in the header of a video with a variable rate is arbitrary.
        self.rate = rate if rate and abs(measured / rate - 1) < _RATE_TOLERANCE else measured

    def _decode(
        self, wanted: Sequence[int] = (), entries: Entries = NO_ENTRIES
    ) -> Iterator[tuple[int, Any, Fraction | None]]:
        """Yield number, frame and pixel aspect of each decoded frame; None for a damaged frame.

        Decoders conceal errors and continue, so that a damaged or lost frame spoils those predicted from it:
        frames from the first error up to the next intact key frame count as damaged.

        Args:
            wanted: Frame numbers, ascending; none for all.
            entries: Where decoding may start; frames that are not wanted may then be left out.

        Raises:
            _UnexpectedFrame: If an intact frame is expected after a skip, and another one is decoded.
        """
        state = _State(counting=self._numbers is None)
        targets = _Targets(wanted, entries)
        with open_container(self.path, self._should_stop) as container:
            stream = container.streams[self._stream]
            codec = stream.codec_context
            # One thread per process: the processes share the cores.
            codec.thread_type = 'NONE'
            codec.thread_count = 1
            codec.options = DECODER_OPTIONS
            colors = colors_of(codec)
            skipping = False
            for place, packet in enumerate(_filled(container, stream)):
                # The first packet may hold information about the encoder that the decoder needs.
                if packet is not None and 0 < place < targets.start.packet:
                    skipping = True
                    continue
                if skipping and packet is not None:
                    skipping = False
                    codec.flush_buffers()
                    state = _State(targets.start.number, skipped=True)
                self._check_stop()
                self.decoded += packet is not None
                try:
                    frames = codec.decode(packet)
                except FFmpegError as error:
                    state.fail()
                    self.note(f'a packet cannot be decoded ({reason_of(error)})')
                    continue
                for frame in frames:
                    number = state.expected if self._numbers is None else self._numbers.of(frame.pts)
                    if number is None or (state.awaits_key and number < state.expected):
                        continue
                    intact = state.judge(number, frame)
                    if not intact:
                        self.note('some frames are damaged')
                    complete(frame, colors)
                    # The container takes precedence over the codec.
                    aspect = stream.sample_aspect_ratio or codec.sample_aspect_ratio
                    yield number, frame if intact else None, aspect
                    targets.passed(number)


class _UnexpectedFrame(Exception):
    """Decoding from a key frame did not give the expected frame."""


class _State:
    """Position of a decoder, and whether its frames are intact.

    Args:
        expected: Number of the next frame.
        skipped: Whether packets before it were skipped.
        counting: Whether there are no time stamps, so that frames after a loss have no number.
    """

    def __init__(self, expected: int = 0, *, skipped: bool = False, counting: bool = False) -> None:
        self.expected = expected
        self.counting = counting
        self.skipped = skipped
        self.awaits_key = skipped
        self.damaged = False

    def fail(self) -> None:
        """Note that a packet could not be decoded."""
        if self.skipped:
            raise _UnexpectedFrame
        self.damaged = True

    def judge(self, number: int, frame: Any) -> bool:
        """Whether the next frame is intact."""
        lost = self.damaged or number != self.expected
        self.damaged = bool(frame.is_corrupt) or (lost and (self.counting or not frame.key_frame))
        if self.skipped and (self.damaged or lost or (self.awaits_key and not frame.key_frame)):
            raise _UnexpectedFrame
        self.awaits_key = False
        self.expected = number + 1
        return not self.damaged


class _Targets:
    """The wanted frames that are still to come.

    Args:
        wanted: Their numbers, ascending.
        entries: Where decoding may start.
    """

    def __init__(self, wanted: Sequence[int], entries: Entries) -> None:
        self._wanted = wanted
        self._entries = entries
        self._first = -1
        self.start = Entry(0, 0)
        """Where to start decoding for the next wanted frame."""
        self.passed(-1)

    def passed(self, number: int) -> None:
        """Note that a frame was decoded."""
        first = bisect_right(self._wanted, number)
        if first == self._first or first == len(self._wanted):
            return
        self._first = first
        before = int(np.searchsorted(self._entries.numbers, self._wanted[first], side='right'))
        if before:
            self.start = Entry(*(int(values[before - 1]) for values in self._entries))


def _filled(container: Any, stream: Any) -> Iterator[Any]:
    """Yield the packets that hold data, and None at the end, which flushes the decoder."""
    for packet in container.demux(stream):
        if packet.size:
            yield packet
    yield None
