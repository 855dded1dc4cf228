# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from iid_mm.datasets.functional import masks


def test_hull_of_a_square_and_points_inside() -> None:
    points = np.array([(2, 3), (6, 3), (6, 8), (2, 8), (4, 5), (3, 4)], dtype=np.float32)
    expected = np.zeros((12, 10), dtype=np.uint8)
    expected[3:9, 2:7] = 1
    np.testing.assert_array_equal(masks.hull_mask(points, (10, 12)), expected)


def test_hull_clips_to_the_canvas() -> None:
    points = np.array([(-1e9, -1e9), (1e9, -1e9), (1e9, 1e9), (-1e9, 1e9)], dtype=np.float32)
    assert masks.hull_mask(points, (7, 5)).tolist() == [[1] * 7] * 5
    assert not masks.hull_mask(points / 1e9 - 50, (7, 5)).any()


def test_elastic_zero_and_constant_displacement() -> None:
    mask = np.zeros((40, 50), dtype=np.uint8)
    mask[10:20, 15:30] = 1
    np.testing.assert_array_equal(masks.elastic_deform(mask, np.zeros((3, 3, 2))), mask)
    # The value at (x, y) is read at (x + dx, y + dy): the mask moves by (-dx, -dy).
    field = np.zeros((3, 3, 2))
    field[..., 0], field[..., 1] = 4, -3
    expected = np.zeros_like(mask)
    expected[13:23, 11:26] = 1
    np.testing.assert_array_equal(masks.elastic_deform(mask, field), expected)


def test_feather_reach_and_inside() -> None:
    mask = np.zeros((30, 30), dtype=np.uint8)
    mask[10:20, 10:20] = 1
    soft = masks.feather(mask)
    assert soft.dtype == np.float32
    assert soft[12:18, 12:18].min() == 1
    inside = np.zeros_like(mask, dtype=bool)
    inside[8:22, 8:22] = True
    assert soft[inside].min() > 0
    assert soft[~inside].max() == 0


def test_bounding_window() -> None:
    mask = np.zeros((20, 30), dtype=np.uint8)
    assert masks.bounding_window(mask) is None
    mask[5:9, 0:4] = 1
    assert masks.bounding_window(mask) == (0, 5, 4, 9)
    assert masks.bounding_window(mask, margin=2) == (0, 3, 6, 11)


@settings(max_examples=40, deadline=None)
@given(x=st.integers(0, 20), y=st.integers(0, 20), width=st.integers(1, 20), height=st.integers(1, 20))
def test_window_mask_with_margin_keeps_the_feather_inside(x: int, y: int, width: int, height: int) -> None:
    full = np.ones((40, 40), dtype=np.uint8)
    window = (x, y, x + width, y + height)
    expected = np.zeros_like(full)
    expected[y : y + height, x : x + width] = 1
    np.testing.assert_array_equal(masks.window_mask(full, window), expected)
    inner = masks.window_mask(full, window, margin=2)
    assert inner.sum() == max(0, width - 4) * max(0, height - 4)
    soft = masks.feather(inner)
    assert not soft[expected == 0].any()
