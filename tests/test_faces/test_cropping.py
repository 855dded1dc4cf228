# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from iid_mm.faces.cropping import crop_image, crop_points, crop_window, face_box, landmarks_box, stored_size


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
