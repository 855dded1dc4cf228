# SPDX-License-Identifier: Apache-2.0
"""Which packet holds which frame, also where some packets are lost.

In a sound file frame n has the n-th smallest time stamp. With packets missing that would put all later
frames under wrong numbers. Then the numbers come from the file's index or from a constant frame rate;
where neither helps, the frames after the loss have no number and are left out.
"""

from __future__ import annotations

import sys
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from iid_mm.preparation.packets import Packets

# More pictures than this cannot change places between decoding and display.
_REORDER_LIMIT = 17


@dataclass
class Numbering:
    """Numbers of the frames of a video.

    Attributes:
        numbers: Frame number of each time stamp; None if there are no usable time stamps and frames
            have to be counted as they come out of the decoder.
        count: Frames, lost ones that have a number included; without time stamps the most there may be.
        problem: What is wrong, empty if nothing.
    """

    numbers: dict[int, int] | None
    count: int
    problem: str = ''


def number_frames(
    packets: Packets,
    *,
    reorders: int,
    step: float,
    promised: int,
    duration: float,
    index: Sequence[int],
) -> Numbering:
    """Number the frames of a video.

    Args:
        packets: Its packets.
        reorders: How many frames the decoder holds back.
        step: Ticks of the time stamps between two frames according to the header; 0 if unknown.
        promised: Number of packets according to the header; 0 if unknown.
        duration: Length of the video according to the header, ticks; 0 if unknown.
        index: Position in the file of each packet according to the file's index; may be empty.

    Returns:
        The numbers.
    """
    lossy = packets.hole is not None if not promised else packets.total < promised
    stamps = [stamp for stamp in packets.stamps if stamp is not None]
    order = sorted(set(stamps))
    # Some AVI files have no time stamps, or number the packets although the codec reorders them.
    in_order = order == stamps and len(order) > 1 and reorders > 0
    if len(order) != len(packets.stamps) or in_order:
        return _count_only(packets, lossy, reorders, index)
    numbers = {stamp: number for number, stamp in enumerate(order)}
    disorder = _first_disorder(packets.every)
    problem = '' if disorder is None else 'its time stamps are damaged'
    limit = sys.maxsize if disorder is None else disorder
    if lossy:
        places = _places(packets, index)
        exact = None
        if places and not reorders:
            exact = {stamp: place for stamp, place in zip(stamps, places, strict=True) if place >= 0}
        elif not places:
            exact = _on_a_grid(order, step)
        if exact is not None:
            numbers = exact
        elif places or _pauses_at(packets.hole, stamps, order):
            limit = min(limit, _sound_until(packets, places) - reorders)
            problem = 'packets are lost on the way, frames after them have no number'
    ends_early = bool(duration and order) and order[-1] - order[0] + 1.5 * step < duration
    if reorders and (lossy or (ends_early and not promised)):
        limit = min(limit, _sound_tail(order, numbers))
    numbers = {stamp: number for stamp, number in numbers.items() if number < limit}
    return Numbering(numbers, max(numbers.values(), default=-1) + 1, problem)


def _count_only(packets: Packets, lossy: bool, reorders: int, index: Sequence[int]) -> Numbering:
    places = _places(packets, index) if lossy else []
    if lossy and (packets.hole is not None or places):
        limit = max(0, _sound_until(packets, places) - reorders)
        return Numbering(None, limit, 'packets are lost on the way, frames after them have no number')
    return Numbering(None, len(packets.stamps))


def _places(packets: Packets, index: Sequence[int]) -> list[int]:
    """Number of each packet in the index of the file, -1 where it is not there; empty without index."""
    known = {position: place for place, position in enumerate(index)}
    places = [known.get(-1 if position is None else position, -1) for position in packets.positions]
    found = [place for place in places if place >= 0]
    return places if found and len(set(found)) == len(found) else []


def _sound_until(packets: Packets, places: Sequence[int]) -> int:
    """How many packets come before the first loss."""
    shifted = [number for number, place in enumerate(places) if number != place]
    if shifted:
        return shifted[0]
    return len(packets.stamps) if packets.hole is None else packets.hole


def _pauses_at(hole: int | None, stamps: Sequence[int], order: Sequence[int]) -> bool:
    """Whether time is missing where bytes are; Matroska may hold other things than packets, too."""
    if not hole or hole >= len(stamps):
        return hole is not None
    before = bisect_right(order, max(stamps[:hole]))
    if before == len(order):
        return True
    return bool(order[before] - order[before - 1] > 1.5 * np.median(np.diff(np.asarray(order, np.int64))))


def _first_disorder(stamps: Sequence[int | None]) -> int | None:
    """The first frame number that a wrong time stamp may have shifted; None if there is none."""
    known = np.array([stamp for stamp in stamps if stamp is not None], np.int64)
    places = np.arange(len(known))
    ranks = np.empty_like(places)
    ranks[np.argsort(known, kind='stable')] = places
    wrong = np.abs(ranks - places) > _REORDER_LIMIT
    if not wrong.any():
        return None
    return max(0, int(np.minimum(ranks, places)[wrong].min()) - _REORDER_LIMIT)


def _on_a_grid(order: Sequence[int], step: float) -> dict[int, int] | None:
    """Numbers of time stamps of a constant frame rate; None if they do not fit."""
    if step <= 0 or len(order) < 2:
        return None
    exact = (np.asarray(order, np.float64) - order[0]) / step
    numbers = np.rint(exact).astype(np.int64)
    steps = np.diff(numbers)
    if np.abs(exact - numbers).max() > 0.3 or steps.min() < 1 or np.mean(steps == 1) < 0.8:
        return None
    return {stamp: int(number) for stamp, number in zip(order, numbers, strict=True)}


def _sound_tail(order: Sequence[int], numbers: dict[int, int]) -> int:
    """The first number after a pause near the end of a file that may be cut off.

    A frame that others refer to is stored before the ones shown ahead of it; those are missing if the
    file ends between them.
    """
    if len(order) < 3:
        return numbers[order[-1]] + 1 if order else 0
    gaps = np.diff(np.asarray(order, np.int64))
    tail = max(0, len(gaps) - _REORDER_LIMIT)
    pauses = np.flatnonzero(gaps[tail:] > 1.5 * np.median(gaps))
    last = order[tail + int(pauses[0])] if pauses.size else order[-1]
    return numbers[last] + 1
