# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import cv2
import numpy as np
import pytest

from iid_mm.errors import InputError
from iid_mm.media.image_writing import DEFAULT_FORMAT, IMAGE_FORMATS, check_quality, encode_image, write_image


def photograph(side=64, seed=0):
    rng = np.random.default_rng(seed)
    coarse = cv2.resize(rng.uniform(30, 220, (6, 6, 3)).astype(np.float32), (side, side))
    return np.clip(coarse + rng.normal(0, 3, coarse.shape), 0, 255).astype(np.uint8)


@pytest.mark.parametrize('image_format', ['webp', 'png'])
def test_lossless_formats_keep_every_pixel_and_give_the_same_bytes(tmp_path, image_format):
    image = photograph()
    image[:3, :3] = (0, 127, 255)
    for name in ('a', 'b'):
        write_image(image, tmp_path / 'new' / f'{name}.{image_format}')
    first, second = ((tmp_path / 'new' / f'{name}.{image_format}').read_bytes() for name in 'ab')
    assert first == second
    np.testing.assert_array_equal(cv2.imdecode(np.frombuffer(first, np.uint8), 1), image)
    assert sorted(path.name for path in (tmp_path / 'new').iterdir()) == [
        f'a.{image_format}',
        f'b.{image_format}',
    ]


def test_the_default_is_lossless():
    assert DEFAULT_FORMAT in IMAGE_FORMATS
    image = photograph()
    decoded = cv2.imdecode(np.frombuffer(encode_image(image, DEFAULT_FORMAT), np.uint8), 1)
    np.testing.assert_array_equal(decoded, image)


def test_one_channel_is_stored_as_png(tmp_path):
    mask = (photograph()[..., 0] > 100).astype(np.uint8) * 255
    write_image(mask, tmp_path / 'mask.png')
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / 'mask.png'), cv2.IMREAD_UNCHANGED), mask)


def test_jpeg_quality_and_color():
    image = photograph()
    sizes = [len(encode_image(image, 'jpg', quality)) for quality in (95, 98, 100)]
    assert sizes == sorted(sizes)
    assert encode_image(image, 'jpg') == encode_image(image, 'jpg', 98)
    # Color is not halved: sampling factors 1x1 of all components follow the size in the frame header.
    data = encode_image(image, 'jpg')
    start = data.index(b'\xff\xc0') + 10
    assert [data[start + 3 * part + 1] for part in range(3)] == [0x11] * 3


def test_lossy_webp():
    image = photograph()
    lossy = encode_image(image, 'webp', 95)
    assert len(lossy) < len(encode_image(image, 'webp'))
    decoded = cv2.imdecode(np.frombuffer(lossy, np.uint8), 1)
    assert 0 < np.abs(decoded.astype(int) - image).mean() < 5


@pytest.mark.parametrize(
    ('image_format', 'quality', 'message'),
    [
        ('png', 98, 'PNG has none'),
        ('jpg', 94, 'choose from 95 to 100'),
        ('jpg', 101, 'choose from 95 to 100'),
        ('webp', 0, 'choose from 95 to 100'),
        ('jpeg', None, "image_format='jpeg'"),
        ('tif', None, 'choose from webp, png, jpg'),
    ],
)
def test_bad_choices(tmp_path, image_format, quality, message):
    with pytest.raises(InputError, match=message):
        check_quality(image_format, quality)
    with pytest.raises(InputError, match=message):
        write_image(photograph(), tmp_path / f'a.{image_format}', quality)
    assert list(tmp_path.iterdir()) == []


def test_good_choices():
    for image_format, quality in (('png', None), ('jpg', None), ('jpg', 95), ('webp', 100), ('webp', None)):
        check_quality(image_format, quality)


def test_an_image_that_cannot_be_encoded(tmp_path):
    # JPEG ends at 65500 pixels a side.
    with pytest.raises((OSError, cv2.error)):
        write_image(np.zeros((1, 70000, 3), np.uint8), tmp_path / 'a.jpg')
    assert list(tmp_path.iterdir()) == []
