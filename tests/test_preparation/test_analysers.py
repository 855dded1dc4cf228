# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pickle
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from iid_mm.errors import InputError, MissingExtraError
from iid_mm.preparation import analysers
from iid_mm.preparation.analysers import (
    AnalyserOptions,
    FrameRef,
    PrecomputedAnalyser,
    build_analyser,
    check_analyser,
)
from iid_mm.preparation.analysers.mesh68 import MESH_TO_68, MIRROR_68
from iid_mm.preparation.analysers.precomputed_analyser import find_position, source_path
from iid_mm.preparation.analysers.regions import (
    choose_near,
    cut_around,
    cut_window,
    keep_distinct,
    overlap,
    square_parts,
)
from iid_mm.preparation.cropping import landmarks_box
from iid_mm.preparation.records import (
    ArchiveImages,
    ImageFiles,
    LandmarkFiles,
    LandmarkTable,
    LandmarkValues,
    VideoFile,
    VideoRecord,
)
from iid_mm.preparation.video import VideoReader, evenly_spaced
from iid_mm.testing.media import face_points

# Pytest resets the filter that the analyser sets.
pytestmark = pytest.mark.filterwarnings('ignore:SymbolDatabase.GetPrototype')

IMAGE = np.zeros((48, 64, 3), np.uint8)


def make_record(source, landmarks=None) -> VideoRecord:
    return VideoRecord(source, 'set', 'm', 'native', 'b', 'set/m/native/b', 1, 'test', landmarks=landmarks)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (AnalyserOptions('dlib'), r"analyser='dlib' is unknown.*mediapipe, insightface, precomputed"),
        (AnalyserOptions(device='tpu'), r"device='tpu' is unknown; choose from auto, cpu, cuda"),
        (AnalyserOptions(device='cuda'), r"'mediapipe' runs on the CPU; leave --device out"),
        (AnalyserOptions('precomputed', Path('m')), r"model_dir='m'.*leave --model-dir out"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(InputError, match=message):
        check_analyser(options)


@pytest.mark.parametrize('name', ['mediapipe', 'insightface'])
def test_missing_packages(name, monkeypatch):
    def no_version(package):
        raise analysers.PackageNotFoundError(package)

    monkeypatch.setattr(analysers, 'version', no_version)
    with pytest.raises(MissingExtraError, match=rf"pip install 'iid-mm\[{name}\]'"):
        check_analyser(AnalyserOptions(name))


def make_side_file(root: Path, table) -> VideoRecord:
    path = root / 'landmarks' / 'a' / 'b.npy'
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, table)
    return make_record(VideoFile(root / 'a' / 'b.mp4'))


def look_up(root: Path, record: VideoRecord, frame: int, hint=None):
    return PrecomputedAnalyser(root).analyse(IMAGE, hint, where=FrameRef(record, frame))


def test_precomputed_faces(tmp_path, square_points):
    table = np.stack([square_points(3, 4), np.full((68, 2), np.nan)]).astype(np.float64)
    record = make_side_file(tmp_path, table)
    analyser = PrecomputedAnalyser(tmp_path)
    assert not analyser.searches
    assert analyser.check_video(record) == ''
    (face,) = analyser.analyse(IMAGE, where=FrameRef(record, 0))
    assert face.landmarks.dtype == np.float32
    np.testing.assert_array_equal(face.landmarks, square_points(3, 4))
    np.testing.assert_array_equal(face.box, [3, 4, 23, 24])
    assert face.score == 1
    assert analyser.analyse(IMAGE, where=FrameRef(record, 1)) == []
    assert analyser.analyse(IMAGE, where=FrameRef(record, 2)) == []
    assert analyser.analyse(IMAGE, where=FrameRef(record, -1)) == []
    assert analyser.take_problems() == ''
    with pytest.raises(InputError, match='needs to know the frame'):
        analyser.analyse(IMAGE)


@pytest.mark.parametrize(
    ('table', 'message'),
    [
        (np.zeros((5, 70, 2), np.float32), r'float32 \(5, 70, 2\), expected numbers'),
        (np.zeros((68, 2), np.float32), 'expected numbers'),
        (np.zeros((5, 68, 2), np.complex64), 'complex64'),
        (np.zeros((5, 68, 2), 'U1'), 'expected numbers'),
        (np.zeros((5, 68, 3), np.float32), 'expected numbers'),
        (np.array([{}], object), 'cannot be read'),
    ],
)
def test_bad_side_files(tmp_path, table, message):
    record = make_side_file(tmp_path, table)
    text = PrecomputedAnalyser(tmp_path).check_video(record)
    assert 'landmarks/a/b.npy' in text
    assert str(tmp_path) not in text
    with pytest.raises(InputError, match=message):
        raise InputError(text)


class Touch:
    """Unpickling one of these writes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_pickles_are_not_opened(tmp_path):
    touched = tmp_path / 'touched'
    record = make_side_file(tmp_path, np.array([Touch(touched)], object))
    path = tmp_path / 'landmarks/a/b.npy'
    for content in (path.read_bytes(), pickle.dumps(Touch(touched))):
        path.write_bytes(content)
        assert 'cannot be read' in PrecomputedAnalyser(tmp_path).check_video(record)
        assert not touched.exists()
    np.load(tmp_path / 'landmarks/a/b.npy', allow_pickle=True)
    assert touched.exists()


@pytest.mark.parametrize('position', [0, 1, 8, 20, 60, 70, 120])
def test_damaged_side_files(tmp_path, square_points, position):
    record = make_side_file(tmp_path, np.stack([square_points(3, 4)]))
    path = tmp_path / 'landmarks/a/b.npy'
    for value in (0, 0x41, 0xD1):
        data = bytearray(path.read_bytes())
        data[position] = value
        path.write_bytes(bytes(data))
        # Whatever it is, it is told and not raised.
        assert isinstance(PrecomputedAnalyser(tmp_path).check_video(record), str)
    for content in (b'', b'PK\x03\x04 no archive', b'\x80\x04N.'):
        path.write_bytes(content)
        assert 'cannot be read' in PrecomputedAnalyser(tmp_path).check_video(record)
    with path.open('wb') as stream:
        np.savez(stream, a=np.zeros((5, 68, 2)))
    assert 'found an archive' in PrecomputedAnalyser(tmp_path).check_video(record)


def test_a_header_that_promises_too_much_is_refused(tmp_path):
    path = tmp_path / 'landmarks/a/b.npy'
    path.parent.mkdir(parents=True)
    with path.open('wb') as stream:
        shape = (10**9, 68, 2)
        np.lib.format.write_array_header_1_0(stream, {'descr': '<f4', 'fortran_order': False, 'shape': shape})
    text = PrecomputedAnalyser(tmp_path).check_video(make_record(VideoFile(tmp_path / 'a/b.mp4')))
    assert 'cannot be read' in text


@given(position=st.integers(0, 671), value=st.integers(0, 255))
def test_damaged_tables_never_crash(tmp_path_factory, position, value):
    folder = tmp_path_factory.getbasetemp() / 'damaged'
    folder.mkdir(exist_ok=True)
    record = make_record(VideoFile(folder / 'v.mp4'), LandmarkTable(folder / 't.npy'))
    np.save(folder / 't.npy', face_points(3, 4)[None].astype(np.float64))
    data = bytearray((folder / 't.npy').read_bytes())
    data[position] = value
    (folder / 't.npy').write_bytes(bytes(data))
    analyser = PrecomputedAnalyser(folder)
    if not analyser.check_video(record):
        for face in analyser.analyse(IMAGE, where=FrameRef(record, 0)):
            assert np.isfinite(face.landmarks).all()


@pytest.mark.parametrize('value', [1e30, 1e300, -2e5, np.inf])
def test_absurd_landmarks_are_no_face(tmp_path, square_points, value):
    table = np.stack([square_points(3, 4)]).astype(np.float64)
    table[0, 7, 1] = value
    assert look_up(tmp_path, make_side_file(tmp_path, table), 0) == []


def test_missing_side_files(tmp_path):
    record = make_record(VideoFile(tmp_path / 'x.mp4'))
    text = PrecomputedAnalyser(tmp_path).check_video(record)
    assert text.startswith("no folder 'landmarks'") or 'no folder' in text
    assert str(tmp_path) not in text
    (tmp_path / 'landmarks').mkdir()
    text = PrecomputedAnalyser(tmp_path).check_video(record)
    assert 'landmarks/x.npy' in text
    assert str(tmp_path) not in text


def test_no_side_file_outside_of_the_data_set(tmp_path):
    analyser = PrecomputedAnalyser(tmp_path / 'data')
    for source in (
        VideoFile(tmp_path / 'other/x.mp4'),
        VideoFile(tmp_path / 'data/../x.mp4'),
        ImageFiles(tmp_path / 'data', ('0.png', '1.png'), (0, 1)),
        ArchiveImages(tmp_path / 'data/a.tar', ('../../x/0.png', '../../x/1.png'), (0, 1)),
    ):
        record = make_record(source)
        assert 'set/m/native/b does not lie below the folder' in analyser.check_video(record)
        assert analyser.side_files(record) == []


def test_names_of_side_files(tmp_path):
    analyser = PrecomputedAnalyser(tmp_path)
    for source, expected in (
        (VideoFile(tmp_path / 'a/b.c.mp4'), 'a/b.c.npy'),
        (ImageFiles(tmp_path / 'a/b.c', ('0.png', '1.png'), (3, 5)), 'a/b.c.npy'),
        (ImageFiles(tmp_path / 'a', ('x.y.png',), (0,)), 'a/x.y.npy'),
        (ArchiveImages(tmp_path / 'a/7.tar.gz', ('12/0.png', '12/1.png'), (0, 1)), 'a/7/12.npy'),
        (ArchiveImages(tmp_path / 'a/7.TGZ', ('0.png', 'x/1.png'), (0, 1)), 'a/7.npy'),
    ):
        record = make_record(source)
        assert analyser.side_files(record) == [tmp_path / 'landmarks' / expected]
    assert source_path(ArchiveImages(Path('a/.tar'), (), ())) == Path('a/.tar')


def test_positions():
    images = ImageFiles(Path(), ('a', 'b', 'c'), (2, 5, 9))
    assert [find_position(images, n) for n in (0, 2, 5, 6, 9, 10)] == [-1, 0, 1, -1, 2, -1]
    assert [find_position(VideoFile(Path('v.mp4')), n) for n in (-1, 0, 7)] == [-1, 0, 7]


def test_images_are_looked_up_by_position(tmp_path, square_points):
    images = ImageFiles(tmp_path / 'a' / 'b', ('x.png', 'y.png'), (4, 9))
    table = np.stack([square_points(1, 1), square_points(5, 2)])
    make_side_file(tmp_path, table)
    given_table = LandmarkTable(tmp_path / 'landmarks/a/b.npy')
    for record in (make_record(images), make_record(images, given_table)):
        (face,) = look_up(tmp_path, record, 9)
        np.testing.assert_array_equal(face.landmarks, table[1])
        assert look_up(tmp_path, record, 5) == []
        assert PrecomputedAnalyser(tmp_path).side_files(record) == [given_table.path]


@pytest.fixture
def face_files(tmp_path, square_points) -> VideoRecord:
    """Frames 3, 4, 5, 7, 8: one face; two faces as whole numbers; none named; an object; two missing."""
    folder = tmp_path / 'lm'
    folder.mkdir()
    np.save(folder / '0.npy', square_points(1, 2, 20))
    np.save(folder / '1.npy', np.stack([square_points(30, 8, 20), square_points(2, 2, 10)]).astype(np.int64))
    np.save(folder / '3.npy', np.array([{}], object), allow_pickle=True)
    names = ('0.npy', '1.npy', '', '3.npy', '4.npy')
    source = ImageFiles(tmp_path / 'f', tuple('abcde'), (3, 4, 5, 7, 8))
    return make_record(source, LandmarkFiles(folder, names))


def test_landmark_files(tmp_path, face_files, square_points):
    analyser = PrecomputedAnalyser(tmp_path)
    assert analyser.check_video(face_files) == ''
    names = [path.name for path in analyser.side_files(face_files)]
    assert names == ['0.npy', '1.npy', '3.npy', '4.npy']
    (face,) = analyser.analyse(IMAGE, where=FrameRef(face_files, 3))
    np.testing.assert_array_equal(face.landmarks, square_points(1, 2, 20))
    faces = analyser.analyse(IMAGE, where=FrameRef(face_files, 4))
    assert [face.box.tolist() for face in faces] == [[30, 8, 50, 28], [2, 2, 12, 12]]
    near = analyser.analyse(IMAGE, np.float32([0, 0, 11, 11]), where=FrameRef(face_files, 4))
    assert [face.box.tolist() for face in near] == [[2, 2, 12, 12]]
    assert analyser.analyse(IMAGE, where=FrameRef(face_files, 5)) == []
    assert analyser.take_problems() == ''
    for _ in range(2):
        for frame in (7, 8):
            assert analyser.analyse(IMAGE, where=FrameRef(face_files, frame)) == []
    text = analyser.take_problems()
    assert text.startswith("landmarks 'lm/3.npy' cannot be read")
    assert text.endswith('(and 1 more like that)')
    assert analyser.take_problems() == ''


def test_empty_face_files(tmp_path, face_files):
    np.save(tmp_path / 'lm/0.npy', np.zeros((0, 68, 2)))
    analyser = PrecomputedAnalyser(tmp_path)
    assert analyser.analyse(IMAGE, where=FrameRef(face_files, 3)) == []
    assert analyser.take_problems() == ''


@pytest.mark.parametrize('name', ['../x.npy', '/x.npy', 'a/../../x.npy', 'a\\x.npy', 'C:x.npy', 'a\0b'])
def test_hostile_landmark_names_are_refused(tmp_path, name):
    record = make_record(VideoFile(tmp_path / 'v.mp4'), LandmarkFiles(tmp_path, (name,)))
    assert 'does not stay inside' in PrecomputedAnalyser(tmp_path).check_video(record)


@pytest.mark.parametrize(
    ('names', 'message'),
    [
        (('0.npy', '1.npy'), 'landmarks of 2 frames for a video of 5 frames'),
        (('',) * 5, 'no frame has landmarks'),
        (('', 'q.npy', '', 'r.npy', ''), "no landmark file is there, e.g. 'lm/q.npy'"),
    ],
)
def test_landmark_files_that_do_not_fit(tmp_path, face_files, names, message):
    record = make_record(face_files.source, LandmarkFiles(tmp_path / 'lm', names))
    assert PrecomputedAnalyser(tmp_path).check_video(record) == message


def test_landmark_values(tmp_path, square_points):
    good = tuple(face_points(4, 6, 20, count=81).ravel().tolist())
    values = LandmarkValues((good, (), (1.0, 2.0), ('x',) * 136, (float('nan'),) * 136))
    record = make_record(ImageFiles(tmp_path, tuple('abcde'), (1, 2, 3, 4, 5)), values)
    analyser = PrecomputedAnalyser(tmp_path)
    assert analyser.check_video(record) == ''
    assert analyser.side_files(record) == []
    (face,) = analyser.analyse(IMAGE, where=FrameRef(record, 1))
    np.testing.assert_array_equal(face.landmarks, face_points(4, 6, 20, count=81))
    assert [analyser.analyse(IMAGE, where=FrameRef(record, n)) for n in (2, 3, 4, 5, 6)] == [[]] * 5
    assert analyser.take_problems() == (
        'landmarks of frame 3: found 2 numbers, expected 136 or 162 (and 1 more like that)'
    )
    short = make_record(record.source, LandmarkValues((good,)))
    assert analyser.check_video(short) == 'landmarks of 1 frames for a video of 5 frames'


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


def test_strips_have_no_parts():
    assert square_parts(2000, 3) == square_parts(3, 2000) == []
    assert square_parts(8, 1)


@pytest.mark.parametrize(
    ('max_side', 'min_side', 'shape', 'scale'),
    [(0, 0, (30, 40), 1), (20, 0, (15, 20), 0.5), (0, 50, (38, 50), 1.25), (0, 500, (60, 80), 2)],
)
def test_windows_and_back(max_side, min_side, shape, scale):
    image = np.zeros((100, 120, 3), np.uint8)
    image[:, :, 0] = np.arange(120)
    region = cut_window(image, (50, 20, 90, 50), max_side=max_side, min_side=min_side)
    assert region.image.shape[:2] == shape
    np.testing.assert_allclose(region.scale, scale, rtol=0.02)
    # Corners of the part, half a pixel beyond the first and last centre, are corners of the window.
    corners = np.float32([[-0.5, -0.5], [shape[1] - 0.5, shape[0] - 0.5]])
    np.testing.assert_allclose(region.to_whole(corners), [[49.5, 19.5], [89.5, 49.5]], atol=1e-4)
    np.testing.assert_allclose(region.box_to_whole(corners.ravel()), [49.5, 19.5, 89.5, 49.5], atol=1e-4)
    # The picture says the same: the value of a pixel is its column.
    x = shape[1] // 2
    assert abs(region.to_whole(np.float32([[x, 0]]))[0, 0] - region.image[0, x, 0]) <= 1
    assert cut_around(image, np.float32([300, 10, 320, 30]), 0.5) is None


def test_overlapping_detections():
    box = np.float32([0, 0, 10, 10])
    assert overlap(box, box) == 1
    assert overlap(box, np.float32([5, 0, 15, 10])) == pytest.approx(1 / 3)
    assert overlap(box, np.float32([10, 0, 20, 10])) == 0
    found = [(box, 0.5), (box + 1, 0.9), (box + 30, 0.6)]
    assert [score for _, score in keep_distinct(found)] == [0.9, 0.6]
    assert choose_near(found, np.float32([28, 28, 40, 40]))[1] == 0.6
    assert choose_near(found, np.float32([100, 0, 110, 10])) is None
    assert choose_near([], box) is None


@pytest.fixture(scope='session')
def mediapipe_analyser():
    if find_spec('mediapipe') is None:
        pytest.skip('mediapipe is not installed')
    assert check_analyser(AnalyserOptions())
    return build_analyser(AnalyserOptions(), Path())


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


def test_mediapipe_is_not_half_a_pixel_off(mediapipe_analyser, real_frames):
    """On small faces, what mirrored pictures disagree by on average is twice the offset of the points."""
    offsets = []
    for image in real_frames:
        box = mediapipe_analyser.analyse(image)[0].box
        small = image[: image.shape[0] // 4 * 4, : image.shape[1] // 4 * 4]
        small = small.reshape(small.shape[0] // 4, 4, -1, 4, 3).mean((1, 3)).astype(np.uint8)
        box = (box + 0.5) / 4 - 0.5
        width = small.shape[1] - 1
        mirrored = np.float32([width - box[2], box[1], width - box[0], box[3]])
        (face,) = mediapipe_analyser.analyse(small, box)
        (other,) = mediapipe_analyser.analyse(np.ascontiguousarray(small[:, ::-1]), mirrored)
        back = other.landmarks[MIRROR_68] * (-1, 1) + (width, 0)
        offsets.append((face.landmarks - back)[:, 0].mean() / 2)
    assert abs(np.mean(offsets)) < 0.2


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


def test_mediapipe_searches_around_a_hint(mediapipe_analyser, real_frames):
    """The mesh does not accept a face half a box away; the detector looks at what is around."""
    first = mediapipe_analyser.analyse(real_frames[0])[0]
    side = first.box[2] - first.box[0]
    (face,) = mediapipe_analyser.analyse(real_frames[0], first.box + 0.55 * side * np.float32([1, 0, 1, 0]))
    assert face.score > 0.4
    assert np.abs(face.landmarks - first.landmarks).mean() < 0.03 * side


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
    from iid_mm.preparation.layouts import scan_layout
    from iid_mm.preparation.records import LayoutOptions, group_records
    from iid_mm.preparation.settings import Settings
    from iid_mm.preparation.worker import build_processor

    scan = scan_layout('ffpp', mini_ffpp, LayoutOptions(methods=('Deepfakes',)))
    group = next(g for g in group_records(scan.records) if len(g.records) == 2)
    settings = Settings('ffpp', 'c23', ('Deepfakes',), 'mediapipe', '', frames=3)
    processor = build_processor(settings, AnalyserOptions(), mini_ffpp, tmp_path)
    result = processor.process(group)
    assert [(video.asked, video.found) for video in result.videos] == [(3, 3), (3, 3)]
    rows = sorted(result.rows, key=lambda row: (row['label'], row['frame']))
    for real, forged in zip(rows[:3], rows[3:], strict=True):
        assert forged['source_image'] == real['image']
        assert forged['crop_window'] == real['crop_window']
        assert real['detector_score'] > 0.5
        assert not np.array_equal(forged['landmarks'], real['landmarks'])
        assert np.abs(np.subtract(forged['landmarks'], real['landmarks'])).mean() < 8
