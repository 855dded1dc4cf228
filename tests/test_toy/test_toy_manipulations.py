# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import cv2
import numpy as np
import pytest

from iid_mm.errors import InputError
from iid_mm.toy import (
    METHODS,
    Factors,
    FakePlan,
    Identity,
    ToyConfig,
    draw_expressions,
    make_clip,
    make_fake,
    manipulate,
)
from iid_mm.toy.manipulations import draw_strength
from iid_mm.toy.warp import (
    add_upsampling_pattern,
    composite,
    fit_similarity,
    hull_mask,
    move_points,
    sample_coarsely,
    warp_points,
)

CONFIG = ToyConfig(frames=3, size=128)


@pytest.fixture(scope='module')
def target():
    return make_clip(CONFIG, Factors.same(2)).render()


@pytest.fixture(scope='module')
def forgeries(target):
    return {name: make_fake(CONFIG, FakePlan(name, 2, 5), target) for name in METHODS}


@pytest.mark.parametrize('name', list(METHODS))
def test_genuine_outside_the_mask(name, target, forgeries):
    forgery = forgeries[name]
    assert forgery.frames.shape == target.frames.shape
    assert forgery.frames.dtype == forgery.masks.dtype == np.uint8
    assert set(np.unique(forgery.masks)) == {0, 255}
    outside = forgery.masks == 0
    np.testing.assert_array_equal(forgery.frames[outside], target.frames[outside])
    difference = np.abs(forgery.frames.astype(int) - target.frames).max(-1)
    changed = (difference > 3) & (forgery.masks > 0)
    assert (changed.reshape(3, -1).sum(1) > 100).all()


@pytest.mark.parametrize('name', list(METHODS))
def test_forged_landmarks_are_a_face(name, target, forgeries):
    points = forgeries[name].landmarks
    assert points.shape == (3, 68, 2)
    assert points.dtype == np.float32
    assert (points[:, 36:42, 0].mean(1) < points[:, 42:48, 0].mean(1)).all()
    assert (points[:, 30, 1] < points[:, 51, 1]).all()
    # Aligned with the target: no landmark is far from where the target's is.
    distance = np.linalg.norm(points - target.landmarks, axis=-1)
    eyes = np.linalg.norm(target.landmarks[:, 36] - target.landmarks[:, 45], axis=-1)
    assert distance.max() < 0.5 * eyes.max()


def test_methods_forge_where_they_should(target, forgeries):
    areas = {name: (forgery.masks > 0).mean() for name, forgery in forgeries.items()}
    assert areas['NeuralTextures'] < 0.75 * min(areas['FaceSwap'], areas['Face2Face'])
    for t, points in enumerate(target.landmarks):
        eyes = np.rint(points[36:48]).astype(int)
        assert not forgeries['NeuralTextures'].masks[t, eyes[:, 1], eyes[:, 0]].any()
        assert forgeries['FaceSwap'].masks[t, eyes[:, 1], eyes[:, 0]].all()
    # NeuralTextures leaves every landmark above the mouth where it was.
    np.testing.assert_array_equal(forgeries['NeuralTextures'].landmarks[:, :48], target.landmarks[:, :48])


def test_same_draws_same_forgery(target, forgeries):
    again = make_fake(CONFIG, FakePlan('FaceSwap', 2, 5), target)
    np.testing.assert_array_equal(again.frames, forgeries['FaceSwap'].frames)
    np.testing.assert_array_equal(again.landmarks, forgeries['FaceSwap'].landmarks)
    other = make_fake(CONFIG, FakePlan('FaceSwap', 2, 6), target)
    assert (other.frames != again.frames).any()


def test_forgery_takes_any_source(target):
    rng = np.random.default_rng(3)
    forgery = manipulate('Deepfakes', target, Identity.draw(9, 1), rng=rng)
    assert 0.25 <= forgery.strength <= 1


def test_manipulate_refuses_bad_input(target):
    rng = np.random.default_rng(0)
    with pytest.raises(InputError, match='unknown manipulation'):
        manipulate('FaceShifter', target, Identity.draw(0, 1), rng=rng)
    short = draw_expressions(0, 1, 2, 25)
    with pytest.raises(InputError, match=r'2 entries .* 3 frames'):
        manipulate('Face2Face', target, Identity.draw(0, 1), expressions=short, rng=rng)


def test_fit_similarity_recovers_a_known_one():
    points = np.array([[0, 0], [10, 0], [3, 7], [8, 2]], np.float32)
    # Turn by 90 degrees, double, shift by (5, 1): (x, y) -> (5 - 2 y, 1 + 2 x).
    goal = np.stack([5 - 2 * points[:, 1], 1 + 2 * points[:, 0]], axis=1)
    matrix = fit_similarity(points, goal)
    np.testing.assert_allclose(matrix, [[0, -2, 5], [2, 0, 1]], atol=1e-5)
    np.testing.assert_allclose(move_points(matrix, points), goal, atol=1e-5)


def test_warp_takes_points_to_their_goals():
    image = np.zeros((100, 100, 3), np.uint8)
    cv2.circle(image, (40, 50), 3, (255, 255, 255), -1)
    points = np.array([[40, 50], [60, 50], [50, 70]], np.float32)
    goal = np.array([[44, 47], [60, 50], [50, 70]], np.float32)
    warped = warp_points(image, points, goal)[..., 0].astype(float)
    y, x = np.mgrid[:100, :100]
    assert (warped * x).sum() / warped.sum() == pytest.approx(44, abs=0.5)
    assert (warped * y).sum() / warped.sum() == pytest.approx(47, abs=0.5)
    np.testing.assert_array_equal(warp_points(image, points, points), image)


def test_hull_mask_of_a_square():
    square = np.array([[20, 20], [60, 20], [60, 60], [20, 60]], np.float32)
    weight = hull_mask(square, 80, inset=0, feather=2)
    assert weight[40, 40] == 1
    assert weight[40, 10] == 0
    assert weight[40, 64] == 0
    assert 0.3 < weight[40, 60] < 0.9
    assert hull_mask(square, 80, inset=6, feather=2).sum() < weight.sum()


def test_composite_keeps_what_it_does_not_forge():
    genuine = np.full((4, 4, 3), 100, np.uint8)
    forged = np.full((4, 4, 3), 200, np.uint8)
    weight = np.zeros((4, 4), np.float32)
    weight[0, 0], weight[1, 1], weight[2, 2] = 1.0, 0.5, 0.001
    mixed, mask = composite(genuine, forged, weight)
    assert [mixed[i, i, 0] for i in range(4)] == [200, 150, 100, 100]
    assert [mask[i, i] for i in range(4)] == [255, 255, 0, 0]


def test_strength_scales_the_draw_and_the_change():
    drawn = [draw_strength(np.random.default_rng(3), scale) for scale in (1.0, 2.0)]
    assert 0.5 <= drawn[0] <= 1.0
    assert drawn[1] == 2 * drawn[0]


def test_upsampling_pattern_by_hand():
    gray = np.full((2, 4, 3), 100, np.uint8)
    # cos(0, pi/2, pi, 3 pi/2) across and cos(0, pi/2) down, times 10.
    expected = np.array([[110, 100, 90, 100], [100, 100, 100, 100]], np.uint8)
    np.testing.assert_array_equal(
        add_upsampling_pattern(gray, 10.0), np.repeat(expected[..., None], 3, axis=2)
    )


def test_coarse_sampling_by_hand():
    ramp = np.arange(5, dtype=np.uint8)[None, :, None].repeat(3, 0).repeat(3, 2)
    assert sample_coarsely(ramp, 2)[0, :, 0].tolist() == [0, 0, 2, 2, 4]
