# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from iid_mm.errors import InputError
from iid_mm.preparation.video import VideoReader, evenly_spaced, upright


@pytest.mark.parametrize(
    ('total', 'count', 'expected'),
    [
        (12, 3, [2, 6, 10]),
        (8, 3, [1, 4, 6]),
        (24, 16, [0, 2, 3, 5, 6, 8, 9, 11, 12, 14, 15, 17, 18, 20, 21, 23]),
        (3, 5, [0, 1, 2]),
        (5, 5, [0, 1, 2, 3, 4]),
        (7, 1, [3]),
        (0, 4, []),
    ],
)
def test_evenly_spaced(total, count, expected):
    assert evenly_spaced(total, count) == expected


@given(st.integers(0, 5000), st.integers(1, 300))
def test_evenly_spaced_properties(total, count):
    numbers = evenly_spaced(total, count)
    assert len(numbers) == min(total, count)
    assert numbers == sorted(set(numbers))
    if numbers:
        assert numbers[0] >= 0
        assert numbers[-1] < total
        gaps = np.diff(numbers)
        assert gaps.size == 0 or gaps.max() - gaps.min() <= 1
        # Symmetric up to rounding: no end is favoured.
        assert abs(numbers[0] - (total - 1 - numbers[-1])) <= 1


@pytest.mark.parametrize(('total', 'count'), [(-1, 3), (5, 0)])
def test_evenly_spaced_refuses(total, count):
    with pytest.raises(InputError, match='need total >= 0 and count >= 1'):
        evenly_spaced(total, count)


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


def test_upright_turns_counter_clockwise():
    image = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    top_right = image[0, 1]
    np.testing.assert_array_equal(upright(image, 90)[0, 0], top_right)
    np.testing.assert_array_equal(upright(image, -90)[1, 1], top_right)
    np.testing.assert_array_equal(upright(image, -180)[1, 0], top_right)
    assert upright(image, 0) is image
