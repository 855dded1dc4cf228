# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import cv2
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from iid_mm.datasets.functional.geometry import warp_image
from iid_mm.faces.cropping import crop_image, crop_points
from iid_mm.inference.geometry import canvas_to_frame


def test_by_hand() -> None:
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
def test_undoes_cropping_and_alignment(
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
