# SPDX-License-Identifier: Apache-2.0
"""The analyzer on insightface, with models of the true signatures that find colored squares."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from iid_mm.faces.analyzers import AnalyzerOptions, build_analyzer
from support.media import write_video
from support.onnx_models import draw_face, face_landmarks

pytestmark = [
    pytest.mark.skipif(
        any(find_spec(name) is None for name in ('insightface', 'onnxruntime', 'onnx')),
        reason='insightface, onnxruntime or onnx is not installed',
    ),
    pytest.mark.usefixtures('no_network'),
]


BLUE, GREEN, RED = 0, 1, 2


@pytest.fixture(scope='session')
def analyzer(home):
    return build_analyzer(AnalyzerOptions('insightface', home), Path())


def gray(width=640, height=480) -> np.ndarray:
    return np.full((height, width, 3), 90, np.uint8)


def square_box(left, top, side) -> np.ndarray:
    """Outer edges of a square, where pixel centers are whole numbers."""
    return np.float32([left, top, left + side, top + side]) - np.float32(0.5)


def assert_face(face, left, top, side, tolerance=0.1):
    np.testing.assert_allclose(face.box, square_box(left, top, side), atol=tolerance)
    np.testing.assert_allclose(face.landmarks, face_landmarks(left, top, side), atol=tolerance)
    assert face.landmarks.shape == (68, 2)
    assert face.landmarks.dtype == face.box.dtype == np.float32


def test_several_faces(analyzer):
    image = gray()
    draw_face(image, 100, 200, 120, RED)
    draw_face(image, 400, 50, 60, GREEN)
    draw_face(image, 500, 300, 90, BLUE)
    red, green, blue = analyzer.analyze(image)
    assert_face(red, 100, 200, 120)
    assert_face(green, 400, 50, 60)
    assert_face(blue, 500, 300, 90)
    assert [face.score for face in (red, green, blue)] == pytest.approx([0.946, 0.893, 0.845], abs=2e-3)
    assert analyzer.seconds.keys() == {'detection', 'landmarks'}


def test_no_face(analyzer):
    assert analyzer.analyze(gray()) == []
    assert analyzer.analyze(gray(40, 30), np.float32([0, 0, 10, 10])) == []
    dim = gray()
    draw_face(dim, 100, 200, 120, RED, value=120)
    assert analyzer.analyze(dim) == []


@pytest.mark.parametrize('size', [(640, 480), (480, 640), (300, 300), (1920, 1080), (1080, 1920), (333, 517)])
def test_images_of_any_shape_fit_into_the_square_input(analyzer, size):
    image = gray(*size)
    side = min(size) // 4
    left, top = size[0] - side - 7, size[1] - side - 11
    draw_face(image, left, top, side, GREEN)
    (face,) = analyzer.analyze(image)
    # The box is known to a part of a pixel of the 640 px input.
    assert_face(face, left, top, side, tolerance=max(size) / 640)


@pytest.mark.parametrize('size', [(1, 1), (3, 2), (2000, 3), (1, 40)])
def test_images_that_show_no_face_at_all(analyzer, size):
    assert analyzer.analyze(gray(*size)) == []
    assert analyzer.analyze(gray(*size), np.float32([0, 0, 2, 2])) == []


def test_close_up(analyzer):
    """Too large for the large input of the detector, found in the small one."""
    image = gray(300, 300)
    draw_face(image, 5, 8, 285, RED)
    (face,) = analyzer.analyze(image)
    assert_face(face, 5, 8, 285, tolerance=1.5)


def test_small_face_far_from_the_origin(analyzer):
    """Seven pixels of the 640 px input, which the detector misses, but 20 of the part around it."""
    image = gray(1920, 1080)
    draw_face(image, 1700, 900, 20, GREEN)
    assert analyzer._detect(image, (128, 640), 0.5) == []
    (face,) = analyzer.analyze(image)
    assert_face(face, 1700, 900, 20)


def test_hint_chooses_the_face(analyzer):
    image = gray()
    draw_face(image, 100, 200, 60, RED)
    draw_face(image, 200, 200, 60, BLUE)
    (face,) = analyzer.analyze(image, square_box(195, 210, 66))
    assert_face(face, 200, 200, 60)
    assert face.score == pytest.approx(0.85, abs=0.01)
    (face,) = analyzer.analyze(image, square_box(110, 190, 50))
    assert_face(face, 100, 200, 60)
    assert analyzer.analyze(image, square_box(500, 20, 60)) == []
    # A face of quite another size is somebody else.
    assert analyzer.analyze(image, square_box(-500, -500, 1600)) == []
    assert analyzer.analyze(image, square_box(900, 900, 60)) == []


def test_hint_finds_what_the_search_of_the_image_misses(analyzer):
    image = gray(1920, 1080)
    draw_face(image, 1000, 500, 10, RED)
    assert analyzer.analyze(image) == []
    (face,) = analyzer.analyze(image, square_box(1004, 497, 11))
    assert_face(face, 1000, 500, 10)
    # Near a hint, less evidence is enough.
    image = gray()
    draw_face(image, 100, 200, 120, RED, value=120)
    (face,) = analyzer.analyze(image, square_box(90, 210, 110))
    assert_face(face, 100, 200, 120)
    assert face.score == pytest.approx(0.95 * 120 / 255, abs=0.02)


def test_hint_at_the_edge(analyzer):
    image = gray()
    draw_face(image, 0, 0, 50, GREEN)
    (face,) = analyzer.analyze(image, square_box(-20, -10, 60))
    assert_face(face, 0, 0, 50)


def test_results_do_not_depend_on_the_order(analyzer, home):
    rng = np.random.default_rng(0)
    images = [rng.integers(80, 100, (200 + 40 * i, 300, 3), dtype=np.uint8) for i in range(4)]
    for i, image in enumerate(images):
        draw_face(image, 20 + 30 * i, 50, 60 + i, i % 3)
    forward = [analyzer.analyze(image) for image in images]
    fresh = build_analyzer(AnalyzerOptions('insightface', home), Path())
    backward = [fresh.analyze(image) for image in images[::-1]][::-1]
    for first, second in zip(forward, backward, strict=True):
        assert len(first) == 1
        np.testing.assert_array_equal(first[0].landmarks, second[0].landmarks)
        np.testing.assert_array_equal(first[0].box, second[0].box)
        assert first[0].score == second[0].score


def test_at_most_some_faces(home):
    from iid_mm.faces.analyzers.insightface_analyzer import InsightFaceAnalyzer

    image = gray()
    draw_face(image, 100, 200, 120, BLUE)
    draw_face(image, 400, 50, 60, RED)
    (face,) = InsightFaceAnalyzer(home, 'cpu', max_faces=1).analyze(image)
    assert_face(face, 400, 50, 60)


def test_one_thread_on_the_cpu(analyzer):
    for model in (analyzer._detector, analyzer._landmarks):
        assert model.session.get_providers() == ['CPUExecutionProvider']
        options = model.session.get_session_options()
        assert options.intra_op_num_threads == options.inter_op_num_threads == 1


def test_a_video_from_end_to_end(home, tmp_path):
    from iid_mm.preparation.pool import build_processor
    from iid_mm.preparation.records import VideoGroup
    from iid_mm.preparation.settings import Settings
    from iid_mm.structures.video_record import VideoFile, VideoRecord

    frames = []
    for t in range(6):
        image = gray(320, 240)
        if t != 3:
            draw_face(image, 100 + 4 * t, 80, 64, GREEN)
        frames.append(image)
    path = write_video(tmp_path / 'data' / 'v.mp4', frames)
    key = 'set/real/native/v'
    record = VideoRecord(VideoFile(path), 'set', 'real', 'native', 'v', key, 0, 'test')
    settings = Settings('folder', 'native', None, 'insightface', '', frames=6, margin=0.5)
    options = AnalyzerOptions('insightface', home)
    processor = build_processor(settings, options, tmp_path / 'data', tmp_path / 'out')
    result = processor.process(VideoGroup(key, record))
    assert [row['frame'] for row in result.rows] == [0, 1, 2, 4, 5]
    for row in result.rows:
        x0, y0 = row['crop_window'][:2]
        points = np.reshape(row['landmarks'], (68, 2)) + np.float32([x0, y0])
        # Compression blurs colors over two pixels.
        np.testing.assert_allclose(points, face_landmarks(100 + 4 * row['frame'], 80, 64), atol=1.5)
