# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from iid_mm.media.file_structure import is_clip
from iid_mm.media.image_headers import check_image
from iid_mm.media.image_reading import decode_first
from iid_mm.media.readers import AnimationReader, ImageReader
from iid_mm.media.video_reader import VideoReader
from support.encoded_images import STORED, UPRIGHT, animation, encode, frames, needs_avif, pattern


def test_image_reader_leaves_out_damaged_images(tmp_path):
    names = [f'{number}.png' for number in range(4)]
    for name in names:
        # The suffix says nothing: JPEG data in a PNG file is read.
        (tmp_path / name).write_bytes(encode(pattern(), 'JPEG' if name == '2.png' else 'PNG'))
    (tmp_path / names[1]).write_bytes((tmp_path / names[1]).read_bytes()[:-40])
    (tmp_path / names[3]).unlink()
    reader = ImageReader(tmp_path, names, [2, 5, 7, 9])
    assert [number for number, _ in reader.read([2, 5, 7, 9])] == [2, 7]
    assert '2 of 4 images cannot be read (1.png: the file ends early)' in reader.problem


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
