# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import tracemalloc
from types import SimpleNamespace

import numpy as np
import pytest

from iid_mm.media.numbering import number_frames
from iid_mm.media.packets import Packets, is_shown, starts_anew


class FakePacket(bytes):
    """Bytes with the attributes of a packet."""

    def __new__(cls, data=b'x', **values):
        packet = super().__new__(cls, data)
        packet.__dict__.update(
            {'pts': 0, 'pos': 0, 'size': len(data), 'is_keyframe': False, 'is_discard': False, **values}
        )
        return packet

    def iter_sidedata(self):
        return (SimpleNamespace(data_type=kind) for kind in self.__dict__.get('side', ()))


def packets(stamps, *, places=None, gapless=True, **values):
    """Packets of 100 bytes with 8 bytes before each; ``places`` leaves out some of them."""
    found = Packets(gapless=gapless)
    for number, stamp in enumerate(stamps):
        place = number if places is None else places[number]
        packet = FakePacket(bytes(100), pts=stamp, pos=int(1000 + 108 * place), **values)
        found.pass_over(packet)
        found.add(packet, 'mpeg4', b'')
    return found


def number(found, **values):
    defaults = {'reorders': 0, 'step': 10.0, 'promised': 0, 'duration': 0.0, 'index': ()}
    values = {**defaults, **values}
    return number_frames(found, **{**values, 'index': np.array(values['index'], np.int64)})


def numbers(result):
    """Frame number of each time stamp."""
    if result.stamps is None:
        return None
    assert result.of(None) is result.of(-7) is None
    assert [result.of(stamp) for stamp in result.stamps] == result.numbers.tolist()
    return dict(zip(result.stamps.tolist(), result.numbers.tolist(), strict=True))


def test_numbers_follow_the_time_stamps():
    result = number(packets([0, 30, 10, 20]), reorders=2)
    assert numbers(result) == {0: 0, 10: 1, 20: 2, 30: 3}
    assert (result.count, result.problem) == (4, '')


def test_uneven_stamps_without_a_hole_are_a_variable_frame_rate():
    result = number(packets([0, 10, 50, 51]))
    assert numbers(result) == {0: 0, 10: 1, 50: 2, 51: 3}


@pytest.mark.parametrize('stamps', [[None, 10, 20], [0, 10, 10], [None, None, None]])
def test_unusable_stamps_are_counted(stamps):
    result = number(packets(stamps))
    assert (numbers(result), result.count) == (None, 3)


def test_stamps_in_the_order_of_the_file_are_not_those_of_a_codec_that_reorders():
    assert number(packets([0, 10, 20]), reorders=1).stamps is None
    assert numbers(number(packets([0, 10, 20]), reorders=0)) == {0: 0, 10: 1, 20: 2}


def test_a_hole_with_a_constant_rate_keeps_the_numbers():
    stamps = [0, 10, 20, 50, 60, 70, 80, 90]
    result = number(packets(stamps, places=[0, 1, 2, 5, 6, 7, 8, 9]))
    assert numbers(result) == {stamp: stamp // 10 for stamp in stamps}
    assert result.count == 10


def test_a_hole_with_a_variable_rate_ends_the_numbers():
    stamps = [0, 10, 25, 50, 67, 71, 88, 90]
    result = number(packets(stamps, places=[0, 1, 2, 5, 6, 7, 8, 9]))
    assert numbers(result) == {0: 0, 10: 1, 25: 2}
    assert 'packets are lost' in result.problem
    # The last frames before the hole may have lost some that are shown ahead of them.
    result = number(packets(stamps, places=[0, 1, 2, 5, 6, 7, 8, 9]), reorders=1, step=0.0, promised=9)
    assert result.stamps is None
    assert result.count == 2


def test_a_hole_without_a_pause_is_something_else_in_the_file():
    stamps = [0, 10, 25, 30, 47, 51, 68, 70]
    result = number(packets(stamps, places=[0, 1, 2, 5, 6, 7, 8, 9]))
    assert numbers(result) == {stamp: number for number, stamp in enumerate(stamps)}
    assert result.problem == ''


def test_an_index_gives_the_numbers():
    index = [1000 + 108 * place for place in range(6)]
    found = packets([0, 1, 2, 3], places=[0, 1, 4, 5])
    result = number(found, promised=6, index=index)
    assert numbers(result) == {0: 0, 1: 1, 2: 4, 3: 5}
    assert result.count == 6
    # A packet that the index does not know has no number.
    found = packets([0, 1, 2, 3], places=[0, 1, 4.5, 5])
    assert numbers(number(found, promised=6, index=index)) == {0: 0, 1: 1, 3: 5}


def test_a_wrong_stamp_far_away_ends_the_numbers():
    stamps = [*range(0, 300, 10), 5000, *range(310, 600, 10)]
    result = number(packets(stamps))
    assert result.problem == 'its time stamps are damaged'
    # Frame 30 has the wrong stamp; up to 17 frames before it might.
    assert numbers(result) == {10 * n: n for n in range(13)}


def test_end_of_a_file_that_is_cut_between_reordered_frames():
    # 60 is stored ahead of 40 and 50, of which 50 is missing.
    found = packets([0, 30, 10, 20, 60, 40])
    assert number(found, reorders=2, duration=60.0).count == 6
    result = number(found, reorders=2, duration=120.0)
    assert numbers(result) == {0: 0, 10: 1, 20: 2, 30: 3, 40: 4}


def entries(found, numbers):
    stamps = np.array(sorted(numbers), np.int64)
    packets, firsts = found.entries(stamps, np.array([numbers[stamp] for stamp in stamps], np.int64))
    return list(zip(packets.tolist(), firsts.tolist(), strict=True))


def test_entries():
    found = Packets()
    for place, (stamp, key) in enumerate([(0, True), (20, False), (10, False), (30, True), (40, False)]):
        found.add(FakePacket(pts=stamp, is_keyframe=key, pos=place), 'mpeg4', b'')
    numbers = {0: 0, 10: 1, 20: 2, 30: 3, 40: 4}
    assert entries(found, numbers) == [(0, 0), (3, 3)]
    # Without a number for the second one.
    assert entries(found, {0: 0, 10: 1}) == [(0, 0)]
    assert entries(found, {}) == []
    found.add(FakePacket(pts=5, is_keyframe=True), 'mpeg4', b'')
    assert entries(found, {**numbers, 5: 1}) == []
    found = Packets()
    found.add(FakePacket(is_keyframe=True, side=('new_extradata',)), 'mpeg4', b'')
    assert entries(found, {0: 0}) == []


def test_times():
    assert number(packets([0, 30, 10, 20]), reorders=2).times.tolist() == [0, 10, 20, 30]
    # Lost frames lie between their neighbors.
    stamps = [0, 10, 20, 50, 60, 70, 80, 90]
    result = number(packets(stamps, places=[0, 1, 2, 5, 6, 7, 8, 9]))
    assert result.times.tolist() == list(range(0, 100, 10))
    # Frames that have to be counted are shown at the stamps all the same, if there are any.
    assert number(packets([0, 10, 10])).times.tolist() == [0, 10, 10]
    assert number(packets([0, 10, 20]), reorders=1).times.tolist() == [0, 10, 20]
    assert number(packets([None, 10, 20])).times.tolist() == []


def test_many_packets_are_kept_in_a_few_bytes():
    found = Packets()
    packet = FakePacket(pts=1 << 40, pos=1 << 40, is_keyframe=True)
    tracemalloc.start()
    for _ in range(20_000):
        found.add(packet, 'mpeg4', b'')
    size = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    # Five numbers of 8 bytes, and what arrays keep free to grow.
    assert size < 20_000 * 60


def test_a_packet_of_many_small_units_is_not_searched_for_ever():
    unit = b'\0\0\0\1\x06'
    assert starts_anew(FakePacket(unit * 10 + b'\0\0\0\1\x65'), 'h264', AVCC)
    assert not starts_anew(FakePacket(unit * 100_000 + b'\0\0\0\1\x65'), 'h264', AVCC)


AVCC = bytes([1, 100, 0, 30, 0xFF])


@pytest.mark.parametrize(
    ('codec', 'extradata', 'data', 'expected'),
    [
        ('h264', b'', b'\0\0\0\1\x09\x10\0\0\1\x65abc', True),  # delimiter, then IDR
        ('h264', b'', b'\0\0\0\1\x06ab\0\0\1\x41abc', False),  # recovery point, then a slice
        ('h264', AVCC, b'\0\0\0\2\x06a\0\0\0\3\x65ab', True),
        ('h264', AVCC, b'\0\0\0\2\x06a\0\0\0\3\x61ab', False),
        ('h264', AVCC, b'\0\0\0\2\x06a', False),
        ('h264', AVCC, b'\xff\xff\xff\xff\x65', True),
        ('h264', b'', b'', False),
        ('hevc', b'', b'\0\0\1\x26\x01abc', True),  # 19: IDR
        ('hevc', b'', b'\0\0\1\x40\x01a\0\0\1\x2a\x01abc', True),  # parameters, then 21: CRA
        ('hevc', b'', b'\0\0\1\x02\x01abc', False),  # 1: trailing frame
        ('mpeg4', b'', b'abc', True),
        ('wmv2', b'', b'abc', False),
    ],
)
def test_starts_anew(codec, extradata, data, expected):
    assert starts_anew(FakePacket(data), codec, extradata) is expected


@pytest.mark.parametrize(
    ('codec', 'data', 'expected'),
    [
        ('vp8', b'\x10\0\0', True),
        ('vp8', b'\x00\0\0', False),
        ('vp9', b'\x82\x49\x83\x00', True),  # key frame that is shown
        ('vp9', b'\x84\x00', False),  # inter frame that is not
        ('vp9', b'\x88\x00', True),  # shows an existing frame
        ('vp9', b'\x84\x00\xc1', True),  # several in one packet
        ('vp9', b'\xb1\x00', True),  # profile 3
        ('h264', b'\x00', True),
    ],
)
def test_is_shown(codec, data, expected):
    assert is_shown(FakePacket(data), codec) is expected
    assert is_shown(SimpleNamespace(), 'mpeg4') is True
