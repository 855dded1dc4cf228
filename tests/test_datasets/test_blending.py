# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from scipy.sparse.linalg import spsolve

from iid_mm.datasets.functional import blending, masks


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
    blended = blending.alpha_blend(source, target, mask)
    assert blended[..., 0].tolist() == [[100, 125, 200], [150, 200, 100]]
    full = np.full_like(source, 255)
    assert (blending.alpha_blend(full, full, mask) == 255).all()


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
    result = blending.poisson_blend(source, target, mask, limit)
    # The rectangle: the mask and one pixel around it, widened to a fast length within the limit.
    x0, x1 = blending._fast_range(4, 18, 3, 19)
    y0, y1 = blending._fast_range(5, 15, 4, 16)
    expected = dense_poisson(source, target, mask, (x0, y0, x1, y1))
    assert np.abs(result - expected).max() <= 1  # rounding at .5


def test_poisson_agrees_with_opencv() -> None:
    source, target, mask = smooth_image(3), smooth_image(4), ellipse()
    x, y, width, height = cv2.boundingRect(mask)
    center = (x + width // 2, y + height // 2)
    reference = cv2.seamlessClone(source, target, mask * 255, center, cv2.NORMAL_CLONE).astype(int)
    # OpenCV shrinks the mask by three pixels before it solves.
    mask = cv2.erode(mask, np.ones((3, 3), np.uint8), iterations=3)
    difference = np.abs(blending.poisson_blend(source, target, mask) - reference)
    assert difference.mean() < 0.6
    assert difference.max() <= 20  # on the edge of the mask, where OpenCV drops half gradients
    assert np.abs(reference - target).max() > 25


def test_poisson_keeps_pasted_pixels_in_place() -> None:
    # The same image on both sides, off center and asymmetric: any shift would show.
    image, mask = smooth_image(5), ellipse(center=(40, 50))
    image[30:34, 30:60] = 20
    np.testing.assert_array_equal(blending.poisson_blend(image, image, mask), image)
    brighter = image + np.uint8(30)
    # A constant offset has no gradient: pasting must change nothing.
    assert np.abs(blending.poisson_blend(brighter, image, mask).astype(int) - image).max() <= 1
    marked = image.copy()
    marked[48:53, 38:43] = 255
    changed = np.argwhere((blending.poisson_blend(marked, image, mask) > image + 40).any(axis=2))
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
    result = blending.poisson_blend(source, target, mask)
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
    result = blending.poisson_blend(source, target, ellipse(), limit)
    outside = masks.window_mask(np.ones(target.shape[:2], np.uint8), limit) == 0
    np.testing.assert_array_equal(result[outside], target[outside])
