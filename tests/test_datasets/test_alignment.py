# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
from hypothesis import strategies as st

from iid_mm.datasets.functional import alignment, geometry
from iid_mm.errors import InputError

TABLE_09 = [(75.746, 92.562), (147.746, 92.383), (111.625, 144.584), (81.902, 186.024), (141.848, 185.420)]
TABLE_10 = [(71.717, 92.562), (151.717, 92.353), (111.584, 153.519), (78.558, 202.076), (145.165, 201.369)]

numbers = st.floats(-300, 300, allow_nan=False)


def make_landmarks(points: np.ndarray, count: int = 68) -> np.ndarray:
    """Landmarks whose five points are ``points``, (5, 2): all eye points sit on the eye's center."""
    landmarks = np.tile(np.asarray(points, dtype=np.float32)[2], (count, 1))
    landmarks[36:42], landmarks[42:48] = points[0], points[1]
    landmarks[30], landmarks[48], landmarks[54] = points[2], points[3], points[4]
    return landmarks


# Worked out by hand from the formula of the reference, not with this package.
TABLE_06 = [
    (87.83047, 92.56198),
    (135.83047, 92.45892),
    (111.75016, 122.58249),
    (91.93491, 146.49601),
    (131.89899, 146.14767),
]
TABLE_075 = [
    (81.78809, 92.56198),
    (141.78809, 92.42388),
    (111.68771, 132.79086),
    (86.91864, 164.83610),
    (136.87374, 164.36931),
]
TABLE_11 = [
    (67.68919, 92.56198),
    (155.68919, 92.31850),
    (111.54197, 163.48570),
    (75.21400, 219.98162),
    (148.48148, 219.15867),
]
TABLE_12 = [
    (63.66094, 92.56198),
    (159.66094, 92.28009),
    (111.50033, 174.67346),
    (71.86982, 240.08125),
    (151.79798, 239.12849),
]


@pytest.mark.parametrize(
    ('scale', 'table'),
    [
        (0.6, TABLE_06),
        (0.75, TABLE_075),
        (0.9, TABLE_09),
        (1.0, TABLE_10),
        (1.1, TABLE_11),
        (1.2, TABLE_12),
    ],
)
def test_template_is_that_of_the_reference_at_every_scale(scale: float, table: list) -> None:
    assert np.abs(alignment.template((224, 224), scale) - table).max() < 1e-3


@pytest.mark.parametrize('scale', [0, -1, 2.6, float('nan')])
def test_template_refuses_scales_without_a_face(scale: float) -> None:
    with pytest.raises(InputError, match=r'scale=.*\(0, 2\.5\]; the reference uses 0\.9'):
        alignment.template((224, 224), scale)


def test_template_scales_with_the_canvas() -> None:
    base = alignment.template((224, 224))
    np.testing.assert_allclose(alignment.template((112, 112)), base / 2)
    # A wider canvas keeps the square of the shorter side in its middle.
    np.testing.assert_allclose(alignment.template((324, 224)), base + np.array([50, 0]))


def test_five_points_by_hand() -> None:
    landmarks = np.zeros((68, 2), dtype=np.float32)
    landmarks[36:42] = [(0, 0), (1, 1), (2, 1), (3, 0), (2, -1), (1, -1)]
    landmarks[42:48] = landmarks[36:42] + np.array([10, 5])
    landmarks[30], landmarks[48], landmarks[54] = (7, 8), (1, 20), (12, 21)
    expected = [(1.5, 0), (11.5, 5), (7, 8), (1, 20), (12, 21)]
    np.testing.assert_allclose(alignment.five_points(landmarks), expected)
    more = np.concatenate([landmarks, np.full((13, 2), 99, dtype=np.float32)])
    np.testing.assert_allclose(alignment.five_points(more), expected)


def test_jitter_by_hand() -> None:
    size = (101, 101)  # center (50, 50)
    points = np.array([(50.0, 50.0), (60.0, 50.0)])

    def move(**kwargs: object) -> np.ndarray:
        return geometry.transform_points(points, alignment.jitter_matrix(size, **kwargs))

    np.testing.assert_allclose(move(), points)
    np.testing.assert_allclose(move(shift=(3, -2)), points + np.array([3, -2]))
    np.testing.assert_allclose(move(rotation=90), [(50, 50), (50, 60)], atol=1e-5)
    np.testing.assert_allclose(move(stretch=(1.5, 1)), [(50, 50), (65, 50)])
    # Stretch first, then rotation, then shift.
    np.testing.assert_allclose(
        move(stretch=(1.5, 1), rotation=90, shift=(1, 0)), [(51, 50), (51, 65)], atol=1e-5
    )
