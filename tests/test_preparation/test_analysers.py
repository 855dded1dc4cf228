# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from iid_mm.errors import InputError, MissingExtraError
from iid_mm.preparation import analysers
from iid_mm.preparation.analysers import FrameRef, PrecomputedAnalyser, build_analyser
from iid_mm.preparation.analysers.mediapipe_analyser import square_parts
from iid_mm.preparation.analysers.mesh68 import MESH_TO_68, MIRROR_68
from iid_mm.preparation.cropping import landmarks_box
from iid_mm.preparation.video import VideoReader, evenly_spaced

# Pytest resets the filter that the analyser sets.
pytestmark = pytest.mark.filterwarnings('ignore:SymbolDatabase.GetPrototype')

IMAGE = np.zeros((48, 64, 3), np.uint8)


def test_unknown_and_missing_analysers(tmp_path, monkeypatch):
    with pytest.raises(InputError, match=r"analyser='dlib' is unknown.*mediapipe, precomputed"):
        build_analyser('dlib', tmp_path)

    def no_version(name):
        raise analysers.PackageNotFoundError(name)

    monkeypatch.setattr(analysers, 'version', no_version)
    with pytest.raises(MissingExtraError, match=r"pip install 'iid-mm\[mediapipe\]'"):
        build_analyser('mediapipe', tmp_path)


def make_side_file(root: Path, table) -> Path:
    path = root / 'landmarks' / 'a' / 'b.npy'
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, table)
    return root / 'a' / 'b.mp4'


def test_precomputed_faces(tmp_path, square_points):
    table = np.stack([square_points(3, 4), np.full((68, 2), np.nan)]).astype(np.float64)
    video = make_side_file(tmp_path, table)
    analyser = PrecomputedAnalyser(tmp_path)
    assert analyser.check_video(video) == ''
    (face,) = analyser.analyse(IMAGE, where=FrameRef(video, 0))
    assert face.landmarks.dtype == np.float32
    np.testing.assert_array_equal(face.landmarks, square_points(3, 4))
    np.testing.assert_array_equal(face.box, [3, 4, 23, 24])
    assert analyser.analyse(IMAGE, where=FrameRef(video, 1)) == []
    assert analyser.analyse(IMAGE, where=FrameRef(video, 2)) == []
    with pytest.raises(InputError, match='needs to know the frame'):
        analyser.analyse(IMAGE)


@pytest.mark.parametrize(
    ('table', 'message'),
    [
        (np.zeros((5, 70, 2), np.float32), r'float32 \(5, 70, 2\), expected floats'),
        (np.zeros((68, 2), np.float32), 'expected floats'),
        (np.zeros((5, 68, 2), np.int64), 'int64'),
        (np.array([{}], object), 'cannot be read'),
    ],
)
def test_bad_side_files(tmp_path, table, message):
    video = make_side_file(tmp_path, table)
    text = PrecomputedAnalyser(tmp_path).check_video(video)
    assert 'b.npy' in text
    with pytest.raises(InputError, match=message):
        raise InputError(text)


@pytest.mark.parametrize('position', [0, 1, 8, 20, 60, 70, 120])
def test_damaged_side_files(tmp_path, square_points, position):
    video = make_side_file(tmp_path, np.stack([square_points(3, 4)]))
    path = tmp_path / 'landmarks/a/b.npy'
    for value in (0, 0x41, 0xD1):
        data = bytearray(path.read_bytes())
        data[position] = value
        path.write_bytes(bytes(data))
        # Whatever it is, it is told and not raised.
        assert isinstance(PrecomputedAnalyser(tmp_path).check_video(video), str)
    path.write_bytes(b'PK\x03\x04 no archive')
    assert 'cannot be read' in PrecomputedAnalyser(tmp_path).check_video(video)


def test_absurd_landmarks_are_no_face(tmp_path, square_points):
    video = make_side_file(tmp_path, np.stack([square_points(3, 4) + 1e30]))
    assert PrecomputedAnalyser(tmp_path).analyse(IMAGE, where=FrameRef(video, 0)) == []


def test_missing_side_files(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'no folder .*landmarks'):
        PrecomputedAnalyser(tmp_path)
    (tmp_path / 'landmarks').mkdir()
    assert 'x.npy' in PrecomputedAnalyser(tmp_path).check_video(tmp_path / 'x.mp4')


def test_mesh_table():
    assert MESH_TO_68.shape == (68,)
    assert len(set(MESH_TO_68.tolist())) == 68
    assert MESH_TO_68.max() < 468
    # Mirroring twice is nothing; the middle line stays.
    np.testing.assert_array_equal(MIRROR_68[MIRROR_68], np.arange(68))
    middle = np.flatnonzero(np.arange(68) == MIRROR_68).tolist()
    assert middle == [8, 27, 28, 29, 30, 33, 51, 57, 62, 66]


@pytest.mark.parametrize(('width', 'height'), [(64, 48), (1920, 1080), (1080, 1920), (300, 300)])
def test_square_parts_cover_the_image(width, height):
    seen = np.zeros((height, width), int)
    for x0, y0, x1, y1 in square_parts(width, height):
        assert x1 - x0 == y1 - y0
        assert x0 >= 0
        assert y0 >= 0
        assert x1 <= width
        assert y1 <= height
        seen[y0:y1, x0:x1] += 1
    assert seen.min() >= 1


@pytest.fixture(scope='session')
def mediapipe_analyser():
    if find_spec('mediapipe') is None:
        pytest.skip('mediapipe is not installed')
    return build_analyser('mediapipe', Path())


@pytest.fixture(scope='session')
def real_frames(mini_ffpp):
    video = mini_ffpp / 'original_sequences/youtube/c23/videos/001.mp4'
    reader = VideoReader(video)
    return [image for _, image in reader.read(evenly_spaced(reader.count, 4))]


def test_mediapipe_on_real_faces(mediapipe_analyser, real_frames):
    for image in real_frames:
        (face,) = mediapipe_analyser.analyse(image)
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


def test_mediapipe_does_not_depend_on_the_order(mediapipe_analyser, real_frames):
    forward = [mediapipe_analyser.analyse(image)[0].landmarks for image in real_frames]
    backward = [mediapipe_analyser.analyse(image)[0].landmarks for image in real_frames[::-1]]
    for first, second in zip(forward, backward[::-1], strict=True):
        np.testing.assert_array_equal(first, second)


def test_mediapipe_mirrored(mediapipe_analyser, real_frames):
    """The table is symmetric: a mirrored face gives the mirrored points."""
    image = real_frames[0]
    points = mediapipe_analyser.analyse(image)[0].landmarks
    mirrored = mediapipe_analyser.analyse(np.ascontiguousarray(image[:, ::-1]))[0].landmarks
    back = mirrored[MIRROR_68] * (-1, 1) + (image.shape[1] - 1, 0)
    side = np.ptp(landmarks_box(points).reshape(2, 2), axis=0).max()
    assert np.linalg.norm(back - points, axis=1).mean() < 0.02 * side


def test_mediapipe_hint(mediapipe_analyser, real_frames):
    first = mediapipe_analyser.analyse(real_frames[0])[0]
    (face,) = mediapipe_analyser.analyse(real_frames[0], first.box)
    np.testing.assert_array_equal(face.landmarks, first.landmarks)
    assert face.score == 0
    (moved,) = mediapipe_analyser.analyse(real_frames[1], first.box)
    own = mediapipe_analyser.analyse(real_frames[1])[0]
    assert np.abs(moved.landmarks - own.landmarks).mean() < 3
    away = first.box * 0 + np.array([0, 0, 40, 40], np.float32)
    assert mediapipe_analyser.analyse(real_frames[0], away) == []


def test_mediapipe_finds_a_small_face_in_a_large_frame(mediapipe_analyser, real_frames):
    large = np.full((1080, 1920, 3), 128, np.uint8)
    small = real_frames[0][::4, ::4]
    large[600:720, 1500:1620] = small
    (face,) = mediapipe_analyser.analyse(large)
    own = mediapipe_analyser.analyse(real_frames[0])[0]
    expected = own.landmarks / 4 + (1500, 600)
    assert np.abs(face.landmarks - expected).mean() < 3


def test_mediapipe_without_a_face(mediapipe_analyser):
    assert mediapipe_analyser.analyse(IMAGE) == []


def test_mediapipe_prepares_a_real_video(mini_ffpp, mediapipe_analyser, tmp_path):
    from iid_mm.preparation.group import GroupProcessor
    from iid_mm.preparation.layouts import scan_layout
    from iid_mm.preparation.records import LayoutOptions, group_records
    from iid_mm.preparation.settings import Settings

    scan = scan_layout('ffpp', mini_ffpp, LayoutOptions(methods=('Deepfakes',)))
    group = next(g for g in group_records(scan.records) if len(g.records) == 2)
    settings = Settings('ffpp', 'c23', ('Deepfakes',), 'mediapipe', '', frames=3)
    result = GroupProcessor(settings, mediapipe_analyser, tmp_path).process(group)
    assert [(video.asked, video.found) for video in result.videos] == [(3, 3), (3, 3)]
    genuine, fake = result.rows[:3], result.rows[3:]
    for real, forged in zip(genuine, fake, strict=True):
        assert forged['source_image'] == real['image']
        assert forged['crop_window'] == real['crop_window']
        assert forged['detector_score'] == real['detector_score'] > 0.5
        assert not np.array_equal(forged['landmarks'], real['landmarks'])
        assert np.abs(forged['landmarks'] - real['landmarks']).mean() < 8
