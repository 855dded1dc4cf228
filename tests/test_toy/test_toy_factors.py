# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import zlib
from dataclasses import replace

import cv2
import numpy as np
import pytest

from iid_mm.toy import (
    Background,
    Camera,
    Clip,
    Expression,
    Factors,
    Identity,
    Light,
    Pose,
    draw_expressions,
    draw_poses,
    render_frame,
)
from iid_mm.toy.streams import stream

SIZE = 128
LIGHT = Light()


def render(identity=0, pose=None, expression=None, background=0, light=LIGHT):
    return render_frame(
        Identity.draw(0, identity),
        pose or Pose(),
        expression or Expression(),
        light,
        Background.draw(0, background),
        SIZE,
    )


def interior(landmarks, margin=3):
    """The hull of the landmarks, shrunk by a margin."""
    mask = np.zeros((SIZE, SIZE), np.uint8)
    cv2.fillConvexPoly(mask, cv2.convexHull(np.rint(landmarks).astype(np.int32)), 1)
    return cv2.erode(mask, np.ones((2 * margin + 1,) * 2, np.uint8)).astype(bool)


def test_streams_are_stable_numbers():
    assert stream(0, 'pose', 3).integers(0, 1000, 3).tolist() == (
        stream(0, 'pose', 3).integers(0, 1000, 3).tolist()
    )
    assert stream(7, 'light', 2).random() != stream(7, 'pose', 2).random()
    # What a name is turned into must never change: sets of old seeds would change with it.
    oracle = np.random.default_rng(np.random.SeedSequence([7, zlib.crc32(b'pose'), 2]))
    assert stream(7, 'pose', 2).random() == oracle.random()


def test_draws_depend_on_seed_and_index_only():
    first = Identity.draw(0, 5)
    Identity.draw(0, 4)
    assert Identity.draw(0, 5) == first
    assert Identity.draw(1, 5) != first
    assert Background.draw(0, 2) == Background.draw(0, 2) != Background.draw(0, 3)
    assert Light.draw(0, 2) == Light.draw(0, 2) != Light.draw(1, 2)
    assert draw_poses(0, 1, 4, 25) == draw_poses(0, 1, 4, 25)
    # A longer track of the same number begins with the shorter one.
    assert draw_expressions(0, 1, 8, 25)[:4] == draw_expressions(0, 1, 4, 25)


def test_frame_and_landmarks():
    image, landmarks = render()
    assert image.shape == (SIZE, SIZE, 3)
    assert image.dtype == np.uint8
    assert landmarks.shape == (68, 2)
    assert landmarks.dtype == np.float32
    again, same = render()
    np.testing.assert_array_equal(image, again)
    np.testing.assert_array_equal(landmarks, same)


@pytest.mark.parametrize('index', range(6))
def test_landmarks_are_a_face(index):
    pose = draw_poses(0, index, 1, 25)[0]
    _, points = render(index, pose, Expression(mouth_open=0.3, jaw=0.2))
    assert (points >= 0).all()
    assert (points <= SIZE - 1).all()
    left, right = points[36:42].mean(0), points[42:48].mean(0)
    nose, mouth, chin = points[30], points[48:68].mean(0), points[8]
    assert left[0] < right[0]
    assert max(left[1], right[1]) < nose[1] < mouth[1] < chin[1]
    assert points[17:22, 1].mean() < left[1]
    assert points[48, 0] < points[54, 0]
    assert points[62, 1] < points[66, 1]
    assert points[0, 0] < points[36, 0]
    assert points[45, 0] < points[16, 0]


def test_frontal_face_is_symmetric():
    _, points = render(pose=Pose())
    mirrored = points[[16, 15, 14, 13, 12, 11, 10, 9, 8]]
    middle = 0.5 * SIZE - 0.5
    np.testing.assert_allclose(points[:9, 0] + mirrored[:, 0], 2 * middle, atol=0.1)
    np.testing.assert_allclose(points[8, 0], middle, atol=1e-3)


def test_pose_moves_the_face():
    _, straight = render(pose=Pose())
    _, turned = render(pose=Pose(yaw=25))
    # The nose stands out and so moves further than the eyes, to the right.
    assert turned[30, 0] - straight[30, 0] > turned[36:48, 0].mean() - straight[36:48, 0].mean() > 0
    _, nodded = render(pose=Pose(pitch=15))
    assert nodded[30, 1] > straight[30, 1]
    _, moved = render(pose=Pose(x=0.55, y=0.5))
    np.testing.assert_allclose(moved - straight, np.tile([0.05 * SIZE, 0], (68, 1)), atol=1e-4)
    _, rolled = render(pose=Pose(roll=10))
    eyes = rolled[42:48].mean(0) - rolled[36:42].mean(0)
    assert np.degrees(np.arctan2(eyes[1], eyes[0])) == pytest.approx(10, abs=0.5)


def test_expression_moves_its_own_features():
    _, neutral = render()
    _, talking = render(expression=Expression(mouth_open=1, jaw=0.8))
    assert talking[66, 1] - talking[62, 1] > neutral[66, 1] - neutral[62, 1] + 2
    assert talking[8, 1] > neutral[8, 1] + 1
    np.testing.assert_allclose(talking[17:48], neutral[17:48], atol=0.3)
    _, blinking = render(expression=Expression(blink=1))
    assert blinking[41, 1] - blinking[37, 1] < 0.5 * (neutral[41, 1] - neutral[37, 1])
    np.testing.assert_array_equal(blinking[48:], neutral[48:])


def test_identity_changes_the_landmarks():
    _, one = render(0)
    _, two = render(1)
    assert np.abs(one - two).max() > 1


def test_background_leaves_the_face_alone():
    image, landmarks = render(background=0)
    other, same = render(background=1)
    np.testing.assert_array_equal(landmarks, same)
    inner = interior(landmarks)
    assert inner.sum() > 500
    np.testing.assert_array_equal(image[inner], other[inner])
    corner = np.s_[:20, :20]
    assert np.abs(image[corner].astype(int) - other[corner]).mean() > 5


def test_light_leaves_the_landmarks_alone():
    image, landmarks = render()
    other, same = render(light=replace(LIGHT, azimuth=-50))
    np.testing.assert_array_equal(landmarks, same)
    assert np.abs(image.astype(int) - other)[interior(landmarks)].mean() > 3


def test_camera_identity_and_noise():
    image, _ = render()
    rng = np.random.default_rng(0)
    np.testing.assert_array_equal(Camera().record(image, rng), image)
    gray = np.full((64, 64, 3), 128, np.uint8)
    noisy = Camera(noise=4.0).record(gray, rng).astype(float)
    # Shared noise and half as much noise of each channel: sqrt(1 + 0.25) * 4.
    assert noisy.std() == pytest.approx(4 * 1.25**0.5, rel=0.05)
    bright = Camera(exposure=1.5).record(gray, rng)
    np.testing.assert_array_equal(bright, 192)


def test_clip_takes_every_factor_by_itself():
    base = Factors.same(0)
    clip = Clip.draw(0, base, 2, SIZE, 25)
    other = Clip.draw(0, replace(base, identity=3), 2, SIZE, 25)
    assert other.identity == Identity.draw(0, 3)
    assert replace(other, identity=clip.identity) == clip


def test_head_at_the_edge_renders():
    image, _ = render(pose=Pose(x=0.0, y=0.02))
    assert image.shape == (SIZE, SIZE, 3)


def test_mediapipe_finds_the_faces():
    mediapipe = pytest.importorskip('mediapipe')
    detector = mediapipe.solutions.face_detection.FaceDetection(model_selection=1)
    found = 0
    for index in range(6):
        image, _ = render(index, Pose(yaw=8 * (index % 3) - 8), light=Light.draw(0, index))
        large = cv2.resize(image, (512, 512), interpolation=cv2.INTER_CUBIC)
        found += bool(detector.process(large[..., ::-1].copy()).detections)
    detector.close()
    assert found >= 5
