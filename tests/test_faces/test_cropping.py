# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from iid_mm.datasets.functional.geometry import warp_image
from iid_mm.faces.cropping import (
    canvas_to_frame,
    crop_image,
    crop_points,
    crop_window,
    face_box,
    landmarks_box,
    stored_size,
)


def test_face_box_adds_the_forehead_and_ignores_points_past_68(square_points):
    points = np.concatenate([square_points(10, 14), np.full((13, 2), -50, np.float32)])
    np.testing.assert_allclose(landmarks_box(points[:68]), [10, 14, 30, 34])
    np.testing.assert_allclose(face_box(points), [10, 8, 30, 34])


@pytest.mark.parametrize(
    ('box', 'margin', 'expected'),
    [
        # Longer side 26, half the window 26 * 0.75 = 19.5, center (20.5, 21.5) in pixel edges.
        ((10, 8, 30, 34), 0.25, (1, 2, 40, 41)),
        ((10, 8, 30, 34), 0.0, (8, 8, 34, 34)),
        ((-5, -5, 15, 15), 0.5, (0, 0, 26, 26)),
        ((50, 30, 70, 50), 0.5, (40, 20, 64, 48)),
        ((-40, 0, -20, 20), 0.25, None),
    ],
)
def test_crop_window(box, margin, expected):
    assert crop_window(np.array(box, np.float32), (64, 48), margin) == expected


@given(
    st.floats(-100, 200), st.floats(-100, 200), st.floats(0.1, 300), st.floats(0, 2),
    st.integers(2, 200), st.integers(2, 200),
)  # fmt: skip
def test_crop_window_stays_in_the_frame(x, y, side, margin, width, height):
    window = crop_window(np.array([x, y, x + side, y + side], np.float32), (width, height), margin)
    if window is not None:
        x0, y0, x1, y1 = window
        assert 0 <= x0 < x1 <= width
        assert 0 <= y0 < y1 <= height


@pytest.mark.parametrize(
    ('window', 'size'),
    [((0, 0, 39, 39), (39, 39)), ((0, 0, 640, 320), (320, 160)), ((5, 5, 1005, 6), (320, 1))],
)
def test_stored_size(window, size):
    assert stored_size(window, 320) == size


def test_points_follow_the_pixels():
    image = np.zeros((400, 500, 3), np.uint8)
    # A square whose center is (200.5, 120.5) in pixel centers.
    image[118:124, 198:204] = 255
    window = (100, 20, 400, 320)
    crop = crop_image(image, window, 100)
    assert crop.shape == (100, 100, 3)
    moved = crop_points(np.array([[200.5, 120.5]], np.float32), window, 100)
    # (200.5 - 100 + 0.5) / 3 - 0.5
    np.testing.assert_allclose(moved, [[33.1666667, 33.1666667]], rtol=1e-6)
    assert moved.dtype == np.float32
    weights = crop[..., 0].astype(float)
    ys, xs = np.mgrid[:100, :100]
    center = ((weights * xs).sum() / weights.sum(), (weights * ys).sum() / weights.sum())
    np.testing.assert_allclose(center, moved[0], atol=0.02)


def test_small_windows_are_kept_as_they_are():
    image = np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8)
    np.testing.assert_array_equal(crop_image(image, (1, 2, 40, 41), 320), image[2:41, 1:40])
    points = np.array([[1, 2], [10.5, 20.25]], np.float32)
    np.testing.assert_allclose(crop_points(points, (1, 2, 40, 41), 320), points - (1, 2))


def test_shrinking_is_by_area():
    image = np.random.default_rng(1).integers(0, 255, (60, 60, 3), dtype=np.uint8)
    oracle = image.reshape(30, 2, 30, 2, 3).mean((1, 3))
    assert np.abs(crop_image(image, (0, 0, 60, 60), 30) - oracle).max() <= 1


def test_canvas_to_frame_by_hand() -> None:
    """A crop of 50 px for a window of 100 px, shown on a canvas of twice the crop's size."""
    # Pixel centers: canvas x = 2 * crop x + 0.5, so the edges 0 and 100 are those of the crop.
    matrix = [[2, 0, 0.5], [0, 2, 0.5]]
    polygons = canvas_to_frame([[0, 0, 100, 100], [10, 20, 30, 40]], matrix, (200, 300, 300, 400), (50, 50))
    assert np.allclose(polygons[0], [(200, 300), (300, 300), (300, 400), (200, 400)])
    assert np.allclose(polygons[1], [(210, 320), (230, 320), (230, 340), (210, 340)])
    assert canvas_to_frame(np.empty((0, 4)), matrix, (0, 0, 9, 9), (9, 9)).shape == (0, 4, 2)


@given(
    angle=st.floats(-40, 40),
    scale=st.floats(0.3, 3),
    shift=st.tuples(st.floats(-30, 30), st.floats(-30, 30)),
    place=st.tuples(st.integers(0, 200), st.integers(0, 200)),
    sides=st.tuples(st.integers(40, 400), st.integers(40, 400)),
    point=st.tuples(st.floats(-50, 500), st.floats(-50, 500)),
)
def test_canvas_to_frame_undoes_cropping_and_alignment(
    angle: float,
    scale: float,
    shift: tuple[float, float],
    place: tuple[int, int],
    sides: tuple[int, int],
    point: tuple[float, float],
) -> None:
    window = (place[0], place[1], place[0] + sides[0], place[1] + sides[1])
    crop_size = crop_image(np.zeros((700, 700, 3), np.uint8), window, 160).shape[1::-1]
    matrix = cv2.getRotationMatrix2D((30, 40), angle, scale)
    matrix[:, 2] += shift
    center = crop_points(np.array([point]), window, 160)[0].astype(np.float64)
    canvas = matrix[:, :2] @ center + matrix[:, 2]
    # A box without extent, at pixel edges.
    box = [*(canvas + 0.5), *(canvas + 0.5)]
    polygon = canvas_to_frame([box], matrix, window, (crop_size[0], crop_size[1]))[0]
    assert np.allclose(polygon, np.array(point) + 0.5, atol=1e-2)


def test_a_bright_square_comes_back_to_its_place() -> None:
    frame = np.zeros((400, 500, 3), np.uint8)
    frame[180:220, 240:280] = 255
    window = (150, 90, 390, 330)
    crop = crop_image(frame, window, 120)
    matrix = cv2.getRotationMatrix2D((60, 60), 15, 1.5)
    canvas = warp_image(crop, matrix, (160, 160))
    ys, xs = np.nonzero(canvas[..., 0] > 127)
    box = [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]
    polygon = canvas_to_frame([box], matrix, window, (120, 120))[0]
    assert np.allclose(polygon.mean(axis=0), (260, 200), atol=1.5)
    # The box of the turned square, turned back, reaches a little over the square.
    assert polygon.min(axis=0)[0] < 240 < 280 < polygon.max(axis=0)[0]
