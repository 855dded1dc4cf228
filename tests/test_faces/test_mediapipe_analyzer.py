# SPDX-License-Identifier: Apache-2.0
"""The analyzer on MediaPipe, with real faces."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import pytest

from iid_mm.faces.analyzers import AnalyzerOptions, build_analyzer, check_analyzer
from iid_mm.faces.analyzers.mediapipe_analyzer import MESH_TO_68
from iid_mm.faces.cropping import landmarks_box
from iid_mm.media.video_reader import VideoReader
from iid_mm.utils.sampling import evenly_spaced
from support.tiny_ffpp import IMAGE

# Pytest resets the filter that the analyzer sets.
pytestmark = pytest.mark.filterwarnings('ignore:SymbolDatabase.GetPrototype')

MIRROR_68 = np.array(
    [
        *range(16, -1, -1),
        *range(26, 16, -1),
        *range(27, 31),
        *range(35, 30, -1),
        *(45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40),
        *(54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55),
        *(64, 63, 62, 61, 60, 67, 66, 65),
    ],
    dtype=np.int64,
)
"""(68,) iBUG point that each point becomes in a mirrored image."""


def test_mesh_table():
    assert MESH_TO_68.shape == (68,)
    assert len(set(MESH_TO_68.tolist())) == 68
    assert MESH_TO_68.max() < 468
    # Mirroring twice is the identity; the middle line stays.
    np.testing.assert_array_equal(MIRROR_68[MIRROR_68], np.arange(68))
    middle = np.flatnonzero(np.arange(68) == MIRROR_68).tolist()
    assert middle == [8, 27, 28, 29, 30, 33, 51, 57, 62, 66]


@pytest.fixture(scope='session')
def mediapipe_analyzer():
    if find_spec('mediapipe') is None:
        pytest.skip('mediapipe is not installed')
    assert check_analyzer(AnalyzerOptions())
    return build_analyzer(AnalyzerOptions(), Path())


@pytest.fixture(scope='session')
def real_frames(mini_ffpp):
    video = mini_ffpp / 'original_sequences/youtube/c23/videos/001.mp4'
    reader = VideoReader(video)
    return [image for _, image in reader.read(evenly_spaced(reader.count, 4))]


def test_mediapipe_on_real_faces(mediapipe_analyzer, real_frames):
    for image in real_frames:
        (face,) = mediapipe_analyzer.analyze(image)
        assert face.landmarks.shape == (68, 2)
        assert face.score > 0.5
        points = face.landmarks
        eyes = points[36:42].mean(0), points[42:48].mean(0)
        distance = np.linalg.norm(eyes[0] - eyes[1])
        # An upright face: eyes level, nose below, mouth below, chin below, all near the middle line.
        middle = (eyes[0] + eyes[1]) / 2
        assert abs(eyes[0][1] - eyes[1][1]) < 0.2 * distance
        heights = [middle[1], points[30][1], points[62][1], points[8][1]]
        assert heights == sorted(heights)
        assert np.abs(points[[27, 30, 51, 57, 8], 0] - middle[0]).max() < 0.4 * distance
        assert points[0][0] < points[36][0] < points[39][0] < points[42][0] < points[45][0]
        # The eye opening is darker inside (iris) than the cheek below.
        gray = image.mean(2)
        (x, y), (cx, cy) = np.round(eyes[0]).astype(int), np.round(eyes[0] + (0, 0.5 * distance)).astype(int)
        assert gray[y - 3 : y + 4, x - 3 : x + 4].mean() < gray[cy - 3 : cy + 4, cx - 3 : cx + 4].mean()


def test_mediapipe_does_not_depend_on_the_order(mediapipe_analyzer, real_frames):
    forward = [mediapipe_analyzer.analyze(image)[0].landmarks for image in real_frames]
    backward = [mediapipe_analyzer.analyze(image)[0].landmarks for image in real_frames[::-1]]
    for first, second in zip(forward, backward[::-1], strict=True):
        np.testing.assert_array_equal(first, second)


def test_mediapipe_mirrored(mediapipe_analyzer, real_frames):
    """The table is symmetric: a mirrored face gives the mirrored points."""
    image = real_frames[0]
    points = mediapipe_analyzer.analyze(image)[0].landmarks
    mirrored = mediapipe_analyzer.analyze(np.ascontiguousarray(image[:, ::-1]))[0].landmarks
    back = mirrored[MIRROR_68] * (-1, 1) + (image.shape[1] - 1, 0)
    side = np.ptp(landmarks_box(points).reshape(2, 2), axis=0).max()
    assert np.linalg.norm(back - points, axis=1).mean() < 0.02 * side


def test_mediapipe_is_not_half_a_pixel_off(mediapipe_analyzer, real_frames):
    """On small faces, points of mirrored images differ on average by twice the offset of the points."""
    offsets = []
    for image in real_frames:
        box = mediapipe_analyzer.analyze(image)[0].box
        small = image[: image.shape[0] // 4 * 4, : image.shape[1] // 4 * 4]
        small = small.reshape(small.shape[0] // 4, 4, -1, 4, 3).mean((1, 3)).astype(np.uint8)
        box = (box + 0.5) / 4 - 0.5
        width = small.shape[1] - 1
        mirrored = np.float32([width - box[2], box[1], width - box[0], box[3]])
        (face,) = mediapipe_analyzer.analyze(small, box)
        (other,) = mediapipe_analyzer.analyze(np.ascontiguousarray(small[:, ::-1]), mirrored)
        back = other.landmarks[MIRROR_68] * (-1, 1) + (width, 0)
        offsets.append((face.landmarks - back)[:, 0].mean() / 2)
    assert abs(np.mean(offsets)) < 0.2


def test_mediapipe_hint(mediapipe_analyzer, real_frames):
    first = mediapipe_analyzer.analyze(real_frames[0])[0]
    (face,) = mediapipe_analyzer.analyze(real_frames[0], first.box)
    np.testing.assert_array_equal(face.landmarks, first.landmarks)
    assert face.score == 0
    (moved,) = mediapipe_analyzer.analyze(real_frames[1], first.box)
    own = mediapipe_analyzer.analyze(real_frames[1])[0]
    assert np.abs(moved.landmarks - own.landmarks).mean() < 3
    away = first.box * 0 + np.array([0, 0, 40, 40], np.float32)
    assert mediapipe_analyzer.analyze(real_frames[0], away) == []


def test_mediapipe_searches_around_a_hint(mediapipe_analyzer, real_frames):
    """The mesh does not accept a face half a box away; the detector looks at what is around."""
    first = mediapipe_analyzer.analyze(real_frames[0])[0]
    side = first.box[2] - first.box[0]
    (face,) = mediapipe_analyzer.analyze(real_frames[0], first.box + 0.55 * side * np.float32([1, 0, 1, 0]))
    assert face.score > 0.4
    assert np.abs(face.landmarks - first.landmarks).mean() < 0.03 * side


def test_mediapipe_finds_a_small_face_in_a_large_frame(mediapipe_analyzer, real_frames):
    large = np.full((1080, 1920, 3), 128, np.uint8)
    small = real_frames[0][::4, ::4]
    large[600:720, 1500:1620] = small
    (face,) = mediapipe_analyzer.analyze(large)
    own = mediapipe_analyzer.analyze(real_frames[0])[0]
    expected = own.landmarks / 4 + (1500, 600)
    assert np.abs(face.landmarks - expected).mean() < 3


def test_mediapipe_without_a_face(mediapipe_analyzer):
    assert mediapipe_analyzer.analyze(IMAGE) == []


def test_mediapipe_prepares_a_real_video(mini_ffpp, mediapipe_analyzer, tmp_path):
    from iid_mm.preparation.layouts import scan_layout
    from iid_mm.preparation.layouts.base import LayoutOptions
    from iid_mm.preparation.pool import build_processor
    from iid_mm.preparation.records import group_records
    from iid_mm.preparation.settings import Settings

    scan = scan_layout('ffpp', mini_ffpp, LayoutOptions(methods=('Deepfakes',)))
    group = next(g for g in group_records(scan.records) if len(g.records) == 2)
    settings = Settings('ffpp', 'c23', ('Deepfakes',), 'mediapipe', '', frames=3)
    processor = build_processor(settings, AnalyzerOptions(), mini_ffpp, tmp_path)
    result = processor.process(group)
    assert [(video.asked, video.found) for video in result.videos] == [(3, 3), (3, 3)]
    rows = sorted(result.rows, key=lambda row: (row['label'], row['frame']))
    for real, forged in zip(rows[:3], rows[3:], strict=True):
        assert forged['source_image'] == real['image']
        assert forged['crop_window'] == real['crop_window']
        assert real['detector_score'] > 0.5
        assert not np.array_equal(forged['landmarks'], real['landmarks'])
        assert np.abs(np.subtract(forged['landmarks'], real['landmarks'])).mean() < 8


def test_all_faces_of_a_group_and_small_ones_beside_a_large_one(mediapipe_analyzer, mini_ffpp):
    videos = sorted((mini_ffpp / 'original_sequences/youtube/c23/videos').glob('*.mp4'))[:6]
    heads = [next(VideoReader(video).read([0]))[1] for video in videos]
    group = np.vstack([np.hstack(heads[:3]), np.hstack(heads[3:])])
    assert len(mediapipe_analyzer.analyze_all(group)) == 6
    assert mediapipe_analyzer.take_problems() == ''
    small = np.vstack([cv2.resize(head, (160, 160), interpolation=cv2.INTER_AREA) for head in heads])
    both = np.hstack([cv2.resize(heads[0], (960, 960)), small])
    assert len(mediapipe_analyzer.analyze_all(both)) == 7
    limited = build_analyzer(AnalyzerOptions(max_faces=4), Path())
    assert len(limited.analyze_all(group)) == 4
    assert limited.take_problems() == '6 faces found, 4 analyzed'
    # One face stays one.
    assert len(mediapipe_analyzer.analyze_all(heads[0])) == 1
