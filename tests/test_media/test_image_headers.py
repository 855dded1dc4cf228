# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import struct

import cv2
import numpy as np
import pytest
from PIL import Image

from iid_mm.errors import InputError
from iid_mm.media import file_structure, image_headers
from iid_mm.media.image_headers import MAX_PIXELS, check_image
from iid_mm.media.image_reading import check_jpeg_coding, decode_first, decode_image
from iid_mm.media.tiff_tags import exif_orientation
from support.encoded_images import OPENCV_FORMATS, encode, encode_detailed, pattern


@pytest.mark.parametrize('suffix', OPENCV_FORMATS)
def test_every_cut_is_noticed(suffix):
    data = encode_detailed(suffix, OPENCV_FORMATS[suffix])
    assert decode_image(data).shape == (96, 128, 3)
    for end in {0, 1, 5, 20, 40, len(data) // 2, len(data) - 300, len(data) - 2, len(data) - 1}:
        with pytest.raises(InputError):
            check_image(data[:end])


@pytest.mark.parametrize(
    'options',
    [
        [cv2.IMWRITE_JPEG_PROGRESSIVE, 1],
        [cv2.IMWRITE_JPEG_RST_INTERVAL, 4],
        [cv2.IMWRITE_JPEG_OPTIMIZE, 1, cv2.IMWRITE_JPEG_QUALITY, 100],
    ],
)
def test_kinds_of_jpeg(options):
    data = encode_detailed('.jpg', options)
    check_image(data)
    check_jpeg_coding(data)
    # Cameras append data, and put a thumbnail with its own end marker into the header.
    small = b'\xff\xe1' + (len(data) + 2).to_bytes(2, 'big') + data
    for unusual in (data + b'appended', data + data, data[:2] + small + data[2:]):
        check_image(unusual)
        check_jpeg_coding(unusual)
    with pytest.raises(InputError, match='ends early'):
        check_image(data[:2] + small + data[2 : len(data) // 2])


@pytest.mark.parametrize(
    ('head', 'position'),
    [
        (encode_detailed('.png'), 16),
        (encode_detailed('.bmp'), 18),
        (encode_detailed('.jpg'), encode_detailed('.jpg').index(b'\xff\xc0') + 5),
    ],
    ids=['png', 'bmp', 'jpg'],
)
def test_absurd_sizes_are_refused_before_decoding(head, position):
    for size in (b'\x7f\xff\xff\xff\x7f\xff\xff\xff', b'\x60\x00\x60\x00\x60\x00\x60\x00', bytes(8)):
        length = 4 if head[:2] == b'\xff\xd8' else 8
        with pytest.raises(InputError):
            decode_image(head[:position] + size[:length] + head[position + length :])


def test_large_but_sound_size_is_refused():
    bits = 16383 | 16383 << 14
    data = b'RIFF' + (40).to_bytes(4, 'little') + b'WEBPVP8L' + (28).to_bytes(4, 'little')
    data += b'\x2f' + bits.to_bytes(4, 'little') + bytes(27)
    with pytest.raises(InputError, match='16384x16384 pixels'):
        check_image(data)
    assert MAX_PIXELS < 16384**2


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
