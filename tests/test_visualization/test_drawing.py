# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from iid_mm.errors import InputError
from iid_mm.media.image_reading import decode_image
from iid_mm.visualization.drawing import (
    INK,
    ORANGE,
    VERMILION,
    draw_boxes,
    draw_outline,
    fit_image,
    overlay_heat,
    put_text,
    shorten,
    text_size,
    write_image,
)


def gray(height: int, width: int, value: int = 128) -> np.ndarray:
    return np.full((height, width, 3), value, dtype=np.uint8)


@pytest.mark.parametrize(
    ('shape', 'size', 'expected', 'factor'),
    [
        ((56, 56), (224, 224), (224, 224), 4.0),
        ((400, 200), (100, 100), (100, 50), 0.25),
        ((100, 200), (100, 100), (50, 100), 0.5),
        ((64, 64), (64, 64), (64, 64), 1.0),
    ],
)
def test_fit_image(
    shape: tuple[int, int], size: tuple[int, int], expected: tuple[int, int], factor: float
) -> None:
    image = gray(*shape)
    scaled, found = fit_image(image, size)
    assert scaled.shape[:2] == expected
    assert found == factor
    assert (scaled == 128).all()
    assert scaled is not image


def test_box_lines_lie_where_the_box_is() -> None:
    image = gray(120, 120)
    drawn = draw_boxes(image, [[20, 30, 80, 90]], color=ORANGE)
    assert (image == 128).all(), 'the input stays as it is'
    for x, y in ((50, 30), (50, 90), (20, 60), (80, 60)):
        assert tuple(drawn[y, x]) == ORANGE
    rows, columns = np.nonzero((drawn != 128).any(axis=2))
    assert abs(int(rows.min()) - 30) <= 3
    assert abs(int(rows.max()) - 90) <= 3
    assert abs(int(columns.min()) - 20) <= 3
    assert abs(int(columns.max()) - 80) <= 3
    assert (drawn[40:80, 30:70] == 128).all(), 'the inside stays visible'


def test_a_box_beyond_the_edge_is_drawn_along_it() -> None:
    drawn = draw_boxes(gray(100, 100), [[-50, -50, 300, 300]], color=ORANGE)
    for x, y in ((50, 2), (50, 97), (2, 50), (97, 50)):
        assert tuple(drawn[y, x]) == ORANGE


def test_the_smaller_box_stays_visible_on_a_shared_edge() -> None:
    boxes = [[0, 0, 40, 40], [0, 0, 100, 100]]
    drawn = draw_boxes(gray(100, 100), boxes, color=[VERMILION, ORANGE])
    assert tuple(drawn[20, 2]) == VERMILION
    assert tuple(drawn[80, 2]) == ORANGE


def test_no_boxes_change_nothing() -> None:
    for boxes in ([], np.empty((0, 4), np.float32)):
        assert (draw_boxes(gray(50, 50), boxes, scores=[]) == 128).all()


def test_tags_stay_inside_and_apart() -> None:
    boxes = [[90, 90, 99, 99], [90, 90, 99, 99]]
    drawn = draw_boxes(gray(100, 100), boxes, scores=[0.5, 0.25])
    assert drawn.shape == (100, 100, 3)
    one = draw_boxes(gray(100, 100), boxes[:1], scores=[0.5])
    assert (drawn == ORANGE).all(axis=2).sum() > 1.5 * (one == ORANGE).all(axis=2).sum()


def test_boxes_and_tags_must_go_together() -> None:
    with pytest.raises(InputError, match='1 boxes, 2 scores and 1 colors'):
        draw_boxes(gray(50, 50), [[1, 1, 9, 9]], scores=[0.1, 0.2])


def test_text() -> None:
    image = gray(40, 200, 255)
    drawn = put_text(image, 'fake', (10, 5), size=14, color=INK)
    rows, columns = np.nonzero((drawn != 255).any(axis=2))
    width, height = text_size('fake', 14)
    assert columns.min() >= 9
    assert columns.max() <= 11 + width
    assert rows.min() >= 5
    assert rows.max() <= 5 + height
    assert shorten('fake', 200) == 'fake'
    short = shorten('manipulation/with/a/very/long/name', 100)
    assert short.startswith('mani')
    assert short.endswith('name')
    assert text_size(short, 13)[0] <= 100
    assert shorten('anything', 1) == '…'


def test_text_of_any_name() -> None:
    """Line breaks have no length in Pillow, and lone surrogates no glyph."""
    image = np.full((40, 200, 3), 255, np.uint8)
    for text in ('a\nb', 'caf\udce9', '\u202ea\x1b'):
        assert text_size(text, 13)[0] > 0
        assert put_text(image, text, (2, 2)).shape == image.shape


def test_images_are_written_whole_and_under_any_name(tmp_path: Path) -> None:
    image = np.full((8, 9, 3), 7, np.uint8)
    for name in ('a.png', 'x' * 251 + '.png', os.fsdecode(b'caf\xe9.png'), '12:30.png'):
        write_image(tmp_path / 'new' / name, image)
        assert np.array_equal(decode_image((tmp_path / 'new' / name).read_bytes()), image)
    assert len(os.listdir(tmp_path / 'new')) == 4
    for name in ('x.abc', 'bare'):
        with pytest.raises(InputError, match=r'--out .*cannot be written; use a suffix such as \.png'):
            write_image(tmp_path / name, image, argument='--out ')
    (tmp_path / 'file').touch()
    with pytest.raises(InputError, match=r'cannot be written \(.*\); choose another folder'):
        write_image(tmp_path / 'file' / 'a.png', image)
    assert sorted(os.listdir(tmp_path)) == ['file', 'new']


def test_overlay_and_outline() -> None:
    image = np.full((40, 40, 3), 90, dtype=np.uint8)
    heat = np.zeros((40, 40), dtype=np.float32)
    heat[10:30, 10:30] = 1.0
    hot = overlay_heat(image, heat)
    assert (hot[0, 0] == 90).all()
    # The hottest color is a pale yellow.
    assert hot[20, 20, 1] > 150
    assert (image == 90).all()
    assert not (draw_outline(image, np.zeros((40, 40))) != image).any()
    drawn = draw_outline(image, (heat > 0).astype(np.uint8))
    assert (drawn[20, 20] == 90).all()
    assert (drawn[10, 20] != 90).any()


def test_images_of_other_types_are_refused() -> None:
    with pytest.raises(InputError, match='type float64'):
        fit_image(np.zeros((9, 9, 3)), (5, 5))
