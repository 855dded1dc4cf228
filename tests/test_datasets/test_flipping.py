# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from iid_mm.datasets.functional.flipping import MIRRORED, flip_boxes, flip_landmarks, flip_matrix


def test_by_hand() -> None:
    boxes = np.array([[0, 0, 224, 224], [10, 20, 50, 100]], dtype=np.float32)
    assert flip_boxes(boxes, 224).tolist() == [[0, 0, 224, 224], [174, 20, 214, 100]]
    landmarks = np.zeros((68, 2), dtype=np.float32)
    landmarks[48], landmarks[54] = (3, 9), (20, 8)  # corners of the mouth
    flipped = flip_landmarks(landmarks, 30)
    assert flipped[48].tolist() == [9, 8]
    assert flipped[54].tolist() == [26, 9]


@pytest.mark.parametrize('count', [68, 81])
def test_index_swap_is_its_own_inverse(count: int) -> None:
    order = MIRRORED[count]
    assert sorted(order) == list(range(count))
    assert (order[order] == np.arange(count)).all()
    fixed = np.flatnonzero(order == np.arange(count)).tolist()
    assert fixed == [8, 27, 28, 29, 30, 33, 51, 57, 62, 66] + ([71] if count == 81 else [])


box = st.tuples(st.integers(0, 99), st.integers(0, 79), st.integers(1, 100), st.integers(1, 80))


@given(st.lists(box, max_size=4))
def test_boxes_stay_inside_and_return(raw: list) -> None:
    boxes = np.array(
        [(x, y, min(100, x + w), min(80, y + h)) for x, y, w, h in raw], dtype=np.float32
    ).reshape(-1, 4)
    flipped = flip_boxes(boxes, 100)
    assert (flipped >= 0).all()
    assert (flipped <= [100, 80, 100, 80]).all()
    assert (flipped[:, :2] < flipped[:, 2:]).all()
    np.testing.assert_array_equal(flip_boxes(flipped, 100), boxes)


def test_matrix_follows_the_points() -> None:
    matrix = np.array([[0.7, -0.1, 4.0], [0.1, 0.7, -3.0]])
    point = np.array([11.0, 13.0, 1.0])
    x, y = matrix @ point
    assert (flip_matrix(matrix, 224) @ point).tolist() == pytest.approx([223 - x, y])
