# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import io
import struct

import cv2
import numpy as np
import pytest
from PIL import Image, features

from iid_mm.errors import InputError
from iid_mm.media import image_headers, image_reading
from iid_mm.media.image_reading import decode_first, decode_image
from support.damage import damage_bytes
from support.encoded_images import (
    OPENCV_FORMATS,
    STORED,
    UPRIGHT,
    detailed_image,
    encode,
    encode_detailed,
    needs_avif,
    pattern,
)


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
    stored = Image.fromarray(decode_image(data))
    image = decode_image(data[:20] + segment + other + data[20:])
    # The inverse of how it is stored: quarter turns are the other way round.
    inverse = {6: STORED[8], 8: STORED[6]}.get(tag, STORED[tag])
    expected = stored if inverse is None else stored.transpose(inverse)
    np.testing.assert_array_equal(image, np.asarray(expected))


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
    source = Image.fromarray(pattern())
    if mode == 'RGBA':
        # The color of what is not seen is kept: an alpha channel is dropped, not composed.
        source.putalpha(Image.fromarray(np.full((32, 48), 128, np.uint8)))
    else:
        source = source.convert(mode)
    options = {'lossless': True, 'exact': True} if kind == 'WEBP' else {}
    options = {'quality': 100, 'subsampling': '4:4:4'} if kind == 'AVIF' else options
    expected = np.asarray(source.convert('RGB'))[..., ::-1].astype(int)
    image = decode_image(encode(source, kind, **options)).astype(int)
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


@pytest.mark.parametrize('suffix', OPENCV_FORMATS)
def test_damaged_images(suffix):
    data = encode_detailed(suffix, OPENCV_FORMATS[suffix])
    sound = decode_image(data)
    refused = 0
    for seed in range(50):
        kind, bad = damage_bytes(data, np.random.default_rng([seed, 9]))
        try:
            image = decode_image(bad)
        except InputError:
            refused += 1
            continue
        # What is cut off is noticed in every format, every changed byte only in PNG.
        assert kind != 'cut'
        assert image.dtype == np.uint8
        assert image.ndim == 3
        if suffix == '.png':
            np.testing.assert_array_equal(image, sound)
    assert refused >= 4


def test_damaged_coding_of_jpeg():
    data = encode_detailed('.jpg')
    sound = decode_image(data).astype(int)
    start = data.index(b'\xff\xda') + 20
    changed = refused = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        bad = bytearray(data)
        for place in rng.integers(start, len(data) - 2, 20):
            bad[place] = rng.integers(0, 255)
        # What OpenCV makes of it on its own.
        image = cv2.imdecode(np.frombuffer(bad, np.uint8), cv2.IMREAD_COLOR)
        if image is None or np.abs(image - sound).mean() < 1:
            continue
        changed += 1
        try:
            decode_image(bytes(bad))
        except InputError:
            refused += 1
    assert changed > 80
    assert refused > 0.5 * changed


@pytest.mark.parametrize('mode', ['L', 'RGB', 'CMYK'])
@pytest.mark.parametrize('options', [{}, {'progressive': True}, {'quality': 1}, {'subsampling': 1}])
def test_sound_jpeg_of_every_kind(mode, options):
    image = Image.fromarray(np.ascontiguousarray(detailed_image()[:95, :127, ::-1])).convert(mode)
    file = io.BytesIO()
    image.save(file, 'JPEG', **options)
    assert decode_image(file.getvalue()).shape == (95, 127, 3)


def test_what_is_no_image():
    with pytest.raises(InputError, match='the file is empty'):
        decode_image(b'')
    for data in (b'GIF89a' + bytes(50), b'text', bytes(1000), b'\x89PNG', b'RIFF\0\0'):
        with pytest.raises(InputError):
            decode_image(data)
