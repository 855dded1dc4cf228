# SPDX-License-Identifier: Apache-2.0
"""Frame numbers of packets, also if some packets are lost.

In an intact file frame n has the n-th smallest time stamp. If packets are missing, all later frames would
get wrong numbers. Then the numbers come from the file's index or from a constant frame rate; without
either, the frames after the loss have no number and are left out.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

import numpy as np

from iid_mm.media.packets import UNKNOWN, IntArray, Packets

# Most frames that can change places between decoding and display.
_REORDER_LIMIT = 17
_NONE = np.zeros(0, np.int64)


@dataclass
class Numbering:
    """Numbers of the frames of a video.

    Attributes:
        stamps: Time stamps of the frames that have a number, ascending; None if there are no usable time
            stamps and frames have to be counted as they are decoded.
        numbers: Frame number of each of these.
        count: Number of frames, including lost ones that have a number; without time stamps the maximum.
        times: When each of ``count`` frames is shown, ticks; only as many as are known.
        problem: What is wrong; empty if nothing is.
    """

    stamps: IntArray | None
    numbers: IntArray
    count: int
    times: IntArray
    problem: str = ''

    def of(self, stamp: int | None) -> int | None:
        """Number of the frame with a time stamp; None if it has none."""
        if stamp is None or self.stamps is None:
            return None
        place = int(np.searchsorted(self.stamps, stamp))
        if place == len(self.stamps) or self.stamps[place] != stamp:
            return None
        return int(self.numbers[place])


def number_frames(
    packets: Packets, *, reorders: int, step: float, promised: int, duration: float, index: IntArray
) -> Numbering:
    """Number the frames of a video.

    Args:
        packets: Its packets.
        reorders: Number of frames that the decoder delays.
        step: Ticks between two frames according to the header; 0 if unknown.
        promised: Number of packets according to the header; 0 if unknown.
        duration: Length of the video according to the header, ticks; 0 if unknown.
        index: Position in the file of each packet according to the file's index; may be empty.

    Returns:
        The numbers.
    """
    lossy = packets.hole is not None if not promised else packets.total < promised
    stamps: IntArray = np.array(packets.stamps, np.int64)
    order: IntArray = np.unique(stamps[stamps != UNKNOWN])
    # Some AVI files have no time stamps, or number the packets although the codec reorders them.
    in_order = len(order) > 1 and reorders > 0 and np.array_equal(order, stamps)
    if len(order) != len(stamps) or in_order:
        return _count_only(packets, lossy, reorders, index)
    numbers: IntArray = np.arange(len(order))
    disorder = _first_disorder(np.array(packets.every, np.int64))
    problem = '' if disorder is None else 'its time stamps are damaged'
    limit = sys.maxsize if disorder is None else disorder
    if lossy:
        places = _places(packets, index)
        exact = None
        if len(places) and not reorders:
            order, first = np.unique(stamps[places >= 0], return_index=True)
            exact = places[places >= 0][first]
        elif not len(places):
            exact = _on_a_grid(order, step)
        if exact is not None:
            numbers = exact
        elif len(places) or _pauses_at(packets.hole, stamps, order):
            limit = min(limit, _intact_until(packets, places) - reorders)
            problem = 'packets are lost on the way, frames after them have no number'
    length = float(order[-1]) - float(order[0]) if len(order) else 0.0
    ends_early = bool(duration and len(order)) and length + 1.5 * step < duration
    if reorders and (lossy or (ends_early and not promised)):
        limit = min(limit, _intact_until_pause(order, numbers, reorders))
    if len(numbers) and limit <= numbers[-1] and not problem:
        problem = 'it may be cut off, some of its last frames have no number'
    order, numbers = order[numbers < limit], numbers[numbers < limit]
    count = int(numbers.max(initial=-1)) + 1
    # Lost frames lie between their neighbors.
    times = np.interp(np.arange(count), numbers, order).astype(np.int64) if count else _NONE
    return Numbering(order, numbers, count, times, problem)


def _count_only(packets: Packets, lossy: bool, reorders: int, index: IntArray) -> Numbering:
    places = _places(packets, index) if lossy else _NONE
    # Stamps that occur twice, or number the packets, are still the times of the n-th frame.
    times = np.sort(np.array(packets.stamps, np.int64))
    if UNKNOWN in times:
        times = _NONE
    if lossy and (packets.hole is not None or len(places)):
        limit = max(0, _intact_until(packets, places) - reorders)
        problem = 'packets are lost on the way, frames after them have no number'
        return Numbering(None, _NONE, limit, times[:limit], problem)
    return Numbering(None, _NONE, len(packets.stamps), times)


def _places(packets: Packets, index: IntArray) -> IntArray:
    """Place of each packet in the index of the file, -1 if it is not there; empty without index."""
    if not len(index):
        return _NONE
    known, first = np.unique(index[::-1], return_index=True)
    positions = np.array(packets.positions, np.int64)
    found = np.minimum(np.searchsorted(known, positions), len(known) - 1)
    # Of equal positions the last one counts.
    places = np.where(known[found] == positions, len(index) - 1 - first[found], -1)
    inside = places[places >= 0]
    return places if len(inside) and len(np.unique(inside)) == len(inside) else _NONE


def _intact_until(packets: Packets, places: IntArray) -> int:
    """Number of packets before the first loss."""
    shifted = np.flatnonzero(places != np.arange(len(places)))
    if len(shifted):
        return int(shifted[0])
    return len(packets.stamps) if packets.hole is None else packets.hole


def _pauses_at(hole: int | None, stamps: IntArray, order: IntArray) -> bool:
    """Whether time is missing where bytes are; Matroska may also hold other things than packets."""
    if not hole or hole >= len(stamps):
        return hole is not None
    before = int(np.searchsorted(order, stamps[:hole].max(), side='right'))
    if before == len(order):
        return True
    return bool(order[before] - order[before - 1] > 1.5 * np.median(np.diff(order)))


def _first_disorder(stamps: IntArray) -> int | None:
    """The first frame number that a wrong time stamp may have shifted; None if there is none."""
    known = stamps[stamps != UNKNOWN]
    places = np.arange(len(known))
    ranks = np.empty_like(places)
    ranks[np.argsort(known, kind='stable')] = places
    wrong = np.abs(ranks - places) > _REORDER_LIMIT
    if not wrong.any():
        return None
    return max(0, int(np.minimum(ranks, places)[wrong].min()) - _REORDER_LIMIT)


def _on_a_grid(order: IntArray, step: float) -> IntArray | None:
    """Frame numbers of time stamps of a constant frame rate; None if they do not match one."""
    if step <= 0 or len(order) < 2:
        return None
    exact = (order - order[0]) / step
    numbers = np.rint(exact).astype(np.int64)
    steps = np.diff(numbers)
    if np.abs(exact - numbers).max() > 0.3 or steps.min() < 1 or np.mean(steps == 1) < 0.8:
        return None
    return numbers


def _intact_until_pause(order: IntArray, numbers: IntArray, reorders: int) -> int:
    """The first number after a pause near the end of a file that may be cut off.

    A reference frame is stored before the frames that are shown ahead of it; those are missing if the file
    ends between them. At most ``reorders`` frames are shown after the first missing one. A pause that is
    longer than all that may be missing belongs to a variable frame rate.
    """
    if len(order) < 3:
        return int(numbers[-1]) + 1 if len(order) else 0
    gaps = np.diff(order)
    tail = max(0, len(gaps) - reorders)
    usual = np.median(gaps)
    pauses = np.flatnonzero((gaps[tail:] > 1.5 * usual) & (gaps[tail:] <= (_REORDER_LIMIT + 1) * usual))
    return int(numbers[tail + int(pauses[0]) if pauses.size else -1]) + 1
