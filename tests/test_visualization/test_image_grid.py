# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from iid_mm.errors import InputError
from iid_mm.visualization.drawing import INK, ORANGE, PAPER, put_text, text_size
from iid_mm.visualization.image_grid import add_caption, add_heading, image_grid, side_by_side, wrapped


def gray(height: int, width: int, value: int = 128) -> np.ndarray:
    return np.full((height, width, 3), value, dtype=np.uint8)


def test_a_line_that_nearly_fits_is_set_smaller() -> None:
    line = 'truth: fake (NeuralTextures)'
    image = gray(20, text_size(line, 14)[0] + 10)
    captioned = add_caption(image, ['', line], size=16)
    step = text_size('', 16)[1]
    band = np.full((2 * 5 + 2 * step, image.shape[1], 3), PAPER, dtype=np.uint8)
    assert (captioned[20:] == put_text(band, line, (5, 5 + step), size=14)).all()


def test_a_caption_leaves_the_image_uncovered() -> None:
    image = gray(50, 120)
    captioned = add_caption(image, ['fake', 'Deepfakes'], accent=ORANGE)
    assert (captioned[:50] == 128).all()
    assert (captioned[50] == ORANGE).all()
    assert captioned.shape[0] > 50 + 2 * text_size('', 13)[1]


def test_grid_shape_and_places() -> None:
    images = [gray(10, 10, value) for value in (10, 60, 110, 160, 210)]
    grid = image_grid(images, columns=3, cell=20, gap=4)
    assert grid.shape == (2 * 24 + 4, 3 * 24 + 4, 3)
    for number, value in enumerate((10, 60, 110, 160, 210)):
        row, column = divmod(number, 3)
        top, left = 4 + 24 * row, 4 + 24 * column
        assert (grid[top : top + 20, left : left + 20] == value).all()
    assert (grid[28:48, 52:72] == 255).all(), 'the last cell stays empty'


def test_grid_scales_wide_images_and_keeps_captions_level() -> None:
    images = [gray(10, 40), gray(40, 10)]
    grid = image_grid(
        images, ['one line', ['two', 'lines']], columns=8, cell=(100, 80), accents=[None, ORANGE]
    )
    assert grid.shape[1] == 2 * 108 + 8
    assert (grid[8 + 28 : 8 + 52, 8:108] == 128).all()
    assert (grid[8 + 28, 8:108] == 128).all()


def test_bad_grids_are_refused() -> None:
    with pytest.raises(InputError, match='0 images in columns=8'):
        image_grid([])
    with pytest.raises(InputError, match='1 captions and 2 accents for 2 images'):
        image_grid([gray(9, 9)] * 2, ['one'])
    with pytest.raises(InputError, match=r'shape \(9, 9\) and type uint8'):
        image_grid([np.zeros((9, 9), np.uint8)])


def test_headings_are_wrapped() -> None:
    lines = wrapped('one two three four five', 90, 14)
    assert ' '.join(lines) == 'one two three four five'
    assert len(lines) > 1
    assert all(text_size(line, 14)[0] <= 90 for line in lines)
    sheet = add_heading(gray(50, 200, 90), ['title', 'a note that needs more than one line of text'])
    assert sheet.shape[1] == 200
    assert (sheet[-50:] == 90).all()
    assert (sheet[:30] == INK).all(axis=2).any()


def test_rows_and_cells_of_the_largest_image() -> None:
    row = side_by_side([gray(10, 20, 1), gray(10, 30, 2)])
    assert row.shape == (10, 56, 3)
    assert (row[:, 20:26] == 255).all()
    grid = image_grid([gray(10, 20, 1), gray(40, 30, 2)], columns=2, cell=None)
    assert grid.shape == (8 + 40 + 8, 8 + 30 + 8 + 30 + 8, 3)
