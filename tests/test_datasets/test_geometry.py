# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iid_mm.datasets.functional import alignment
from iid_mm.datasets.functional.geometry import (
    MIRRORED,
    bounding_window,
    check_landmarks,
    compose,
    fit_similarity,
    flip_boxes,
    flip_landmarks,
    flip_matrix,
    hull_mask,
    transform_points,
    warp_image,
)
from iid_mm.errors import InputError

numbers = st.floats(-300, 300, allow_nan=False)


@settings(max_examples=60, deadline=None)
@given(
    points=st.lists(st.tuples(numbers, numbers), min_size=5, max_size=5),
    zoom=st.floats(0.1, 5),
    angle=st.floats(-np.pi, np.pi),
    shift=st.tuples(numbers, numbers),
)
def test_fit_recovers_a_similarity(points: list, zoom: float, angle: float, shift: tuple) -> None:
    source = np.array(points)
    if np.ptp(source, axis=0).max() < 1:
        return
    turn = zoom * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = fit_similarity(source, source @ turn.T + shift)
    np.testing.assert_allclose(matrix, np.column_stack([turn, shift]), atol=1e-6)


def umeyama(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Independent solution by singular value decomposition (Umeyama 1991), det > 0 enforced."""
    mean_s, mean_t = source.mean(0), target.mean(0)
    covariance = (target - mean_t).T @ (source - mean_s) / len(source)
    left, values, right = np.linalg.svd(covariance)
    signs = np.array([1.0, np.sign(np.linalg.det(left) * np.linalg.det(right))])
    turn = left @ np.diag(signs) @ right
    zoom = (values * signs).sum() / (source - mean_s).var(0).sum()
    return np.column_stack([zoom * turn, mean_t - zoom * turn @ mean_s])


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**31), mirrored=st.booleans())
def test_fit_agrees_with_umeyama(seed: int, mirrored: bool) -> None:
    rng = np.random.default_rng(seed)
    source = rng.normal(size=(5, 2)) * 50
    target = source * [-1 if mirrored else 1, 1] + rng.normal(size=(5, 2)) * 5
    np.testing.assert_allclose(fit_similarity(source, target), umeyama(source, target), atol=1e-8)


def test_fit_refuses_coinciding_points() -> None:
    with pytest.raises(InputError, match='coincide'):
        fit_similarity(np.ones((5, 2)), alignment.template((224, 224)))


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**31), angle=st.floats(-180, 180), shift=st.tuples(numbers, numbers))
def test_compose_and_round_trip(seed: int, angle: float, shift: tuple) -> None:
    rng = np.random.default_rng(seed)
    points = rng.uniform(-200, 200, (7, 2))
    first = alignment.jitter_matrix((224, 200), shift, angle, (1.02, 1))
    second = alignment.jitter_matrix((64, 64), (1, 2), -2 * angle)
    both = compose(second, first)
    stepwise = transform_points(transform_points(points, first), second)
    np.testing.assert_allclose(transform_points(points, both), stepwise, atol=2e-3)
    inverse = np.linalg.inv(np.vstack([first, [0, 0, 1]]))[:2]
    back = transform_points(transform_points(points, first), inverse)
    np.testing.assert_allclose(back, points, atol=2e-3)


@pytest.mark.parametrize('zoom', [0.2, 0.4, 0.7, 1.6])
def test_warp_moves_pixels_where_points_go(zoom: float) -> None:
    image = np.zeros((400, 300, 3), dtype=np.uint8)
    image[240:261, 140:161] = 255  # center (150, 250)
    angle = np.deg2rad(20)
    turn = zoom * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    wanted = np.array([70.0, 60.0])
    matrix = np.column_stack([turn, wanted - turn @ [150, 250]])
    warped = warp_image(image, matrix, (130, 120))
    assert warped.shape == (120, 130, 3)
    weight = warped[..., 0].astype(float)
    rows, columns = np.mgrid[:120, :130]
    found = np.array([(columns * weight).sum(), (rows * weight).sum()]) / weight.sum()
    np.testing.assert_allclose(found, wanted, atol=0.1)


def test_warp_reduces_by_area() -> None:
    # Columns alternate between 0 and 255; a reduction must give the mean, not one of them.
    image = np.zeros((320, 320, 3), dtype=np.uint8)
    image[:, ::2] = 255
    warped = warp_image(image, np.array([[0.2, 0, 0], [0, 0.2, 0]]), (64, 64))
    assert np.abs(warped[2:-2, 2:-2].astype(int) - 127).max() <= 30


def test_check_landmarks() -> None:
    check_landmarks(np.zeros((68, 2)))
    check_landmarks(np.zeros((81, 2)))
    for wrong in (np.zeros((67, 2)), np.zeros((68, 3)), np.zeros(136), [[0, 0]] * 68, None):
        with pytest.raises(InputError, match=r'x: .*|x has shape .*expected \(68, 2\) or \(81, 2\)'):
            check_landmarks(wrong, 'x')
    bad = np.zeros((68, 2))
    bad[3, 1] = np.nan
    with pytest.raises(InputError, match='NaN'):
        check_landmarks(bad)


def test_hull_of_a_square_and_points_inside() -> None:
    points = np.array([(2, 3), (6, 3), (6, 8), (2, 8), (4, 5), (3, 4)], dtype=np.float32)
    expected = np.zeros((12, 10), dtype=np.uint8)
    expected[3:9, 2:7] = 1
    np.testing.assert_array_equal(hull_mask(points, (10, 12)), expected)


def test_hull_clips_to_the_canvas() -> None:
    points = np.array([(-1e9, -1e9), (1e9, -1e9), (1e9, 1e9), (-1e9, 1e9)], dtype=np.float32)
    assert hull_mask(points, (7, 5)).tolist() == [[1] * 7] * 5
    assert not hull_mask(points / 1e9 - 50, (7, 5)).any()


def test_bounding_window() -> None:
    mask = np.zeros((20, 30), dtype=np.uint8)
    assert bounding_window(mask) is None
    mask[5:9, 0:4] = 1
    assert bounding_window(mask) == (0, 5, 4, 9)
    assert bounding_window(mask, margin=2) == (0, 3, 6, 11)


def test_flips_by_hand() -> None:
    boxes = np.array([[0, 0, 224, 224], [10, 20, 50, 100]], dtype=np.float32)
    assert flip_boxes(boxes, 224).tolist() == [[0, 0, 224, 224], [174, 20, 214, 100]]
    landmarks = np.zeros((68, 2), dtype=np.float32)
    landmarks[48], landmarks[54] = (3, 9), (20, 8)  # corners of the mouth
    flipped = flip_landmarks(landmarks, 30)
    assert flipped[48].tolist() == [9, 8]
    assert flipped[54].tolist() == [26, 9]


@pytest.mark.parametrize('count', [68, 81])
def test_mirrored_index_is_its_own_inverse(count: int) -> None:
    order = MIRRORED[count]
    assert sorted(order) == list(range(count))
    assert (order[order] == np.arange(count)).all()
    fixed = np.flatnonzero(order == np.arange(count)).tolist()
    assert fixed == [8, 27, 28, 29, 30, 33, 51, 57, 62, 66] + ([71] if count == 81 else [])


box = st.tuples(st.integers(0, 99), st.integers(0, 79), st.integers(1, 100), st.integers(1, 80))


@given(st.lists(box, max_size=4))
def test_flipped_boxes_stay_inside_and_return(raw: list) -> None:
    boxes = np.array(
        [(x, y, min(100, x + w), min(80, y + h)) for x, y, w, h in raw], dtype=np.float32
    ).reshape(-1, 4)
    flipped = flip_boxes(boxes, 100)
    assert (flipped >= 0).all()
    assert (flipped <= [100, 80, 100, 80]).all()
    assert (flipped[:, :2] < flipped[:, 2:]).all()
    np.testing.assert_array_equal(flip_boxes(flipped, 100), boxes)


def test_flipped_matrix_follows_the_points() -> None:
    matrix = np.array([[0.7, -0.1, 4.0], [0.1, 0.7, -3.0]])
    point = np.array([11.0, 13.0, 1.0])
    x, y = matrix @ point
    assert (flip_matrix(matrix, 224) @ point).tolist() == pytest.approx([223 - x, y])
