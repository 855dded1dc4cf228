# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iid_mm.datasets.functional import distortion
from iid_mm.datasets.functional.distortion import DISTORTIONS, LEVELS, strength
from iid_mm.errors import InputError
from iid_mm.utils.typing import ImageArray

SINGLE = [kind for kind in DISTORTIONS if kind != 'video_compression']
SEED = distortion.sample_seed('ffpp/youtube/c23/000', 7, '00007.png', 'block_wise')


def pixel(*bgr: int) -> ImageArray:
    return np.array([[bgr]], np.uint8)


class TestSaturation:
    def test_one_pixel_by_hand(self) -> None:
        # Luma 0.114 * 10 + 0.587 * 20 + 0.299 * 200 = 72.68; blue 72.68 + 0.4 * (10 - 72.68) = 47.608.
        changed = distortion.change_saturation(pixel(10, 20, 200), 0.4)
        assert changed[0, 0].tolist() == [48, 52, 124]

    def test_factor_0_is_the_gray_image(self, photo: ImageArray) -> None:
        gray = distortion.change_saturation(photo, 0)
        assert np.ptp(gray.astype(int), axis=2).max() == 0
        expected = cv2.cvtColor(photo, cv2.COLOR_BGR2GRAY).astype(int)
        assert np.abs(gray[..., 0] - expected).max() <= 1

    def test_factor_1_changes_nothing(self, photo: ImageArray) -> None:
        np.testing.assert_array_equal(distortion.change_saturation(photo, 1), photo)

    def test_opencv_s_chroma_is_scaled(self, photo: ImageArray) -> None:
        """Independent: Cr and Cb shrink about 128, Y stays, up to rounding."""
        before = cv2.cvtColor(photo, cv2.COLOR_BGR2YCrCb).astype(float)
        after = cv2.cvtColor(distortion.change_saturation(photo, 0.3), cv2.COLOR_BGR2YCrCb).astype(float)
        assert np.abs(after[..., 0] - before[..., 0]).max() <= 1
        assert np.abs(after[..., 1:] - (128 + 0.3 * (before[..., 1:] - 128))).max() <= 1.5


def test_contrast_multiplies() -> None:
    # 0.35 * 200 = 70; 0.35 * 255 = 89.25; 0.35 * 10 = 3.5, to even.
    assert distortion.change_contrast(pixel(10, 200, 255), 0.35)[0, 0].tolist() == [4, 70, 89]


class TestBlocks:
    def test_count_follows_the_shorter_side(self) -> None:
        assert distortion.block_count((256, 256), 16) == 16
        assert distortion.block_count((512, 1024), 16) == 32
        # As many as a 128th of the frame would have by the rule, where whole multiples give none.
        assert distortion.block_count((300, 128), 16) == 8
        assert distortion.block_count((4, 4), 16) == 1

    @given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 60), st.integers(0, 99))
    @settings(max_examples=60, deadline=None)
    def test_blocks_are_whole_and_inside(self, height: int, width: int, count: int, seed: int) -> None:
        clean = np.zeros((height, width, 3), np.uint8)
        changed = distortion.paste_blocks(clean, 1, distortion.sample_seed('v', seed, 'x', 'block_wise'))
        assert clean.max() == 0
        rows, columns = np.nonzero(changed[..., 0])
        assert set(np.unique(changed)) <= {0, 128}
        assert np.ptp(rows) + 1 == min(8, height, width) == np.ptp(columns) + 1
        more = distortion.paste_blocks(clean, count, distortion.sample_seed('v', seed, 'x', 'block_wise'))
        # Those of a smaller count are among them.
        assert (more[changed > 0] == 128).all()

    def test_covered_part(self) -> None:
        covered = distortion.paste_blocks(np.zeros((256, 256, 3), np.uint8), 80, SEED)[..., 0] > 0
        # 80 blocks of 64 px would cover 5120 px if none overlapped.
        assert 4300 < covered.sum() <= 5120

    def test_places_are_those_of_the_seed(self) -> None:
        changed = distortion.paste_blocks(np.zeros((100, 100, 3), np.uint8), 1, SEED)[..., 0]
        rows, columns = np.nonzero(changed)
        draws = np.random.RandomState(SEED).random_sample(2)
        assert (columns.min(), rows.min()) == (int(draws[0] * 93), int(draws[1] * 93))


class TestNoise:
    @pytest.mark.parametrize('variance', [0.0001, 0.001])
    def test_variance_of_every_channel(self, variance: float) -> None:
        """From the conversion matrix: 255 / 219 of luma, and 255 / 224 of chroma times its coefficients."""
        noise = (
            distortion.gaussian_noise(np.full((300, 300, 3), 128, np.uint8), variance, SEED).astype(float)
            - 128
        )
        luma, chroma = (255 / 219) ** 2, (255 / 224) ** 2
        factors = [
            luma + 1.772**2 * chroma,
            luma + (0.344136**2 + 0.714136**2) * chroma,
            luma + 1.402**2 * chroma,
        ]
        expected = 255**2 * variance * np.array(factors) + 1 / 12
        assert noise.reshape(-1, 3).var(axis=0) == pytest.approx(expected, rel=0.02)
        # Four standard errors of 300 x 300 draws.
        assert np.abs(noise.reshape(-1, 3).mean(axis=0)).max() < 4 * np.sqrt(expected.max()) / 300

    def test_luma_and_chroma_noise_are_equal_and_independent(self) -> None:
        """Independent: converted to limited-range YCbCr, all components have the variance asked for."""
        noise = (
            distortion.gaussian_noise(np.full((300, 300, 3), 128, np.uint8), 0.001, SEED).astype(float) - 128
        )
        blue, green, red = (noise[..., i] / 255 for i in range(3))
        y = 0.299 * red + 0.587 * green + 0.114 * blue
        components = np.stack([y * 219 / 255, (blue - y) / 1.772 * 224 / 255, (red - y) / 1.402 * 224 / 255])
        covariance = np.cov(components.reshape(3, -1))
        np.testing.assert_allclose(covariance, 0.001 * np.eye(3), atol=3e-5)

    def test_stronger_noise_is_the_same_noise_larger(self, photo: ImageArray) -> None:
        gray = np.full_like(photo, 128)
        one = distortion.gaussian_noise(gray, 0.0001, SEED).astype(float) - 128
        four = distortion.gaussian_noise(gray, 0.0004, SEED).astype(float) - 128
        assert np.abs(four - 2 * one).max() <= 1.5


def test_blur_is_the_published_kernel(photo: ImageArray) -> None:
    """Independent: a separable filter with exp(-x^2 / 2 sigma^2), sigma a sixth of the side."""
    x = np.arange(7) - 3
    kernel = np.exp(-(x**2) / (2 * (7 / 6) ** 2))
    kernel /= kernel.sum()
    expected = cv2.sepFilter2D(photo.astype(np.float64), -1, kernel, kernel)
    assert np.abs(distortion.gaussian_blur(photo, 7) - expected).max() <= 1


def test_downscaling_by_hand() -> None:
    """2 x 2 means of a 4 x 4 image; enlarged, its corners keep them."""
    image = np.repeat((np.arange(16) * 10).reshape(4, 4, 1), 3, axis=2).astype(np.uint8)
    small = distortion.downscale(image, 2)
    # (0 + 10 + 40 + 50) / 4 and (100 + 110 + 140 + 150) / 4
    assert (small[0, 0, 0], small[3, 3, 0]) == (25, 125)
    assert distortion.downscale(image, 100).shape == (4, 4, 3)


class TestAll:
    def test_published_strengths(self) -> None:
        assert DISTORTIONS['saturation'].values == (0.4, 0.3, 0.2, 0.1, 0.0)
        assert DISTORTIONS['contrast'].values == (0.85, 0.725, 0.6, 0.475, 0.35)
        assert DISTORTIONS['block_wise'].values == (16, 32, 48, 64, 80)
        assert DISTORTIONS['gaussian_noise'].values == (0.001, 0.002, 0.005, 0.01, 0.05)
        assert DISTORTIONS['gaussian_blur'].values == (7, 9, 13, 17, 21)
        assert DISTORTIONS['downscaling'].values == (2, 3, 4, 5, 6)
        assert DISTORTIONS['video_compression'].values == (30, 32, 35, 38, 40)
        assert DISTORTIONS['jpeg'].values == (25, 18, 15, 10, 7)

    @pytest.mark.parametrize('kind', SINGLE)
    def test_damage_grows_with_the_level(self, kind: str, photo: ImageArray) -> None:
        before = photo.copy()
        likeness = []
        for level in LEVELS:
            changed = distortion.distort_image(photo, kind, strength(kind, level), SEED)
            assert (changed.shape, changed.dtype) == (photo.shape, photo.dtype)
            again = distortion.distort_image(photo, kind, strength(kind, level), SEED)
            np.testing.assert_array_equal(changed, again)
            likeness.append(distortion.psnr(photo, changed))
        np.testing.assert_array_equal(photo, before)
        assert all(b < a for a, b in pairwise(likeness)), likeness

    @pytest.mark.parametrize('kind', SINGLE)
    @pytest.mark.parametrize('shape', [(1, 1), (3, 2), (7, 40)])
    def test_tiny_images(self, kind: str, shape: tuple[int, int]) -> None:
        image = np.full((*shape, 3), 90, np.uint8)
        assert distortion.distort_image(image, kind, strength(kind, 5), SEED).shape == image.shape

    def test_video_compression_needs_a_video(self, photo: ImageArray) -> None:
        with pytest.raises(ValueError, match='single image'):
            distortion.distort_image(photo, 'video_compression', 30, SEED)


class TestSeed:
    def test_depends_on_each_part(self) -> None:
        parts = ('ffpp/youtube/c23/000', 7, '00007.png', 'block_wise')
        others = (
            ('ffpp/youtube/c23/001', *parts[1:]),
            (parts[0], 8, *parts[2:]),
            (*parts[:2], '00007_1.png', parts[3]),
            (*parts[:3], 'gaussian_noise'),
        )
        assert distortion.sample_seed(*parts).tolist() == SEED.tolist()
        seeds = {tuple(distortion.sample_seed(*other).tolist()) for other in (parts, *others)}
        assert len(seeds) == 5

    def test_never_changes(self) -> None:
        """The first word of sha256(b'v\\n1\\nx\\nk'), from `printf 'v\\n1\\nx\\nk' | sha256sum`."""
        assert int(distortion.sample_seed('v', 1, 'x', 'k')[0]) == 0x4E3A4EA3


def test_unknown_kind_or_level() -> None:
    with pytest.raises(InputError, match="'fog' is unknown; choose from saturation, contrast"):
        strength('fog', 1)
    with pytest.raises(InputError, match='level=9 of jpeg'):
        strength('jpeg', 9)
