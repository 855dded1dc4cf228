# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import struct
from fractions import Fraction

import av
import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from iid_mm.media.packets import Entries
from iid_mm.media.video_reader import VideoReader
from iid_mm.utils.sampling import evenly_spaced
from support.encoded_videos import add_stream, corner_pattern, read_frames, write_pattern


def read_all(path, numbers):
    reader = VideoReader(path)
    return reader, dict(reader.read(numbers))


@pytest.mark.parametrize(
    ('name', 'codec', 'options'),
    [
        ('a.mp4', 'libx264', {}),
        ('short_gop.mov', 'libx264', {'bf': '3', 'g': '6'}),
        ('a.mkv', 'libx264', {}),
        ('no_stamps.avi', 'libx264', {}),
        ('a.avi', 'mpeg4', {}),
    ],
)
def test_exact_frames_in_every_container(tmp_path, write_gray_video, name, codec, options):
    write_gray_video(tmp_path / name, 20, codec=codec, options=options)
    reader, images = read_all(tmp_path / name, [13, 0, 7, 19, 25])
    assert reader.count == 20
    assert reader.problem == ''
    assert list(images) == [0, 7, 13, 19]
    for number, image in images.items():
        assert image.shape == (48, 64, 3)
        assert image.dtype == np.uint8
        assert abs(image.mean() - (20 + 8 * number)) < 4  # half a step


def test_frames_agree_with_a_plain_decode(tmp_path, write_gray_video):
    write_gray_video(tmp_path / 'a.mp4', 9)
    with av.open(str(tmp_path / 'a.mp4')) as container:
        oracle = [frame.to_ndarray(format='bgr24') for frame in container.decode(video=0)]
    _, images = read_all(tmp_path / 'a.mp4', range(9))
    assert len(images) == 9
    for number, image in images.items():
        np.testing.assert_array_equal(image, oracle[number])


def noisy_video(path, count, fmt='mp4', **options):
    # Noise looks like scene cuts, which would make every frame a key frame.
    options_of_codec = {'bf': '0', 'g': '10', 'sc_threshold': '0'}
    rng = np.random.default_rng(0)
    with av.open(str(path), 'w', format=fmt, options=options) as container:
        stream = container.add_stream('libx264', rate=25, options=options_of_codec)
        stream.width, stream.height, stream.pix_fmt = 64, 48, 'yuv420p'
        for _ in range(count):
            image = rng.integers(0, 255, (48, 64, 3), dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format='bgr24')))
        container.mux(stream.encode())


def test_truncated_video_gives_what_it_has(tmp_path):
    noisy_video(tmp_path / 'whole.mp4', 40, movflags='faststart')
    data = (tmp_path / 'whole.mp4').read_bytes()
    (tmp_path / 'cut.mp4').write_bytes(data[: len(data) * 6 // 10])
    _, whole = read_all(tmp_path / 'whole.mp4', range(40))
    reader, images = read_all(tmp_path / 'cut.mp4', range(40))
    assert 15 < reader.count < 30
    assert 'the header promises 40 frames' in reader.problem
    assert len(images) >= reader.count - 1
    for number, image in images.items():
        np.testing.assert_array_equal(image, whole[number])


@pytest.mark.parametrize('share', [0.5, 0.8, 0.97])
@pytest.mark.parametrize('name', ['a.gif', 'a.png', 'a.mkv', 'a.webm', 'a.ts'])
def test_a_file_that_is_cut_off_says_so(tmp_path, write_gray_video, name, share):
    path = tmp_path / name
    if name in ('a.gif', 'a.png'):
        images = [Image.fromarray(image) for image in moving_scene(10)]
        images[0].save(path, save_all=True, append_images=images[1:], duration=100)
    else:
        write_gray_video(path, 30, codec='libvpx-vp9' if name == 'a.webm' else 'libx264')
    assert VideoReader(path).problem == ''
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    assert 'the file ends early' in VideoReader(path).problem


def test_damage_costs_frames_but_does_not_shift_or_falsify_others(tmp_path):
    noisy_video(tmp_path / 'whole.mp4', 40)
    _, whole = read_all(tmp_path / 'whole.mp4', range(40))
    with av.open(str(tmp_path / 'whole.mp4')) as container:
        positions = [(p.pos, p.size) for p in container.demux(video=0) if p.size]
    data = bytearray((tmp_path / 'whole.mp4').read_bytes())
    start, size = positions[13]
    data[start : start + size] = bytes(size)
    (tmp_path / 'bad.mp4').write_bytes(bytes(data))
    reader, images = read_all(tmp_path / 'bad.mp4', range(40))
    assert reader.count == 40
    assert 'cannot be decoded' in reader.problem
    # Key frames every 10: the damage at 13 spoils up to 19 and nothing else.
    assert list(images) == [*range(13), *range(20, 40)]
    for number, image in images.items():
        np.testing.assert_array_equal(image, whole[number])


@pytest.mark.parametrize('data', [b'', b'not a video at all' * 50])
def test_useless_files_are_a_reason_not_a_crash(tmp_path, data):
    (tmp_path / 'x.mp4').write_bytes(data)
    reader, images = read_all(tmp_path / 'x.mp4', [0, 1])
    assert (reader.count, images) == (0, {})
    assert 'cannot be read' in reader.problem
    assert ('the file is empty' in reader.problem) is (not data)


def test_missing_file(tmp_path):
    assert 'No such file' in VideoReader(tmp_path / 'none.mp4').problem


def test_file_without_video_stream(tmp_path):
    with av.open(str(tmp_path / 'sound.mp4'), 'w') as container:
        stream = container.add_stream('aac', rate=16000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format='fltp', layout='mono')
        sound.sample_rate = 16000
        container.mux(stream.encode(sound))
        container.mux(stream.encode())
    reader = VideoReader(tmp_path / 'sound.mp4')
    assert (reader.count, reader.problem) == (0, 'has no video stream')


NOISY_SIZE = (96, 64)


def moving_scene(count):
    """Frames of a camera that moves over a noisy image, all different."""
    rng = np.random.default_rng(0)
    scene = cv2.resize(rng.uniform(30, 220, (10, 60, 3)).astype(np.float32), (700, 64))
    for number in range(count):
        image = scene[:, 5 * number : 5 * number + 96] + rng.normal(0, 4, (64, 96, 1))
        yield np.clip(image, 0, 255).astype(np.uint8)


def write_clip(path, count=48, codec='libx264', options=None, *, stamps=None, mux=None):
    with av.open(str(path), 'w', options=mux or {}) as container:
        stream = container.add_stream(codec, rate=25, options=options or {})
        stream.width, stream.height = NOISY_SIZE
        stream.pix_fmt = 'yuvj420p' if codec == 'mjpeg' else 'yuv420p'
        stream.bit_rate = 400_000
        for number, image in enumerate(moving_scene(count)):
            frame = av.VideoFrame.from_ndarray(image, format='bgr24')
            if stamps is not None:
                frame.pts, frame.time_base = stamps[number], Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def decode_all(path):
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = 'NONE'
        return [frame.to_ndarray(format='bgr24') for frame in container.decode(stream)]


def h264(gop, b_frames=0, **more):
    return {'g': str(gop), 'bf': str(b_frames), 'sc_threshold': '0', 'preset': 'veryfast', **more}


CLOSED = {'x265-params': 'log-level=none:keyint=8:min-keyint=8:open-gop=0', 'preset': 'ultrafast'}

OPEN = {'x265-params': 'log-level=none:keyint=8:min-keyint=8:open-gop=1:bframes=3', 'preset': 'ultrafast'}

ALT_REF = {'g': '9', 'auto-alt-ref': '1', 'lag-in-frames': '12', 'deadline': 'good', 'cpu-used': '5'}

# File, codec, options, and whether single frames near the end take few decoded packets.
CLIPS = [
    ('closed.mp4', 'libx264', h264(6), True),
    ('b_frames.mp4', 'libx264', h264(12, 3), True),
    ('pyramid.mov', 'libx264', h264(16, 4, **{'b-pyramid': 'normal', 'refs': '4'}), True),
    ('open.mp4', 'libx264', h264(12, 3, **{'x264-params': 'open-gop=1'}), False),
    ('intra_refresh.mp4', 'libx264', h264(10, 0, **{'x264-params': 'intra-refresh=1'}), False),
    ('lossless.mp4', 'libx264', h264(8, 2, qp='0'), True),
    ('b_frames.mkv', 'libx264', h264(12, 3), True),
    ('no_b.avi', 'libx264', h264(12), True),
    ('no_stamps.avi', 'libx264', h264(12, 3), False),
    ('closed.flv', 'libx264', h264(12, 2), True),
    ('start_codes.ts', 'libx264', h264(12, 2), True),
    ('one_gop.mp4', 'libx264', h264(250, 3), False),
    ('closed_hevc.mp4', 'libx265', CLOSED, True),
    ('open_hevc.mkv', 'libx265', OPEN, True),
    ('plain.avi', 'mpeg4', {'g': '8'}, True),
    ('b_frames_4.mp4', 'mpeg4', {'g': '12', 'bf': '2'}, True),
    ('alt_ref.webm', 'libvpx', ALT_REF, True),
    ('alt_ref_9.webm', 'libvpx-vp9', ALT_REF, True),
    ('sparse_cues.webm', 'libvpx', {**ALT_REF, 'mux': 'no'}, True),
    ('intra.avi', 'mjpeg', {}, True),
    ('mpeg2.mpg', 'mpeg2video', {'g': '8', 'bf': '2'}, False),
    ('old.flv', 'flv', {'g': '8'}, False),
]


@pytest.fixture(scope='session', params=CLIPS, ids=lambda clip: clip[0])
def clip(request, tmp_path_factory):
    """Path of a clip of 48 frames, its frames, and whether seeking is expected."""
    name, codec, options, seeks = request.param
    options = dict(options)
    # Without a length the writer cannot go back to add the index.
    mux = {'live': '1'} if options.pop('mux', None) else None
    path = write_clip(tmp_path_factory.mktemp('clips') / name, 48, codec, options, mux=mux)
    return path, decode_all(path), seeks


def test_chosen_frames_are_those_of_sequential_decoding(clip):
    path, oracle, seeks = clip
    assert len(oracle) == 48
    rng = np.random.default_rng(1)
    reader = VideoReader(path)
    assert reader.numbers == range(48)
    choices = [range(48), [47], [0], [20, 21, 22], *(rng.choice(48, 5, replace=False) for _ in range(6))]
    for choice in choices:
        images = dict(reader.read(choice))
        assert list(images) == sorted(choice)
        for number, image in images.items():
            np.testing.assert_array_equal(image, oracle[number])
    assert reader.problem == ''
    before = reader.decoded
    assert list(dict(reader.read([44]))) == [44]
    assert reader.decoded - before <= (22 if seeks else 48)


@pytest.mark.parametrize('clip', [c for c in CLIPS if c[3] and 'intra' not in c[0]][::3], indirect=True)
def test_false_key_frames_are_noticed(clip):
    path, oracle, _ = clip
    reader = VideoReader(path)
    # Claims that decoding may start anywhere.
    reader._entries = Entries(np.arange(48), np.arange(48))
    images = dict(reader.read([3, 21, 22, 40]))
    assert list(images) == [3, 21, 22, 40]
    for number, image in images.items():
        np.testing.assert_array_equal(image, oracle[number])
    assert reader.problem == ''


@given(numbers=st.sets(st.integers(-3, 60)))
@settings(max_examples=40, deadline=None)
def test_any_choice(shared_clip, numbers):
    path, oracle = shared_clip
    images = dict(VideoReader(path).read(list(numbers)))
    assert list(images) == sorted(n for n in numbers if 0 <= n < 48)
    for number, image in images.items():
        np.testing.assert_array_equal(image, oracle[number])


@pytest.fixture(scope='session')
def shared_clip(tmp_path_factory):
    path = write_clip(tmp_path_factory.mktemp('clip') / 'a.mp4', options=h264(10, 2))
    return path, decode_all(path)


def test_long_videos_are_not_decoded_whole(tmp_path, write_gray_video):
    path = tmp_path / 'long.mp4'
    write_gray_video(path, 1200, options=h264(10, 2))
    reader = VideoReader(path)
    numbers = evenly_spaced(reader.count, 16)
    images = dict(reader.read(numbers))
    assert list(images) == numbers
    assert reader.decoded <= 16 * 13
    for number, image in images.items():
        assert abs(image.mean() - (20 + 8 * number % 200)) < 4


UNEVEN = [0, 1, 2, 10, 11, 12, 13, 40, 41, 44, 80, 81, 82, 90, 100, 101, 102, 150]


@pytest.mark.parametrize('name', ['a.mp4', 'a.mkv'])
def test_variable_frame_rate(tmp_path, name):
    path = write_clip(tmp_path / name, len(UNEVEN), options=h264(6, 2), stamps=UNEVEN)
    oracle = decode_all(path)
    reader = VideoReader(path)
    assert (reader.count, reader.problem) == (len(UNEVEN), '')
    images = dict(reader.read(range(18)))
    assert list(images) == list(range(18))
    for number, image in images.items():
        np.testing.assert_array_equal(image, oracle[number])


def test_frames_before_the_start_of_an_edit_list_do_not_count(tmp_path):
    # The elst entry: duration, media time, rate.
    path = write_clip(tmp_path / 'a.mp4', 30, options=h264(30))
    whole = decode_all(path)
    data = bytearray(path.read_bytes())
    start = data.index(b'elst') + 4 + 4 + 4
    step = 512  # ticks a frame that the muxer chooses for 25 frames a second
    duration, media_time = struct.unpack_from('>Ii', data, start)
    struct.pack_into('>Ii', data, start, duration * 25 // 30, media_time + 5 * step)
    path.write_bytes(bytes(data))
    reader = VideoReader(path)
    images = dict(reader.read([0, 10]))
    assert reader.count == 25
    np.testing.assert_array_equal(images[0], whole[5])
    np.testing.assert_array_equal(images[10], whole[15])


@pytest.mark.parametrize('side', [100_000, 30_000])
def test_absurd_sizes_are_a_problem_and_not_an_allocation(tmp_path, side):
    path = write_clip(tmp_path / 'a.avi', 4, 'rawvideo')
    data = bytearray(path.read_bytes())
    start = data.index(b'strf') + 12
    data[start : start + 8] = struct.pack('<ii', side, side)
    path.write_bytes(bytes(data))
    reader = VideoReader(path)
    assert dict(reader.read(range(4))) == {}
    assert reader.problem


def test_absurd_size_in_the_stream(tmp_path):
    path = write_clip(tmp_path / 'a.webm', 4, 'libvpx', {'deadline': 'realtime'})
    mark = b'\x9d\x01\x2a'
    data = path.read_bytes()
    assert mark + struct.pack('<HH', 96, 64) in data
    data = data.replace(mark + struct.pack('<HH', 96, 64), mark + struct.pack('<HH', 16383, 16383))
    path.write_bytes(data)
    reader = VideoReader(path)
    assert dict(reader.read(range(4))) == {}
    assert 'cannot be decoded' in reader.problem


def cut_packets(path, places):
    """Remove the bytes of packets, headers included, from a file that has one packet after the other."""
    with av.open(str(path)) as container:
        spans = [(p.pos, p.size) for p in container.demux(video=0) if p.size]
    data = bytearray(path.read_bytes())
    # In Matroska the position is that of the four bytes before the data.
    head = 0 if path.suffix == '.avi' else 4
    for place in places:
        start = sum(spans[place - 1]) + head
        end = sum(spans[place]) + head
        data[start:end] = bytes(end - start)
    path.write_bytes(bytes(data))


@pytest.mark.parametrize('name', ['a.mkv', 'a.avi', 'b.webm'])
def test_lost_packets_do_not_shift_the_numbers(tmp_path, name):
    codec, options = ('libvpx', {'g': '8'}) if name == 'b.webm' else ('mpeg4', {'g': '8'})
    path = write_clip(tmp_path / name, 40, codec, options)
    whole = decode_all(path)
    cut_packets(path, [11])
    reader = VideoReader(path)
    images = dict(reader.read(range(40)))
    assert reader.problem
    assert set(range(11)) <= set(images)
    assert 11 not in images
    assert len(images) >= 28 or name != 'a.avi'
    for number, image in images.items():
        np.testing.assert_array_equal(image, whole[number])


UNEVEN_SECONDS = [0, 0.04, 0.08, 0.12, 2.12, 4.12]


@pytest.mark.parametrize(
    ('name', 'codec'),
    [('a.webm', 'libvpx-vp9'), ('a.mp4', 'libx264'), ('a.mkv', 'libx264'), ('a.ts', 'libx264')],
)
@pytest.mark.parametrize('start', [0, 5])
def test_times_are_those_of_presentation(tmp_path, name, codec, start):
    path = write_pattern(
        tmp_path / name, [np.roll(corner_pattern(), 5 * n, axis=1) for n in range(6)], codec=codec,
        times=[start + time for time in UNEVEN_SECONDS],
    )  # fmt: skip
    reader, _ = read_frames(path, 6)
    np.testing.assert_allclose(reader.times, UNEVEN_SECONDS, atol=1e-4)
    assert reader.rate == pytest.approx(5 / 4.12, rel=1e-3)


def test_times_of_a_constant_rate_are_exact(tmp_path):
    reader, _ = read_frames(write_pattern(tmp_path / 'a.mp4', [corner_pattern()] * 9), 9)
    assert reader.times.tolist() == [number / 25 for number in range(9)]
    assert reader.rate == 25


def test_a_video_that_begins_after_its_sound(tmp_path):
    path = tmp_path / 'a.mkv'
    with av.open(str(path), 'w') as container:
        stream, sound = add_stream(container), container.add_stream('aac', rate=16_000)
        stream.codec_context.time_base = Fraction(1, 1000)
        for number in range(40):
            silence = av.AudioFrame.from_ndarray(
                np.zeros((1, 1024), np.float32), format='fltp', layout='mono'
            )
            silence.sample_rate, silence.pts, silence.time_base = 16_000, 1024 * number, Fraction(1, 16_000)
            container.mux(sound.encode(silence))
        container.mux(sound.encode())
        for number in range(3):
            frame = av.VideoFrame.from_ndarray(corner_pattern(), format='bgr24')
            frame.pts, frame.time_base = 1500 + 40 * number, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    reader, _ = read_frames(path)
    # The sound may begin a little before zero, for its decoder to settle.
    np.testing.assert_allclose(reader.times, [1.5, 1.54, 1.58], atol=0.07)
