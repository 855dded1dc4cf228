# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from scipy.ndimage import correlate
from scipy.sparse.linalg import spsolve

from iid_mm.datasets.functional import facial_swap
from iid_mm.datasets.functional.facial_swap import (
    best_window,
    dssim_map,
    elastic_deform,
    feather,
    poisson_blend,
)
from iid_mm.datasets.functional.geometry import window_mask


def smooth_image(seed: int, size: tuple[int, int] = (96, 80), low: int = 60, high: int = 190) -> np.ndarray:
    coarse = np.random.default_rng(seed).uniform(low, high, (6, 6, 3)).astype(np.float32)
    return cv2.resize(coarse, size, interpolation=cv2.INTER_LINEAR).astype(np.uint8)


def ellipse(size: tuple[int, int] = (96, 80), center: tuple[int, int] = (50, 42)) -> np.ndarray:
    mask = np.zeros((size[1], size[0]), dtype=np.uint8)
    cv2.ellipse(mask, center, (26, 30), 0, 0, 360, 1, -1)
    return mask


def test_alpha_blend_by_hand() -> None:
    source = np.full((2, 3, 3), 200, dtype=np.uint8)
    target = np.full((2, 3, 3), 100, dtype=np.uint8)
    mask = np.array([[0, 0.25, 1], [0.5, 1, 0]], dtype=np.float32)
    blended = facial_swap.alpha_blend(source, target, mask)
    assert blended[..., 0].tolist() == [[100, 125, 200], [150, 200, 100]]
    full = np.full_like(source, 255)
    assert (facial_swap.alpha_blend(full, full, mask) == 255).all()


def dense_poisson(source: np.ndarray, target: np.ndarray, mask: np.ndarray, window: tuple) -> np.ndarray:
    """Independent oracle: guided interpolation on a rectangle as a sparse linear system."""
    x0, y0, x1, y1 = window
    result = target.astype(float)
    inner = [(y, x) for y in range(y0 + 1, y1 - 1) for x in range(x0 + 1, x1 - 1)]
    number = {pixel: i for i, pixel in enumerate(inner)}
    system = sparse.lil_matrix((len(inner), len(inner)))
    right = np.zeros((len(inner), 3))
    for (y, x), i in number.items():
        for other in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
            system[i, i] += 1
            guide = source if mask[y, x] and mask[other] else target
            right[i] += guide[y, x].astype(float) - guide[other].astype(float)
            if other in number:
                system[i, number[other]] -= 1
            else:
                right[i] += target[other]
    solution = spsolve(system.tocsr(), right)
    for (y, x), i in number.items():
        result[y, x] = solution[i]
    return np.clip(np.rint(result), 0, 255)


def test_poisson_solves_the_equation() -> None:
    source, target = smooth_image(1, (24, 20)), smooth_image(2, (24, 20))
    mask = np.zeros((20, 24), dtype=np.uint8)
    mask[6:14, 5:17] = 1
    mask[6:8, 5:9] = 0
    limit = (3, 4, 19, 16)
    result = poisson_blend(source, target, mask, limit)
    # The rectangle: the mask and one pixel around it, widened to a fast length within the limit.
    x0, x1 = facial_swap._fast_range(4, 18, 3, 19)
    y0, y1 = facial_swap._fast_range(5, 15, 4, 16)
    expected = dense_poisson(source, target, mask, (x0, y0, x1, y1))
    assert np.abs(result - expected).max() <= 1  # rounding at .5


def test_poisson_agrees_with_opencv() -> None:
    source, target, mask = smooth_image(3), smooth_image(4), ellipse()
    x, y, width, height = cv2.boundingRect(mask)
    center = (x + width // 2, y + height // 2)
    reference = cv2.seamlessClone(source, target, mask * 255, center, cv2.NORMAL_CLONE).astype(int)
    # OpenCV shrinks the mask by three pixels before it solves.
    mask = cv2.erode(mask, np.ones((3, 3), np.uint8), iterations=3)
    difference = np.abs(poisson_blend(source, target, mask) - reference)
    assert difference.mean() < 0.6
    assert difference.max() <= 20  # on the edge of the mask, where OpenCV drops half gradients
    assert np.abs(reference - target).max() > 25


def test_poisson_keeps_pasted_pixels_in_place() -> None:
    # The same image on both sides, off center and asymmetric: any shift would show.
    image, mask = smooth_image(5), ellipse(center=(40, 50))
    image[30:34, 30:60] = 20
    np.testing.assert_array_equal(poisson_blend(image, image, mask), image)
    brighter = image + np.uint8(30)
    # A constant offset has no gradient: pasting must change nothing.
    assert np.abs(poisson_blend(brighter, image, mask).astype(int) - image).max() <= 1
    marked = image.copy()
    marked[48:53, 38:43] = 255
    changed = np.argwhere((poisson_blend(marked, image, mask) > image + 40).any(axis=2))
    assert changed.min(0).tolist() == [48, 38]
    assert changed.max(0).tolist() == [52, 42]


@pytest.mark.parametrize('where', ['empty', 'border', 'full'])
def test_poisson_mask_at_the_border(where: str) -> None:
    source, target = smooth_image(6), smooth_image(7)
    mask = np.zeros(target.shape[:2], dtype=np.uint8)
    if where == 'border':
        mask[:40, 60:] = 1
    elif where == 'full':
        mask[:] = 1
    before = (source.copy(), target.copy(), mask.copy())
    result = poisson_blend(source, target, mask)
    for old, new in zip(before, (source, target, mask), strict=True):
        np.testing.assert_array_equal(old, new)
    edge = np.ones(mask.shape, dtype=bool)
    edge[1:-1, 1:-1] = False
    np.testing.assert_array_equal(result[edge], target[edge])
    assert (result != target).any() == (where != 'empty')


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    x=st.integers(0, 40),
    y=st.integers(0, 30),
    w=st.integers(3, 50),
    h=st.integers(3, 45),
)
def test_poisson_stays_inside_the_limit(seed: int, x: int, y: int, w: int, h: int) -> None:
    source, target = smooth_image(seed), smooth_image(seed + 1)
    limit = (x, y, x + w, y + h)
    result = poisson_blend(source, target, ellipse(), limit)
    outside = window_mask(np.ones(target.shape[:2], np.uint8), limit) == 0
    np.testing.assert_array_equal(result[outside], target[outside])


def test_elastic_zero_and_constant_displacement() -> None:
    mask = np.zeros((40, 50), dtype=np.uint8)
    mask[10:20, 15:30] = 1
    np.testing.assert_array_equal(elastic_deform(mask, np.zeros((3, 3, 2))), mask)
    # The value at (x, y) is read at (x + dx, y + dy): the mask moves by (-dx, -dy).
    field = np.zeros((3, 3, 2))
    field[..., 0], field[..., 1] = 4, -3
    expected = np.zeros_like(mask)
    expected[13:23, 11:26] = 1
    np.testing.assert_array_equal(elastic_deform(mask, field), expected)


def test_feather_reach_and_inside() -> None:
    mask = np.zeros((30, 30), dtype=np.uint8)
    mask[10:20, 10:20] = 1
    soft = feather(mask)
    assert soft.dtype == np.float32
    assert soft[12:18, 12:18].min() == 1
    inside = np.zeros_like(mask, dtype=bool)
    inside[8:22, 8:22] = True
    assert soft[inside].min() > 0
    assert soft[~inside].max() == 0


@settings(max_examples=40, deadline=None)
@given(x=st.integers(0, 20), y=st.integers(0, 20), width=st.integers(1, 20), height=st.integers(1, 20))
def test_window_mask_with_margin_keeps_the_feather_inside(x: int, y: int, width: int, height: int) -> None:
    full = np.ones((40, 40), dtype=np.uint8)
    window = (x, y, x + width, y + height)
    expected = np.zeros_like(full)
    expected[y : y + height, x : x + width] = 1
    np.testing.assert_array_equal(window_mask(full, window), expected)
    inner = window_mask(full, window, margin=2)
    assert inner.sum() == max(0, width - 4) * max(0, height - 4)
    soft = feather(inner)
    assert not soft[expected == 0].any()


def reference_dssim(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Textbook SSIM in float64 with an explicit 2-D window."""
    a, b = (cv2.cvtColor(image, cv2.COLOR_BGR2GRAY).astype(np.float64) for image in (first, second))
    steps = np.arange(-5, 6)
    window = np.exp(-(steps[:, None] ** 2 + steps**2) / (2 * 1.5**2))
    window /= window.sum()

    def mean(image: np.ndarray) -> np.ndarray:
        return correlate(image, window, mode='mirror')

    mean_a, mean_b = mean(a), mean(b)
    var_a, var_b = mean(a * a) - mean_a**2, mean(b * b) - mean_b**2
    cov = mean(a * b) - mean_a * mean_b
    c1, c2 = 6.5025, 58.5225
    ssim = (2 * mean_a * mean_b + c1) * (2 * cov + c2)
    ssim /= (mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2)
    return (1 - ssim) / 2


@pytest.mark.parametrize('strength', [2, 20, 120])
def test_agrees_with_the_textbook(strength: int) -> None:
    rng = np.random.default_rng(strength)
    first = cv2.resize(rng.integers(0, 256, (8, 9, 3), dtype=np.uint8), (60, 50))
    noise = rng.integers(-strength, strength + 1, first.shape)
    second = np.clip(first + noise, 0, 255).astype(np.uint8)
    np.testing.assert_allclose(dssim_map(first, second), reference_dssim(first, second), atol=2e-4)


def test_equal_images_give_exactly_zero() -> None:
    image = np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype=np.uint8)
    assert (dssim_map(image, image) == 0).all()
    changed = image.copy()
    changed[20, 15] ^= 128
    score = dssim_map(image, changed)
    # The window reaches 5 px.
    assert score[15:26, 10:21].max() > 1e-3
    score[15:26, 10:21] = 0
    assert not score.any()


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**31), width=st.integers(1, 12), height=st.integers(1, 10))
def test_best_window_agrees_with_a_search(seed: int, width: int, height: int) -> None:
    score = np.random.default_rng(seed).random((10, 12), dtype=np.float32)
    sums = {
        (x, y): score[y : y + height, x : x + width].sum(dtype=np.float64)
        for y in range(11 - height)
        for x in range(13 - width)
    }
    x, y = max(sums, key=sums.__getitem__)
    assert best_window(score, (width, height)) == (x, y, x + width, y + height)


def test_best_window_of_nothing_is_the_first() -> None:
    assert best_window(np.zeros((5, 6), np.float32), (2, 3)) == (0, 0, 2, 3)
