# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torchvision.ops import box_iou

from iid_mm.errors import InputError
from iid_mm.evaluation.localization.maps import (
    GRID,
    HALF,
    LEVELS,
    box_overlaps,
    center_map,
    centered_boxes,
    coarse_map,
    coarse_mask,
    map_metrics,
    mask_box,
)

HEAT = np.array([[0.0, 1, 2, 4], [0, 0, 4, 8]])
MASK = np.array([[0, 0, 1, 1], [0, 0, 1, 1]], dtype=np.uint8)


def at(level: float) -> int:
    return LEVELS.index(level)


def test_levels() -> None:
    assert len(LEVELS) == 19
    assert (LEVELS[0], LEVELS[HALF], LEVELS[-1]) == (0.05, 0.5, 0.95)


def test_map_by_hand() -> None:
    metrics = map_metrics(HEAT, MASK)
    assert metrics.pointing == 1.0
    assert metrics.energy == 18 / 19
    # Cut at 4: the values 4, 4 and 8, all masked, of 4 masked pixels. A value at the cut belongs to it.
    assert metrics.iou[HALF] == 3 / 4
    assert metrics.iou[at(0.25)] == 1.0  # 2 and more
    assert metrics.iou[at(0.1)] == 4 / 5  # 1 and more
    assert metrics.iou[at(0.95)] == 1 / 4  # 8 alone
    np.testing.assert_array_equal(metrics.as_vector(), [1.0, 18 / 19, *metrics.iou])


def test_map_beside_the_mask() -> None:
    metrics = map_metrics(HEAT, 1 - MASK)
    assert metrics.pointing == 0.0
    assert metrics.energy == 1 / 19
    assert metrics.iou[HALF] == 0.0
    assert metrics.iou[at(0.1)] == 1 / (5 + 4 - 1)


def test_one_pixel_mask() -> None:
    mask = np.zeros((2, 4), dtype=np.uint8)
    mask[1, 3] = 1
    metrics = map_metrics(HEAT, mask)
    assert (metrics.pointing, metrics.energy) == (1.0, 8 / 19)
    assert metrics.iou[at(0.95)] == 1.0
    assert metrics.iou[HALF] == 1 / 3
    np.testing.assert_array_equal(mask_box(mask), [3, 1, 4, 2])


def test_tied_maxima_count_in_part() -> None:
    heat = np.array([[5.0, 0], [5, 5]])
    assert map_metrics(heat, np.array([[1, 1], [0, 0]], dtype=np.uint8)).pointing == 1 / 3


@pytest.mark.parametrize('value', [1e-30, 1.0, 1e30])
def test_a_flat_map_is_chance(value: float) -> None:
    mask = np.array([[1, 0, 0, 0, 0]], dtype=np.uint8)
    np.testing.assert_allclose(map_metrics(np.full((1, 5), value), mask).as_vector(), 0.2, rtol=1e-12)


def test_an_empty_map_points_nowhere() -> None:
    np.testing.assert_array_equal(map_metrics(np.zeros((2, 4)), MASK).as_vector(), 0.0)


def test_a_full_mask() -> None:
    metrics = map_metrics(HEAT, np.ones_like(MASK))
    assert (metrics.pointing, metrics.energy, metrics.iou[HALF]) == (1.0, 1.0, 3 / 8)


@pytest.mark.parametrize(
    ('heat', 'mask', 'message'),
    [
        (HEAT, MASK.T, r'shape \(2, 4\) for a mask of shape \(4, 2\)'),
        (HEAT, 0 * MASK, 'mask is empty'),
        (-HEAT, MASK, 'values from -8.0'),
        (np.where(HEAT > 5, np.nan, HEAT), MASK, 'must be finite'),
        (np.where(HEAT > 5, np.inf, HEAT), MASK, 'must be finite'),
    ],
)
def test_bad_maps(heat: np.ndarray, mask: np.ndarray, message: str) -> None:
    with pytest.raises(InputError, match=message):
        map_metrics(heat, mask)


@settings(max_examples=60, deadline=None)
@given(
    heat=hnp.arrays(np.float32, (6, 7), elements=st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.9, 1.0, 3.0])),
    mask=hnp.arrays(np.uint8, (6, 7), elements=st.sampled_from([0, 1, 255])),
)
def test_map_against_plain_loops(heat: np.ndarray, mask: np.ndarray) -> None:
    mask[2, 3] = 1
    heat[0, 0] = 0.5
    metrics = map_metrics(heat, mask)
    pixels = [(float(heat[r, c]), mask[r, c] > 0) for r in range(6) for c in range(7)]
    top = max(value for value, _ in pixels)
    hits = [inside for value, inside in pixels if value == top]
    assert metrics.pointing == pytest.approx(sum(hits) / len(hits))
    total = sum(value for value, _ in pixels)
    assert metrics.energy == pytest.approx(sum(v for v, inside in pixels if inside) / total)
    for level, iou in zip(LEVELS, metrics.iou, strict=True):
        both = sum(value >= level * top and inside for value, inside in pixels)
        either = sum(value >= level * top or inside for value, inside in pixels)
        assert iou == pytest.approx(both / either)


def test_mask_box() -> None:
    mask = np.zeros((10, 20), dtype=np.uint8)
    assert mask_box(mask) is None
    mask[2, 5] = mask[6, 9] = 1
    np.testing.assert_array_equal(mask_box(mask), [5, 2, 10, 7])
    np.testing.assert_array_equal(mask_box(np.ones((3, 4), dtype=np.uint8)), [0, 0, 4, 3])


@settings(max_examples=50, deadline=None)
@given(hnp.arrays(np.float32, (5, 4), elements=st.floats(0, 100, width=16)))
def test_overlaps_equal_torchvision(corners: np.ndarray) -> None:
    boxes = np.concatenate([corners[:, :2], corners[:, :2] + corners[:, 2:] + 1], axis=1)
    expected = box_iou(torch.tensor(boxes).double(), torch.tensor(boxes[:1]).double())[:, 0]
    np.testing.assert_allclose(box_overlaps(boxes, boxes[0]), expected, atol=1e-9)


def test_overlaps_of_special_boxes() -> None:
    assert box_overlaps(np.empty((0, 4)), np.array([0.0, 0, 1, 1])).shape == (0,)
    points = np.array([[3.0, 3, 3, 3], [5, 5, 2, 2]])
    np.testing.assert_array_equal(box_overlaps(points, np.array([0.0, 0, 10, 10])), 0.0)


def test_center_map() -> None:
    heat = center_map((4, 2))
    np.testing.assert_allclose(heat, [[0.25, 0.5, 0.5, 0.25]] * 2)
    for size in ((56, 56), (7, 12), (224, 224)):
        whole = center_map(size)
        np.testing.assert_array_equal(whole, whole[::-1, ::-1])
    # A cut at half keeps about the box of half the sides.
    kept = center_map((8, 16)) >= 0.5 * center_map((8, 16)).max()
    np.testing.assert_array_equal(mask_box(kept), [2, 3, 6, 13])


def test_centered_boxes() -> None:
    boxes = centered_boxes((20, 10))
    np.testing.assert_allclose(boxes[0], [9, 4.5, 11, 5.5])
    np.testing.assert_allclose(boxes[4], [5, 2.5, 15, 7.5])
    np.testing.assert_allclose(boxes[-1], [0, 0, 20, 10])


def test_reduction_to_the_grid() -> None:
    heat = np.zeros((4 * GRID, 4 * GRID), dtype=np.float32)
    heat[:4, :4] = 2.0
    heat[4:8, 4:6] = 1.0
    grid = coarse_map(heat)
    assert grid.dtype == np.uint8
    assert (grid[0, 0], grid[1, 1], int(grid.sum())) == (255, 64, 319)
    assert not coarse_map(0 * heat).any()
    mask = np.zeros((4 * GRID, 4 * GRID), dtype=np.uint8)
    mask[:4, :2] = 255  # half a cell
    mask[4:8, 4:5] = 255  # a quarter of one
    assert np.argwhere(coarse_mask(mask)).tolist() == [[0, 0]]
