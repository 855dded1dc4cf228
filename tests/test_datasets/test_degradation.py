# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import cv2
import numpy as np
import pytest

from iid_mm.datasets.functional import degradation as d


@pytest.fixture
def image() -> np.ndarray:
    coarse = np.random.default_rng(0).integers(40, 200, (6, 6, 3), dtype=np.uint8)
    return cv2.resize(coarse, (60, 48))


def flat(value: int) -> np.ndarray:
    return np.full((20, 24, 3), value, dtype=np.uint8)


def test_neutral_arguments_change_nothing(image: np.ndarray) -> None:
    np.testing.assert_array_equal(d.gamma(image, 1), image)
    np.testing.assert_array_equal(d.color_tone(image, (1, 1, 1)), image)
    np.testing.assert_array_equal(d.down_up(image, 1, cv2.INTER_AREA, cv2.INTER_LINEAR), image)
    np.testing.assert_array_equal(d.low_frequency_noise(image, np.zeros((4, 4, 3))), image)
    np.testing.assert_array_equal(d.motion_blur(image, 1, 0), image)
    # 8-bit HSV is itself coarse.
    assert np.abs(d.shift_hsv(image, 0, 0, 0).astype(int) - image).max() <= 6


def test_tables_by_hand() -> None:
    assert (d.gamma(flat(64), 0.5) == round(255 * (64 / 255) ** 0.5)).all()
    toned = d.color_tone(flat(200), (0.5, 1, 2))
    assert toned[0, 0].tolist() == [100, 200, 255]
    red = np.zeros((4, 4, 3), dtype=np.uint8)
    red[..., 2] = 200
    assert d.shift_hsv(red, 60, 0, 20)[0, 0].tolist() == [0, 220, 0]  # 120 degrees on: green
    assert d.shift_hsv(red, 240 - 180, 0, 0)[0, 0].tolist() == d.shift_hsv(red, -120, 0, 0)[0, 0].tolist()


def test_min_max_stretch() -> None:
    image = flat(50)
    image[0, 0] = (60, 100, 75)
    stretched = d.min_max_stretch(image)
    assert stretched[1, 1].tolist() == [0, 0, 0]
    assert stretched[0, 0].tolist() == [51, 255, 127]  # (v - 50) * 5.1; 25 * 5.1 is just below 127.5
    np.testing.assert_array_equal(d.min_max_stretch(flat(9)), flat(9))


def test_noise() -> None:
    noisy = d.gaussian_noise(flat(128), 5.0, seed=3)
    channels = noisy.reshape(-1, 3).astype(float)
    assert np.abs(channels.std(axis=0) - 5).max() < 0.6
    assert np.abs(channels.mean(axis=0) - 128).max() < 0.6
    assert np.abs(np.corrcoef(channels.T) - np.eye(3)).max() < 0.2
    np.testing.assert_array_equal(noisy, d.gaussian_noise(flat(128), 5.0, seed=3))
    assert (noisy != d.gaussian_noise(flat(128), 5.0, seed=4)).any()
    assert (d.low_frequency_noise(flat(128), np.full((3, 5, 3), 7.0)) == 135).all()
    assert (d.low_frequency_noise(flat(250), np.full((3, 5, 3), 7.0)) == 255).all()


def test_sharpening_steepens_edges() -> None:
    """A step from 100 to 150: a Gaussian takes off what the unsharp mask adds."""
    image = flat(100)
    image[:, 12:] = 150
    blurred = d.gaussian_blur(image, 1.0).astype(int)
    expected = np.clip(image + 2 * (image - blurred), 0, 255)
    found = d.sharpen(image, 1.0, 2.0)
    assert np.abs(found - expected).max() <= 1
    assert found[0, 11, 0] < 100 < 150 < found[0, 12, 0]
    assert (found[:, :8] == 100).all()
    np.testing.assert_array_equal(d.sharpen(image, 1.0, 0.0), image)


def test_motion_blur_direction() -> None:
    image = np.zeros((21, 21, 3), dtype=np.uint8)
    image[10, 10] = 250
    across = d.motion_blur(image, 5, 0)[..., 0]
    assert across[10, 8:13].tolist() == [50] * 5
    assert across.sum() == 250
    np.testing.assert_array_equal(d.motion_blur(image, 5, 90)[..., 0], across.T)


def test_blurs_and_codecs(image: np.ndarray) -> None:
    sharp = image.copy()
    sharp[::2] = 0
    for result in (
        d.gaussian_blur(sharp, 1.0),
        d.down_up(sharp, 2.0, cv2.INTER_AREA, cv2.INTER_CUBIC),
    ):
        assert result.shape == image.shape
        assert result.dtype == np.uint8
        assert result.astype(float).std() < sharp.astype(float).std()
    error = [np.abs(d.jpeg(image, q).astype(int) - image).mean() for q in (95, 50, 10)]
    assert error == sorted(error)
    assert error[0] < 3


def test_transfer_color_of_flat_images() -> None:
    image, goal = np.full((4, 4, 3), 90, np.uint8), np.full((4, 4, 3), 150, np.uint8)
    mask = np.ones((4, 4), np.float32)
    np.testing.assert_array_equal(d.transfer_color(image, goal, mask, 0, 100), 150)
    # Half of the difference remains, but at most 3 * sqrt(3) gray levels in all channels together.
    np.testing.assert_array_equal(d.transfer_color(image, goal, mask, 0.5, 1000), 120)
    np.testing.assert_array_equal(d.transfer_color(image, goal, mask, 0.5, 3 * 3**0.5), 147)
    np.testing.assert_array_equal(d.transfer_color(image, goal, 0 * mask, 0, 100), image)
