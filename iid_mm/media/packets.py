# SPDX-License-Identifier: Apache-2.0
"""Properties of packets before they are decoded: time stamps, positions, and where decoding may start."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]
UNKNOWN = -(1 << 63)
"""A time stamp or position that a packet does not have."""

# Codecs whose flagged key frames do not depend on anything before them.
_RESETTING = {'vp8', 'vp9', 'av1', 'mpeg4', 'mjpeg', 'prores', 'ffv1'}
_START_CODE = b'\0\0\1'
# Most bytes between the data of two packets: Matroska, AVI and FLV need 6 to 24.
_LARGEST_HEADER = 64
_CHANGES = {'new_extradata', 'param_change'}
# Before the first slice of a frame; encoders write fewer than ten.
_MOST_UNITS = 64


class Entry(NamedTuple):
    """A packet at which decoding may start.

    Attributes:
        packet: Its place among the packets with data, in the order of the file.
        number: Its frame number. Frames that come later in the file but are shown earlier may depend on
            packets before this one.
    """

    packet: int
    number: int


class Entries(NamedTuple):
    """All packets at which decoding may start, ascending both by place and by number; see :class:`Entry`.

    Attributes:
        packets: Their places, (E,) int64.
        numbers: Their frame numbers, (E,) int64.
    """

    packets: IntArray
    numbers: IntArray


NO_ENTRIES = Entries(np.zeros(0, np.int64), np.zeros(0, np.int64))


def _integers() -> array[int]:
    # A long video has millions of packets: 8 bytes for each value, not an object.
    return array('q')


@dataclass
class Packets:
    """Packets of a video stream, in the order of the file; empty ones are not counted.

    Attributes:
        gapless: Whether the container fills the file with packets, so that a hole between two means a loss.
        total: Number of packets.
        every: Presentation time stamps; :data:`UNKNOWN` if a packet has none.
        stamps: Those of the packets that are shown.
        positions: Positions of their data in the file; :data:`UNKNOWN` if the container does not give them.
        start_packets: Places of the packets at which decoding may start.
        start_stamps: Their time stamps.
        hole: Number of shown packets before the first hole; None without one.
        restless: Whether the parameters of the codec change within the stream.
    """

    gapless: bool = False
    total: int = 0
    every: array[int] = field(default_factory=_integers)
    stamps: array[int] = field(default_factory=_integers)
    positions: array[int] = field(default_factory=_integers)
    start_packets: array[int] = field(default_factory=_integers)
    start_stamps: array[int] = field(default_factory=_integers)
    hole: int | None = None
    restless: bool = False
    _end: int | None = None

    def pass_over(self, packet: Any) -> None:
        """Record the position of an ``av.Packet`` of any stream."""
        if not self.gapless or packet.pos is None:
            return
        if self._end is not None and packet.pos - self._end > _LARGEST_HEADER and self.hole is None:
            self.hole = len(self.stamps)
        self._end = packet.pos + packet.size

    def add(self, packet: Any, codec: str, extradata: bytes) -> None:
        """Record an ``av.Packet`` of the stream."""
        place = self.total
        self.total += 1
        stamp = UNKNOWN if packet.pts is None else packet.pts
        self.every.append(stamp)
        # Packets that an edit list removes are decoded but not shown.
        if not packet.is_discard and is_shown(packet, codec):
            self.stamps.append(stamp)
            self.positions.append(UNKNOWN if packet.pos is None else packet.pos)
            if packet.is_keyframe and stamp != UNKNOWN and starts_anew(packet, codec, extradata):
                self.start_packets.append(place)
                self.start_stamps.append(stamp)
        for side in packet.iter_sidedata():
            self.restless = self.restless or side.data_type in _CHANGES

    def entries(self, stamps: IntArray, numbers: IntArray) -> Entries:
        """Where decoding may start.

        Args:
            stamps: Time stamps, ascending.
            numbers: Frame number of each.
        """
        if self.restless or not len(stamps):
            return NO_ENTRIES
        starts = np.array(self.start_stamps, np.int64)
        places = np.minimum(np.searchsorted(stamps, starts), len(stamps) - 1)
        known = stamps[places] == starts
        found = Entries(np.array(self.start_packets, np.int64)[known], numbers[places[known]])
        # If the two orders disagree, the stamps cannot be trusted.
        return found if np.all(np.diff(found.numbers) > 0) else NO_ENTRIES


def is_shown(packet: Any, codec: str) -> bool:
    """Whether a packet holds a frame that is shown, and not only a reference frame of VP8 or VP9.

    Args:
        packet: ``av.Packet`` with data.
        codec: Name of the codec.
    """
    if codec == 'vp8':
        return bool(memoryview(packet)[0] & 0x10)
    if codec == 'vp9':
        data = memoryview(packet)
        # Several frames in one packet, of which the last is shown.
        if data[-1] & 0xE0 == 0xC0:
            return True
        # From the top: 2 bits marker, 2 bits profile (and 1 more for profile 3), show_existing_frame,
        # frame_type, show_frame.
        bits = data[0] << 1 if data[0] & 0x30 == 0x30 else data[0]
        return bool(bits & 0x08) or bool(bits & 0x02)
    return True


def starts_anew(packet: Any, codec: str, extradata: bytes) -> bool:
    """Whether decoding from a key frame gives the same frames as decoding from the first packet.

    Containers also flag recovery points of H.264, after which references to earlier frames are allowed. False
    for unknown codecs.

    Args:
        packet: ``av.Packet`` that is flagged as key frame.
        codec: Name of the codec.
        extradata: Its header in the container.
    """
    if codec in ('h264', 'hevc'):
        kind = _first_slice_type(bytes(packet), codec, extradata)
        # IDR frames; for HEVC all intra random access points.
        return kind == 5 if codec == 'h264' else 16 <= kind <= 21
    return codec in _RESETTING


def _first_slice_type(data: bytes, codec: str, extradata: bytes) -> int:
    """NAL unit type of the first slice of a packet; -1 if there is none near its start."""
    length_size = _length_size(codec, extradata)
    position = 0
    for _ in range(_MOST_UNITS):
        if length_size:
            start = position + length_size
            position = start + int.from_bytes(data[position:start], 'big')
        else:
            position = data.find(_START_CODE, position)
            start = position = position + 3 if position >= 0 else len(data)
        if start >= len(data):
            return -1
        kind = data[start] & 31 if codec == 'h264' else data[start] >> 1 & 63
        if 1 <= kind <= 5 if codec == 'h264' else kind < 32:
            return kind
    return -1


def _length_size(codec: str, extradata: bytes) -> int:
    """Bytes before each NAL unit that hold its length; 0 if start codes separate the units."""
    if codec == 'h264' and len(extradata) > 4 and extradata[0] == 1:
        return (extradata[4] & 3) + 1
    if codec == 'hevc' and len(extradata) > 21 and (extradata[0] or extradata[1] or extradata[2] > 1):
        return (extradata[21] & 3) + 1
    return 0
