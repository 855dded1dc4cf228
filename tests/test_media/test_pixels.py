# SPDX-License-Identifier: Apache-2.0
"""Shape, rotation and colors of frames."""

from __future__ import annotations

import struct
from fractions import Fraction

import av
import numpy as np
import pytest
from av.sidedata.sidedata import Type

from iid_mm.media import pixels
from iid_mm.media.pixels import squared, to_image, turned
from support.encoded_videos import HEIGHT, WIDTH, add_stream, corner_pattern, read_frames, write_pattern

CORNERS = (slice(2, 10), slice(-10, -2))


def near(image, expected, most=12):
    """Coding changes the edges of the pattern; the corners are those that were written."""
    assert image.shape == expected.shape
    for part in ((rows, columns) for rows in CORNERS for columns in CORNERS):
        assert np.abs(image[part].astype(int) - expected[part]).max() <= most


@pytest.mark.parametrize(
    ('aspect', 'shape'),
    [
        ((2, 1), (32, 96)), ((1, 2), (64, 48)), ((64, 45), (32, 68)), ((8, 9), (36, 48)), ((1, 1), (32, 48)),
        # So little is not worth that all pixels are computed anew.
        ((1000, 999), (32, 48)),
    ],
)  # fmt: skip
def test_pixels_are_made_square(tmp_path, aspect, shape):
    path = write_pattern(
        tmp_path / 'a.mp4', prepare=lambda s: setattr(s, 'sample_aspect_ratio', Fraction(*aspect))
    )
    reader, images = read_frames(path)
    assert images[1].shape[:2] == shape
    assert reader.problem == ''
    near(images[1], corner_pattern(shape[1], shape[0]))


@pytest.mark.parametrize('suffix', ['mp4', 'mkv'])
def test_shape_that_only_the_codec_knows(tmp_path, suffix):
    # Raw H.264 carries it in its own header; what is copied from there into a container may lose it.
    raw = write_pattern(
        tmp_path / 'a.h264',
        options={'bf': '0'},
        prepare=lambda s: setattr(s, 'sample_aspect_ratio', Fraction(2)),
    )
    with av.open(str(raw)) as source, av.open(str(tmp_path / f'b.{suffix}'), 'w') as container:
        stream = container.add_stream_from_template(source.streams.video[0])
        stream.sample_aspect_ratio = Fraction(0, 1)
        for number, packet in enumerate(source.demux(video=0)):
            if packet.size:
                packet.pts = packet.dts = 3600 * number
                packet.time_base = Fraction(1, 90_000)
                packet.stream = stream
                container.mux(packet)
    assert read_frames(tmp_path / f'b.{suffix}', 2)[1][1].shape == (32, 96, 3)


def test_shape_in_a_container_that_has_no_place_for_it(tmp_path):
    # FFmpeg does not know a shorter file for what it is.
    noise = np.random.default_rng(0).integers(0, 255, (3, HEIGHT, WIDTH, 3), np.uint8)
    path = write_pattern(
        tmp_path / 'a.ts', list(noise), prepare=lambda s: setattr(s, 'sample_aspect_ratio', Fraction(2))
    )
    assert read_frames(path)[1][1].shape == (32, 96, 3)


def test_shape_and_rotation(tmp_path):
    path = write_pattern(tmp_path / 'a.mp4', prepare=lambda s: setattr(s, 'sample_aspect_ratio', Fraction(2)))
    patch_matrix(path, (0, 1, -1, 0))
    _, images = read_frames(path)
    # Squared as stored, then turned.
    near(images[1], np.ascontiguousarray(np.rot90(corner_pattern(96, 32), -1)))


@pytest.mark.parametrize('aspect', [Fraction(1, 1000), Fraction(255, 1)])
def test_absurd_shapes_are_ignored_and_named(aspect):
    image, problem = squared(corner_pattern(), aspect)
    assert image.shape == (32, 48, 3)
    assert f'pixels are not square ({aspect.numerator}:{aspect.denominator})' in problem


# Clockwise turn and mirroring by the matrix a, b, c, d: (x, y) is shown at (a x + c y, b x + d y).
MATRICES = {
    (1, 0, 0, 1): lambda image: image,
    (-1, 0, 0, 1): lambda image: image[:, ::-1],
    (1, 0, 0, -1): lambda image: image[::-1],
    (-1, 0, 0, -1): lambda image: image[::-1, ::-1],
    (0, 1, -1, 0): lambda image: np.rot90(image, -1),
    (0, -1, 1, 0): lambda image: np.rot90(image),
    (0, 1, 1, 0): lambda image: image.transpose(1, 0, 2),
    (0, -1, -1, 0): lambda image: np.rot90(image, -1)[:, ::-1][::-1, ::-1],
}


def patch_matrix(path, matrix):
    data = bytearray(path.read_bytes())
    # Type, version and flags, five numbers, reserved, layer, group, volume, reserved, then the matrix.
    start = data.index(b'tkhd') + 4 + 4 + 20 + 8 + 8
    a, b, c, d = (value << 16 for value in matrix)
    data[start : start + 36] = struct.pack('>9i', a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(bytes(data))


@pytest.mark.parametrize('name', ['a.mp4', 'a.mov'])
@pytest.mark.parametrize('matrix', MATRICES)
def test_frames_are_turned_and_mirrored(tmp_path, matrix, name):
    path = write_pattern(tmp_path / name)
    _, stored = read_frames(path)
    patch_matrix(path, matrix)
    _, images = read_frames(path)
    np.testing.assert_array_equal(images[1], MATRICES[matrix](stored[1]))
    np.testing.assert_array_equal(turned(stored[1], matrix), images[1])
    # Where each pixel comes from, point by point.
    a, b, c, d = matrix
    (height, width), shown = stored[1].shape[:2], images[1].shape[:2]
    for x, y in ((0, 0), (width - 1, 0), (3, height - 2)):
        u, v = a * x + c * y, b * x + d * y
        u, v = u + (shown[1] - 1 if a + c < 0 else 0), v + (shown[0] - 1 if b + d < 0 else 0)
        np.testing.assert_array_equal(images[1][v, u], stored[1][y, x])


@pytest.mark.parametrize(('degrees', 'turns'), [(0, 0), (90, 1), (-180, 2), (-90, 3), (44, 0)])
def test_rotation_without_side_data(degrees, turns):
    # PyAV raises ValueError for all side data of a frame if it does not know the type of one.
    class Frame:
        color_trc = color_primaries = colorspace = 2
        interlaced_frame, rotation = False, degrees
        side_data = property(lambda frame: Type(10_000))

        def to_ndarray(self, format):
            return corner_pattern()

    image, note = to_image(Frame())
    np.testing.assert_array_equal(image, np.rot90(corner_pattern(), turns))
    assert note == ''


def flat_yuv(path, y, u=128, v=128, *, codec='libx264', bits=8, colors=(2, 2, 2, 0), options=None):
    """Three frames of one color, given in the numbers of the codec and tagged."""
    fmt = 'yuv420p' if bits == 8 else 'yuv420p10le'
    with av.open(str(path), 'w') as container:
        stream = add_stream(container, codec, options=options, fmt=fmt)
        context = stream.codec_context
        context.color_trc, context.color_primaries, context.colorspace, context.color_range = colors
        for _ in range(3):
            frame = av.VideoFrame(WIDTH, HEIGHT, fmt)
            frame.color_trc, frame.color_primaries, frame.colorspace, frame.color_range = colors
            for plane, value in zip(frame.planes, (y, u, v), strict=True):
                kind = np.uint8 if bits == 8 else np.uint16
                rows = np.zeros((plane.height, plane.line_size // np.dtype(kind).itemsize), kind)
                rows[:, : plane.width] = value
                plane.update(rows.tobytes().ljust(plane.buffer_size, b'\0'))
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


LIMITED, FULL = 1, 2

# Kr and Kb of the matrices.
WEIGHTS = {1: (0.2126, 0.0722), 5: (0.299, 0.114), 6: (0.299, 0.114), 9: (0.2627, 0.0593)}


@pytest.mark.parametrize('matrix', [1, 5, 6, 9])
@pytest.mark.parametrize('color_range', [LIMITED, FULL])
def test_matrix_and_range_are_those_of_the_stream(tmp_path, matrix, color_range):
    path = flat_yuv(
        tmp_path / 'a.mp4', 100, 110, 170, colors=(2, 2, matrix, color_range), options={'qp': '0'}
    )
    full = color_range == FULL
    y = 100 / 255 if full else (100 - 16) / 219
    cb, cr = ((value - 128) / (255 if full else 224) for value in (110, 170))
    red_weight, blue_weight = WEIGHTS[matrix]
    red, blue = y + 2 * (1 - red_weight) * cr, y + 2 * (1 - blue_weight) * cb
    green = (y - red_weight * red - blue_weight * blue) / (1 - red_weight - blue_weight)
    _, images = read_frames(path)
    np.testing.assert_allclose(images[1][16, 24], [255 * value for value in (blue, green, red)], atol=3)


def pq(nits):
    power = (nits / 10000) ** 0.1593017578125
    return ((0.8359375 + 18.8515625 * power) / (1 + 18.6875 * power)) ** 78.84375


def hlg(nits):
    scene = (nits / 1000) ** (1 / 1.2)
    if scene <= 1 / 12:
        return (3 * scene) ** 0.5
    return 0.17883277 * np.log(12 * scene - 0.28466892) + 0.55991073


FFV1 = {'codec': 'ffv1', 'options': {}}

X265 = {'codec': 'libx265', 'options': {'x265-params': 'log-level=none:lossless=1'}}

GRAYS = (0, 51, 102, 153, 204, 255)


def columns(encode, white):
    """(H, W) 10-bit luma: six columns of gray levels, of which the brightest has ``white`` cd/m2."""
    codes = [round(64 + 876 * encode(white * (gray / 255) ** 2.4)) for gray in GRAYS]
    return np.repeat(np.repeat([codes], WIDTH // 6, axis=1), HEIGHT, axis=0)


@pytest.mark.parametrize('white', [100, 150, 203])
@pytest.mark.parametrize(('transfer', 'encode'), [(16, pq), (18, hlg)], ids=['PQ', 'HLG'])
@pytest.mark.parametrize('coding', [FFV1, X265], ids=['ffv1', 'x265'])
def test_hdr_is_tone_mapped(tmp_path, transfer, encode, coding, white):
    path = tmp_path / ('a.mkv' if coding is FFV1 else 'a.mp4')
    flat_yuv(path, columns(encode, white), 512, 512, bits=10, colors=(transfer, 9, 9, LIMITED), **coding)
    reader, images = read_frames(path)
    for column, gray in zip(images[1][16, WIDTH // 12 :: WIDTH // 6], GRAYS, strict=True):
        assert np.abs(column.astype(int) - gray).max() <= 12
    assert 'HDR' in reader.problem


def test_hdr_in_strips_is_hdr(tmp_path, monkeypatch):
    path = tmp_path / 'a.mkv'
    flat_yuv(path, columns(pq, 203), 512, 512, bits=10, colors=(16, 9, 9, LIMITED), **FFV1)
    whole = read_frames(path)[1][1]
    monkeypatch.setattr(pixels, '_AT_A_TIME', 5 * WIDTH)
    np.testing.assert_array_equal(read_frames(path)[1][1], whole)


@pytest.mark.parametrize(('transfer', 'encode'), [(16, pq), (18, hlg)], ids=['PQ', 'HLG'])
def test_hdr_beyond_white_and_in_the_dark(tmp_path, transfer, encode):
    for nits, least, most in ((1000, 250, 255), (400, 250, 255), (20, 120, 135), (1, 30, 45)):
        colors = (transfer, 9, 9, LIMITED)
        flat_yuv(tmp_path / 'a.mkv', round(64 + 876 * encode(nits)), 512, 512, bits=10, colors=colors, **FFV1)
        image = read_frames(tmp_path / 'a.mkv')[1][1]
        # Dark frames stay dark: white is never taken to be below 100 cd/m2.
        assert image.min() >= least
        assert image.max() <= most


@pytest.mark.parametrize('suffix', ['mp4', 'mkv'])
def test_colors_that_only_the_container_names(tmp_path, suffix):
    signal = round(64 + 876 * pq(203))
    plain = flat_yuv(tmp_path / 'plain.mp4', signal, 512, 512, bits=10, **X265)
    with av.open(str(plain)) as source, av.open(str(tmp_path / f'a.{suffix}'), 'w') as container:
        stream = container.add_stream_from_template(source.streams.video[0])
        context = stream.codec_context
        context.color_trc, context.color_primaries, context.colorspace, context.color_range = (
            16,
            9,
            9,
            LIMITED,
        )
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = stream
                container.mux(packet)
    assert read_frames(plain)[1][1][16, 24, 1] < 160
    reader, images = read_frames(tmp_path / f'a.{suffix}')
    assert images[1][16, 24].min() >= 243
    assert 'HDR' in reader.problem


def test_wide_gamut_is_converted(tmp_path):
    # The red of BT.709 in BT.2020 light, as SDR.
    linear = np.array([0.6274, 0.0691, 0.0164])
    red, green, blue = linear ** (1 / 2.4)
    y = 0.2627 * red + 0.6780 * green + 0.0593 * blue
    values = [y, (blue - y) / 1.8814, (red - y) / 1.4746]
    codes = [round(64 + 876 * values[0]), *(round(512 + 896 * value) for value in values[1:])]
    path = flat_yuv(tmp_path / 'a.mkv', *codes, bits=10, colors=(14, 9, 9, LIMITED), **FFV1)
    reader, images = read_frames(path)
    np.testing.assert_allclose(images[1][16, 24], [0, 0, 255], atol=16)
    assert reader.problem == ''


def test_colors_that_cannot_be_converted_are_named():
    class Frame:
        """A frame of which only what is said of it matters."""

        color_trc = color_primaries = 2
        interlaced_frame = False
        rotation = 0

        def __init__(self, colorspace, *side):
            self.colorspace, self.side_data = colorspace, dict.fromkeys(side, b'x')

        def to_ndarray(self, format):
            return corner_pattern()

    assert to_image(Frame(2))[1] == ''
    assert 'colors are not as trained (matrix 15' in to_image(Frame(15))[1]
    assert 'Dolby Vision' in to_image(Frame(2, 'DOVI_METADATA'))[1]


def test_interlaced_video_is_named(tmp_path):
    path = write_pattern(tmp_path / 'a.mp4', options={'x264-params': 'tff=1:threads=1'})
    assert 'interlaced' in read_frames(path)[0].problem
    assert read_frames(write_pattern(tmp_path / 'b.mp4'))[0].problem == ''
