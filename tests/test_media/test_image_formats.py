# SPDX-License-Identifier: Apache-2.0
"""Image formats: orientation, kinds of pixels, files of several images, and what is refused."""

from __future__ import annotations

import io
import struct
import zlib

import av
import cv2
import numpy as np
import pytest
from PIL import Image, features

from iid_mm.errors import InputError
from iid_mm.media import file_structure, image_headers, image_reading
from iid_mm.media.file_structure import is_clip
from iid_mm.media.image_headers import check_image
from iid_mm.media.image_reading import decode_first, decode_image
from iid_mm.media.readers import AnimationReader, ImageReader
from iid_mm.media.tiff_tags import exif_orientation
from iid_mm.media.video_reader import VideoReader

needs_avif = pytest.mark.skipif(not features.check('avif'), reason='this Pillow reads no AVIF')


def pattern():
    """(32, 48, 3) RGB without any symmetry."""
    image = np.full((32, 48, 3), 90, np.uint8)
    image[:16, :24], image[:16, 24:], image[16:, :24] = (220, 30, 30), (30, 200, 30), (30, 30, 220)
    image[:4, :9] = (1, 2, 3)
    return image


UPRIGHT = np.ascontiguousarray(pattern()[..., ::-1])
TURNS = Image.Transpose
# How an upright image has to be stored for the tag to turn it back.
STORED = {
    1: None, 2: TURNS.FLIP_LEFT_RIGHT, 3: TURNS.ROTATE_180, 4: TURNS.FLIP_TOP_BOTTOM, 5: TURNS.TRANSPOSE,
    6: TURNS.ROTATE_90, 7: TURNS.TRANSVERSE, 8: TURNS.ROTATE_270,
}  # fmt: skip


def encode(image, kind, **options):
    image = Image.fromarray(image) if isinstance(image, np.ndarray) else image
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def tagged(kind, tag, **options):
    image = Image.fromarray(pattern())
    image = image if STORED[tag] is None else image.transpose(STORED[tag])
    exif = Image.Exif()
    exif[274] = tag
    return encode(image, kind, exif=exif, **options)


LOSSLESS = [
    ('PNG', {}), ('WEBP', {'lossless': True}), ('TIFF', {}), ('TIFF', {'compression': 'tiff_lzw'}),
    ('TIFF', {'compression': 'tiff_deflate'}),
]  # fmt: skip


@pytest.mark.parametrize('tag', STORED)
@pytest.mark.parametrize(('kind', 'options'), LOSSLESS)
def test_orientation_is_obeyed_in_every_format(kind, options, tag):
    image = decode_image(tagged(kind, tag, **options))
    np.testing.assert_array_equal(image, UPRIGHT)
    assert image.flags['C_CONTIGUOUS']


@pytest.mark.parametrize('tag', STORED)
@pytest.mark.parametrize('order', ['<', '>'])
def test_orientation_of_jpeg(tag, order):
    data = encode(pattern(), 'JPEG', quality=100, subsampling=0)
    head = b'II*\0' if order == '<' else b'MM\0*'
    exif = b'Exif\0\0' + head + struct.pack(f'{order}IHHHIHHI', 8, 1, 274, 3, 1, tag, 0, 0)
    segment = b'\xff\xe1' + struct.pack('>H', len(exif) + 2) + exif
    # Not the first segment, and a second one that says otherwise.
    other = b'\xff\xe1' + struct.pack('>H', len(exif) + 2) + exif.replace(bytes([tag]), b'\x01')
    stored = decode_image(data)
    image = decode_image(data[:20] + segment + other + data[20:])
    turned = {
        1: stored, 2: stored[:, ::-1], 3: stored[::-1, ::-1], 4: stored[::-1], 5: stored.transpose(1, 0, 2),
        6: np.rot90(stored, -1), 7: np.rot90(stored, -1)[:, ::-1][::-1, ::-1], 8: np.rot90(stored),
    }  # fmt: skip
    if tag == 7:
        turned[7] = stored[::-1, ::-1].transpose(1, 0, 2)
    np.testing.assert_array_equal(image, turned[tag])


@needs_avif
@pytest.mark.parametrize('tag', STORED)
def test_orientation_of_avif(tag):
    image = decode_image(tagged('AVIF', tag, quality=100, subsampling='4:4:4'))
    assert image.shape == UPRIGHT.shape
    assert np.abs(image.astype(int) - UPRIGHT).max() <= 2


def test_orientation_of_webp_without_the_prefix_of_jpeg():
    # Both are in use.
    data = tagged('WEBP', 6, lossless=True)
    place = data.index(b'EXIF') + 8
    assert data[place : place + 6] == b'Exif\0\0' or data[place : place + 2] in (b'MM', b'II')
    exif = Image.Exif()
    exif[274] = 6
    plain = exif.tobytes().removeprefix(b'Exif\0\0')
    for content in (plain, b'Exif\0\0' + plain):
        body = data[: place - 4] + struct.pack('<I', len(content)) + content + b'\0' * (len(content) % 2)
        body = body[:4] + struct.pack('<I', len(body) - 8) + body[8:]
        np.testing.assert_array_equal(decode_image(body), UPRIGHT)


@pytest.mark.parametrize(
    'exif',
    [
        b'', b'Exif\0\0', b'II*\0', b'XX*\0' + bytes(40), b'II*\0\xff\xff\xff\xff', bytes(30),
        # Values that do not exist; a type without a meaning; far more entries than there are.
        b'II*\0' + struct.pack('<IHHHIHHI', 8, 1, 274, 3, 1, 9, 0, 0),
        b'II*\0' + struct.pack('<IHHHIHHI', 8, 1, 274, 3, 1, 0, 0, 0),
        b'II*\0' + struct.pack('<IHHHIHHI', 8, 1, 274, 77, 1, 6, 0, 0),
        b'II*\0' + struct.pack('<IHHHIHHI', 8, 9999, 305, 3, 1, 6, 0, 0),
        b'II*\0' + struct.pack('<IHHHIHHI', 8, 1, 274, 3, 0, 6, 0, 0),
        b'II*\0' + struct.pack('<IHHHIHHI', 8, 1, 274, 3, 1 << 31, 6, 0, 0),
    ],
)  # fmt: skip
def test_damaged_exif_turns_nothing(exif):
    assert exif_orientation(exif) == 1


@pytest.mark.parametrize('kind', ['PNG', 'TIFF'])
def test_sixteen_bits_are_cut_to_the_upper_eight(kind):
    deep = pattern().astype(np.uint16) * 256 + 200
    ok, data = cv2.imencode(f'.{kind.lower()}', deep[..., ::-1])
    assert ok
    np.testing.assert_allclose(decode_image(data.tobytes()).astype(int), UPRIGHT, atol=1)
    ok, data = cv2.imencode(f'.{kind.lower()}', deep[..., 0])
    gray = decode_image(data.tobytes()).astype(int)
    np.testing.assert_allclose(gray, np.repeat(pattern()[..., :1].astype(int), 3, 2), atol=1)


@pytest.mark.parametrize('kind', ['PNG', 'TIFF', 'WEBP', pytest.param('AVIF', marks=needs_avif)])
@pytest.mark.parametrize('mode', ['RGB', 'RGBA', 'L', 'P', '1', 'LA'])
def test_kinds_of_pixels(kind, mode):
    if (kind, mode) in (('WEBP', '1'), ('WEBP', 'LA'), ('AVIF', '1'), ('AVIF', 'LA')):
        mode = 'L'
    picture = Image.fromarray(pattern())
    if mode == 'RGBA':
        # The color of what is not seen is kept: an alpha channel is dropped, not composed.
        picture.putalpha(Image.fromarray(np.full((32, 48), 128, np.uint8)))
    else:
        picture = picture.convert(mode)
    options = {'lossless': True, 'exact': True} if kind == 'WEBP' else {}
    options = {'quality': 100, 'subsampling': '4:4:4'} if kind == 'AVIF' else options
    expected = np.asarray(picture.convert('RGB'))[..., ::-1].astype(int)
    image = decode_image(encode(picture, kind, **options)).astype(int)
    assert np.abs(image - expected).max() <= (4 if kind == 'AVIF' else 0)


def tiff(image, order, *, tile=None, more=()):
    """A TIFF file without compression, written by hand: (32, 48, 3) in one strip or in tiles."""
    parts = [image.tobytes()]
    if tile:
        parts = [image[y : y + 16, x : x + 16].tobytes() for y in (0, 16) for x in (0, 16, 32)]
    places = [400 + len(parts[0]) * number for number in range(len(parts))]
    short = 1 if order == '<' else 1 << 16
    entries = {
        256: (3, 1, 48 * short), 257: (3, 1, 32 * short), 258: (3, 3, 300), 259: (3, 1, short),
        262: (3, 1, 2 * short), 277: (3, 1, 3 * short),
    }  # fmt: skip
    where, size = (324, 325) if tile else (273, 279)
    entries[where] = (4, len(parts), places[0] if len(parts) == 1 else 310)
    entries[size] = (4, len(parts), len(parts[0]) if len(parts) == 1 else 340)
    entries |= {322: (4, 1, tile), 323: (4, 1, tile)} if tile else {278: (3, 1, 32 * short)}
    entries |= dict(more)
    head = (b'II*\0' if order == '<' else b'MM\0*') + struct.pack(f'{order}IH', 8, len(entries))
    head += b''.join(struct.pack(f'{order}HHII', tag, *entries[tag]) for tag in sorted(entries)) + bytes(4)
    head = head.ljust(300, b'\0') + struct.pack(f'{order}3H', 8, 8, 8)
    head = head.ljust(310, b'\0') + struct.pack(f'{order}{len(parts)}I', *places)
    head = head.ljust(340, b'\0') + struct.pack(f'{order}{len(parts)}I', *map(len, parts))
    return head.ljust(400, b'\0') + b''.join(parts)


@pytest.mark.parametrize('order', ['<', '>'])
@pytest.mark.parametrize('tile', [None, 16])
def test_layouts_of_tiff(order, tile):
    np.testing.assert_array_equal(decode_image(tiff(pattern(), order, tile=tile)), UPRIGHT)


def test_tiff_that_is_not_read():
    values = Image.fromarray(np.linspace(0, 1, 32 * 48, dtype=np.float32).reshape(32, 48))
    with pytest.raises(InputError, match='not integers of 1, 8 or 16 bits'):
        decode_image(encode(values, 'TIFF'))


@pytest.mark.parametrize('kind', ['TIFF', pytest.param('AVIF', marks=needs_avif)])
def test_every_cut_of_other_formats_is_noticed(kind):
    data = encode(pattern(), kind)
    for end in {8, 20, len(data) // 2, len(data) - 30}:
        with pytest.raises(InputError):
            decode_image(data[:end])


@pytest.mark.filterwarnings('ignore::UserWarning')
@pytest.mark.parametrize('kind', ['TIFF', pytest.param('AVIF', marks=needs_avif)])
def test_damage_of_other_formats_is_an_error_or_an_image(kind):
    data = encode(pattern(), kind)
    for seed in range(60):
        rng = np.random.default_rng(seed)
        bad = bytearray(data)
        for place in rng.integers(0, len(data), 3):
            bad[place] = rng.integers(0, 256)
        try:
            image = decode_image(bytes(bad))
        except InputError:
            continue
        assert image.ndim == 3
        assert image.size <= 3 * image_headers.MAX_PIXELS


def test_large_images_of_other_formats_are_refused(monkeypatch):
    for module in (image_headers, image_reading):
        monkeypatch.setattr(module, 'MAX_PIXELS', 32 * 48 - 1)
    for kind in ('TIFF', 'WEBP', 'PNG', *(['AVIF'] if features.check('avif') else [])):
        with pytest.raises(InputError, match='48x32 pixels'):
            decode_image(encode(pattern(), kind))


def test_tiles_larger_than_the_image_are_refused():
    with pytest.raises(InputError, match='tiles of more than'):
        decode_image(tiff(pattern(), '<', tile=16, more=[(322, (4, 1, 1 << 30))]))


def test_a_jpeg_of_endless_scans_is_refused(monkeypatch):
    data = encode(pattern(), 'JPEG', progressive=True)
    check_image(data)
    start = data.index(b'\xff\xda')
    scan = data[start : data.index(b'\xff', start + 20)]
    many = data[:start] + scan * 2000 + data[start:]
    monkeypatch.setattr(image_headers, '_MAX_SCANNED', 1000 * 32 * 48)
    with pytest.raises(InputError, match='scans of 48x32 pixels'):
        check_image(many)


def test_files_of_endless_parts_are_refused(monkeypatch):
    for module in (image_headers, file_structure):
        monkeypatch.setattr(module, '_MAX_PARTS', 100)
    png, jpeg = encode(pattern(), 'PNG'), encode(pattern(), 'JPEG')
    empty = struct.pack('>I4sI', 0, b'teSt', 0)
    for data in (png[:33] + empty * 200 + png[33:], jpeg[:2] + b'\xff\xd0' * 200 + jpeg[2:]):
        with pytest.raises(InputError, match='more than 100 parts'):
            check_image(data)
    # Fill bytes are one step, however many.
    check_image(jpeg[:2] + b'\xff' * 100_000 + jpeg[2:])


def heif(major, *others):
    content = major + bytes(4) + b''.join(others)
    return struct.pack('>I4s', len(content) + 8, b'ftyp') + content + bytes(100)


def test_heic_is_named():
    for data in (heif(b'heic', b'mif1'), heif(b'mif1', b'heic'), heif(b'heix')):
        with pytest.raises(InputError, match='a HEIC image, which is not read here; convert it'):
            decode_image(data)


# Files of several images.


def frames(count=3):
    return [Image.fromarray(np.roll(pattern(), 8 * number, axis=1)) for number in range(count)]


def animation(kind, count=3, **options):
    if kind == 'WEBP':
        options = {'lossless': True, 'minimize_size': False, **options}
    first, *rest = frames(count)
    return encode(first, kind, save_all=True, append_images=rest, duration=[100, 300, 50][:count], **options)


ANIMATED = ['GIF', 'PNG', 'WEBP', pytest.param('AVIF', marks=needs_avif)]
STILL = ['PNG', 'JPEG', 'WEBP', 'BMP', 'TIFF', pytest.param('AVIF', marks=needs_avif)]


@pytest.mark.parametrize('name', ['a.png', 'a.webp', 'a.jpg', 'a.mp4', 'a'])
@pytest.mark.parametrize('kind', ANIMATED)
def test_content_decides_what_is_a_clip(tmp_path, kind, name):
    (tmp_path / name).write_bytes(animation(kind))
    assert is_clip(tmp_path / name) is True


@pytest.mark.parametrize('kind', STILL)
def test_content_decides_what_is_an_image(tmp_path, kind):
    (tmp_path / 'a.gif').write_bytes(encode(pattern(), kind))
    assert is_clip(tmp_path / 'a.gif') is False


@pytest.mark.parametrize(
    'suffix', ['mp4', 'mov', 'mkv', 'webm', 'avi', 'flv', 'ts', 'mpg', '3gp', 'wmv', 'ogv']
)
def test_content_decides_what_is_a_video(tmp_path, suffix):
    codecs = {'webm': 'libvpx', 'mpg': 'mpeg2video', '3gp': 'mpeg4', 'wmv': 'wmv2', 'ogv': 'libvpx'}
    codec = codecs.get(suffix, 'libx264')
    if codec not in av.codecs_available:
        pytest.skip(f'this PyAV has no {codec}')
    path = tmp_path / f'a.{suffix}'
    with av.open(str(path), 'w') as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, 'yuv420p'
        for number in range(9):
            noise = np.random.default_rng(number).integers(0, 255, (48, 64, 3), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(noise, format='bgr24')))
        container.mux(stream.encode())
    path.rename(tmp_path / 'a.png')
    assert is_clip(tmp_path / 'a.png') is True
    reader = VideoReader(tmp_path / 'a.png')
    assert len(dict(reader.read(range(9)))) == 9


@pytest.mark.parametrize(
    'data', [b'', b'II', b'text that is nothing else' * 30, b'\x89PNG\r\n\x1a\n', b'RIFF']
)
def test_content_that_tells_nothing(tmp_path, data):
    (tmp_path / 'a').write_bytes(data)
    assert is_clip(tmp_path / 'a') is None
    assert is_clip(tmp_path / 'none') is None


def test_an_animation_of_one_image_is_an_image(tmp_path):
    for kind in ('PNG', 'WEBP'):
        path = tmp_path / f'a.{kind}'
        first, second = frames(2)
        data = encode(first, kind, save_all=True, append_images=[first.copy()], duration=100)
        path.write_bytes(data)
        # Equal images are merged into one.
        assert is_clip(path) is False
        assert decode_first(data)[1] == 1
        del second


@pytest.mark.parametrize(
    ('kind', 'open_reader'),
    [
        ('WEBP', AnimationReader), ('PNG', AnimationReader), ('GIF', VideoReader),
        pytest.param('AVIF', VideoReader, marks=needs_avif),
    ],
)  # fmt: skip
def test_frames_and_times_of_animations(tmp_path, kind, open_reader):
    path = tmp_path / 'a.bin'
    options = {'quality': 100, 'subsampling': '4:4:4'} if kind == 'AVIF' else {}
    path.write_bytes(animation(kind, **options))
    reader = open_reader(path)
    assert (reader.count, reader.problem) == (3, '')
    np.testing.assert_allclose(reader.times, [0, 0.1, 0.4], atol=1e-3)
    images = dict(reader.read([2, 0, 7]))
    assert list(images) == [0, 2]
    for number, image in images.items():
        expected = np.asarray(frames()[number])[..., ::-1].astype(int)
        assert np.abs(image.astype(int) - expected).max() <= (8 if kind == 'AVIF' else 2)


@pytest.mark.parametrize('kind', ['WEBP', 'PNG'])
def test_images_that_are_shown_for_no_time(tmp_path, kind):
    first, *rest = frames()
    options = {'lossless': True} if kind == 'WEBP' else {}
    data = encode(first, kind, save_all=True, append_images=rest, duration=0, **options)
    (tmp_path / 'a').write_bytes(data)
    assert AnimationReader(tmp_path / 'a').times.tolist() == pytest.approx([0, 0.1, 0.2])


@pytest.mark.parametrize('tag', STORED)
@pytest.mark.parametrize('kind', ['WEBP', 'PNG'])
def test_orientation_of_animations(tmp_path, kind, tag):
    stored = [image if STORED[tag] is None else image.transpose(STORED[tag]) for image in frames()]
    exif = Image.Exif()
    exif[274] = tag
    options = {'lossless': True} if kind == 'WEBP' else {}
    data = encode(
        stored[0], kind, save_all=True, append_images=stored[1:], duration=100, exif=exif, **options
    )
    (tmp_path / 'a').write_bytes(data)
    images = dict(AnimationReader(tmp_path / 'a').read(range(3)))
    for image, expected in zip(images.values(), frames(), strict=True):
        np.testing.assert_array_equal(image, np.asarray(expected)[..., ::-1])


def test_the_image_for_viewers_without_animation_is_no_frame(tmp_path):
    cover, *rest = frames()
    data = encode(cover, 'PNG', save_all=True, append_images=rest, duration=200, default_image=True)
    (tmp_path / 'a.png').write_bytes(data)
    reader = AnimationReader(tmp_path / 'a.png')
    images = dict(reader.read(range(5)))
    assert reader.count == 2
    for number in (0, 1):
        np.testing.assert_array_equal(images[number], np.asarray(rest[number])[..., ::-1])


def test_damaged_animations(tmp_path):
    data = animation('WEBP')
    path = tmp_path / 'a.webp'
    for end in (40, 100, len(data) - 20):
        path.write_bytes(data[:end])
        reader = AnimationReader(path)
        assert list(reader.read(range(3))) == []
        assert reader.problem or not reader.count
    (tmp_path / 'b').write_bytes(animation('PNG')[:60])
    for name in ('b', 'none'):
        assert 'cannot be read' in AnimationReader(tmp_path / name).problem


@pytest.mark.parametrize('kind', ['PNG', 'WEBP', 'TIFF', pytest.param('AVIF', marks=needs_avif)])
def test_only_the_first_image_of_several_is_said_to_be_read(tmp_path, kind):
    options = {'quality': 100, 'subsampling': '4:4:4'} if kind == 'AVIF' else {}
    if kind == 'TIFF':
        data = encode(frames()[0], 'TIFF', save_all=True, append_images=frames()[1:])
    else:
        data = animation(kind, **options)
    image, count = decode_first(data)
    assert count == 3
    assert np.abs(image.astype(int) - UPRIGHT).max() <= (8 if kind == 'AVIF' else 0)
    (tmp_path / 'a').write_bytes(data)
    reader = ImageReader(tmp_path, ['a'], [0])
    assert len(dict(reader.read([0]))) == 1
    assert reader.problem == '1 of 3 images of the file was read (a)'


def test_small_copies_in_a_tiff_are_no_pages():
    data = bytearray(tiff(pattern(), '<', more=[(254, (4, 1, 0))]))
    # The end of the list of tags says where the next page is: the same tags again.
    count = struct.unpack_from('<H', data, 8)[0]
    tags = bytes(data[8 : 10 + 12 * count + 4])
    struct.pack_into('<I', data, 10 + 12 * count, len(data))
    assert decode_first(bytes(data) + tags)[1] == 2
    small = tags.replace(struct.pack('<HHII', 254, 4, 1, 0), struct.pack('<HHII', 254, 4, 1, 1))
    assert decode_first(bytes(data) + small)[1] == 1
    # A list that leads to itself ends.
    struct.pack_into('<I', data, 10 + 12 * count, 8)
    assert decode_first(bytes(data))[1] == 1


def test_images_and_films_behind_a_jpeg_are_counted(tmp_path):
    first, *rest = (Image.fromarray(np.roll(pattern(), 9 * n, axis=1)) for n in range(3))
    first.save(tmp_path / 'stereo.jpg', 'MPO', save_all=True, append_images=rest)
    jpeg = encode(pattern(), 'JPEG')
    film = struct.pack('>I4s4sI', 16, b'ftyp', b'mp42', 0) + bytes(100)
    for data, images in (
        ((tmp_path / 'stereo.jpg').read_bytes(), 3),
        (jpeg, 1),
        (jpeg + bytes(50), 1),
        (jpeg + film, 2),
        (jpeg + b'vendor' + bytes(10) + b'MotionPhoto_Data' + film, 2),
        (jpeg + jpeg[:-9], 2),
    ):
        assert check_image(data).images == images
        assert decode_first(data)[1] == images


def test_images_of_a_png_are_counted_and_not_believed(tmp_path):
    first, *rest = (Image.fromarray(np.roll(pattern(), 9 * n, axis=1)) for n in range(3))
    first.save(tmp_path / 'a.png', save_all=True, append_images=rest)
    data = (tmp_path / 'a.png').read_bytes()
    place = data.index(b'acTL')
    control = b'acTL' + struct.pack('>II', 1, 0)
    checked = control + struct.pack('>I', zlib.crc32(control))
    (tmp_path / 'a.png').write_bytes(data[:place] + checked + data[place + len(checked) :])
    assert check_image((tmp_path / 'a.png').read_bytes()).images == 3
    assert is_clip(tmp_path / 'a.png') is True
    reader = AnimationReader(tmp_path / 'a.png')
    images = dict(reader.read(range(3)))
    assert len(images) == 3 or reader.problem
