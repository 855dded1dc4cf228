# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import correlate

from iid_mm.datasets.functional.dssim import best_window, dssim_map


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
