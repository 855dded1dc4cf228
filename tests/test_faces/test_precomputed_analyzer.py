# SPDX-License-Identifier: Apache-2.0
"""The analyzer on landmarks that come with the dataset."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from iid_mm.errors import InputError
from iid_mm.faces.analyzers import FrameRef, PrecomputedAnalyzer
from iid_mm.faces.analyzers.precomputed_analyzer import find_position, source_path
from iid_mm.structures.video_record import (
    ArchiveImages,
    ImageFiles,
    LandmarkFiles,
    LandmarkTable,
    LandmarkValues,
    VideoFile,
    VideoRecord,
)
from support.media import face_points
from support.tiny_ffpp import IMAGE


def make_record(source, landmarks=None) -> VideoRecord:
    return VideoRecord(source, 'set', 'm', 'native', 'b', 'set/m/native/b', 1, 'test', landmarks=landmarks)


def make_side_file(root: Path, table) -> VideoRecord:
    path = root / 'landmarks' / 'a' / 'b.npy'
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, table)
    return make_record(VideoFile(root / 'a' / 'b.mp4'))


def look_up(root: Path, record: VideoRecord, frame: int, hint=None):
    return PrecomputedAnalyzer(root).analyze(IMAGE, hint, where=FrameRef(record, frame))


def test_precomputed_faces(tmp_path, square_points):
    table = np.stack([square_points(3, 4), np.full((68, 2), np.nan)]).astype(np.float64)
    record = make_side_file(tmp_path, table)
    analyzer = PrecomputedAnalyzer(tmp_path)
    assert not analyzer.searches
    assert analyzer.check_video(record) == ''
    (face,) = analyzer.analyze(IMAGE, where=FrameRef(record, 0))
    assert face.landmarks.dtype == np.float32
    np.testing.assert_array_equal(face.landmarks, square_points(3, 4))
    np.testing.assert_array_equal(face.box, [3, 4, 23, 24])
    assert face.score == 1
    assert analyzer.analyze(IMAGE, where=FrameRef(record, 1)) == []
    assert analyzer.analyze(IMAGE, where=FrameRef(record, 2)) == []
    assert analyzer.analyze(IMAGE, where=FrameRef(record, -1)) == []
    assert analyzer.take_problems() == ''
    with pytest.raises(InputError, match='needs to know the frame'):
        analyzer.analyze(IMAGE)


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
    text = PrecomputedAnalyzer(tmp_path).check_video(record)
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
        assert 'cannot be read' in PrecomputedAnalyzer(tmp_path).check_video(record)
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
        # Any damage is reported and not raised.
        assert isinstance(PrecomputedAnalyzer(tmp_path).check_video(record), str)
    for content in (b'', b'PK\x03\x04 no archive', b'\x80\x04N.'):
        path.write_bytes(content)
        assert 'cannot be read' in PrecomputedAnalyzer(tmp_path).check_video(record)
    with path.open('wb') as stream:
        np.savez(stream, a=np.zeros((5, 68, 2)))
    assert 'found an archive' in PrecomputedAnalyzer(tmp_path).check_video(record)


def test_a_header_that_promises_too_much_is_refused(tmp_path):
    path = tmp_path / 'landmarks/a/b.npy'
    path.parent.mkdir(parents=True)
    with path.open('wb') as stream:
        shape = (10**9, 68, 2)
        np.lib.format.write_array_header_1_0(stream, {'descr': '<f4', 'fortran_order': False, 'shape': shape})
    text = PrecomputedAnalyzer(tmp_path).check_video(make_record(VideoFile(tmp_path / 'a/b.mp4')))
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
    analyzer = PrecomputedAnalyzer(folder)
    if not analyzer.check_video(record):
        for face in analyzer.analyze(IMAGE, where=FrameRef(record, 0)):
            assert np.isfinite(face.landmarks).all()


@pytest.mark.parametrize('value', [1e30, 1e300, -2e5, np.inf])
def test_absurd_landmarks_are_no_face(tmp_path, square_points, value):
    table = np.stack([square_points(3, 4)]).astype(np.float64)
    table[0, 7, 1] = value
    assert look_up(tmp_path, make_side_file(tmp_path, table), 0) == []


def test_missing_side_files(tmp_path):
    record = make_record(VideoFile(tmp_path / 'x.mp4'))
    text = PrecomputedAnalyzer(tmp_path).check_video(record)
    assert text.startswith("no folder 'landmarks'") or 'no folder' in text
    assert str(tmp_path) not in text
    (tmp_path / 'landmarks').mkdir()
    text = PrecomputedAnalyzer(tmp_path).check_video(record)
    assert 'landmarks/x.npy' in text
    assert str(tmp_path) not in text


def test_no_side_file_outside_of_the_data_set(tmp_path):
    analyzer = PrecomputedAnalyzer(tmp_path / 'data')
    for source in (
        VideoFile(tmp_path / 'other/x.mp4'),
        VideoFile(tmp_path / 'data/../x.mp4'),
        ImageFiles(tmp_path / 'data', ('0.png', '1.png'), (0, 1)),
        ArchiveImages(tmp_path / 'data/a.tar', ('../../x/0.png', '../../x/1.png'), (0, 1)),
    ):
        record = make_record(source)
        assert 'set/m/native/b does not lie below the folder' in analyzer.check_video(record)
        assert analyzer.side_files(record) == []


def test_names_of_side_files(tmp_path):
    analyzer = PrecomputedAnalyzer(tmp_path)
    for source, expected in (
        (VideoFile(tmp_path / 'a/b.c.mp4'), 'a/b.c.npy'),
        (ImageFiles(tmp_path / 'a/b.c', ('0.png', '1.png'), (3, 5)), 'a/b.c.npy'),
        (ImageFiles(tmp_path / 'a', ('x.y.png',), (0,)), 'a/x.y.npy'),
        (ArchiveImages(tmp_path / 'a/7.tar.gz', ('12/0.png', '12/1.png'), (0, 1)), 'a/7/12.npy'),
        (ArchiveImages(tmp_path / 'a/7.TGZ', ('0.png', 'x/1.png'), (0, 1)), 'a/7.npy'),
    ):
        record = make_record(source)
        assert analyzer.side_files(record) == [tmp_path / 'landmarks' / expected]
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
        assert PrecomputedAnalyzer(tmp_path).side_files(record) == [given_table.path]


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
    analyzer = PrecomputedAnalyzer(tmp_path)
    assert analyzer.check_video(face_files) == ''
    names = [path.name for path in analyzer.side_files(face_files)]
    assert names == ['0.npy', '1.npy', '3.npy', '4.npy']
    (face,) = analyzer.analyze(IMAGE, where=FrameRef(face_files, 3))
    np.testing.assert_array_equal(face.landmarks, square_points(1, 2, 20))
    faces = analyzer.analyze(IMAGE, where=FrameRef(face_files, 4))
    assert [face.box.tolist() for face in faces] == [[30, 8, 50, 28], [2, 2, 12, 12]]
    near = analyzer.analyze(IMAGE, np.float32([0, 0, 11, 11]), where=FrameRef(face_files, 4))
    assert [face.box.tolist() for face in near] == [[2, 2, 12, 12]]
    assert analyzer.analyze(IMAGE, where=FrameRef(face_files, 5)) == []
    assert analyzer.take_problems() == ''
    for _ in range(2):
        for frame in (7, 8):
            assert analyzer.analyze(IMAGE, where=FrameRef(face_files, frame)) == []
    text = analyzer.take_problems()
    assert text.startswith("landmarks 'lm/3.npy' cannot be read")
    assert text.endswith('(and 1 more like that)')
    assert analyzer.take_problems() == ''


def test_empty_face_files(tmp_path, face_files):
    np.save(tmp_path / 'lm/0.npy', np.zeros((0, 68, 2)))
    analyzer = PrecomputedAnalyzer(tmp_path)
    assert analyzer.analyze(IMAGE, where=FrameRef(face_files, 3)) == []
    assert analyzer.take_problems() == ''


@pytest.mark.parametrize('name', ['../x.npy', '/x.npy', 'a/../../x.npy', 'a\\x.npy', 'C:x.npy', 'a\0b'])
def test_hostile_landmark_names_are_refused(tmp_path, name):
    record = make_record(VideoFile(tmp_path / 'v.mp4'), LandmarkFiles(tmp_path, (name,)))
    assert 'does not stay inside' in PrecomputedAnalyzer(tmp_path).check_video(record)


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
    assert PrecomputedAnalyzer(tmp_path).check_video(record) == message


def test_landmark_values(tmp_path, square_points):
    good = tuple(face_points(4, 6, 20, count=81).ravel().tolist())
    values = LandmarkValues((good, (), (1.0, 2.0), ('x',) * 136, (float('nan'),) * 136))
    record = make_record(ImageFiles(tmp_path, tuple('abcde'), (1, 2, 3, 4, 5)), values)
    analyzer = PrecomputedAnalyzer(tmp_path)
    assert analyzer.check_video(record) == ''
    assert analyzer.side_files(record) == []
    (face,) = analyzer.analyze(IMAGE, where=FrameRef(record, 1))
    np.testing.assert_array_equal(face.landmarks, face_points(4, 6, 20, count=81))
    assert [analyzer.analyze(IMAGE, where=FrameRef(record, n)) for n in (2, 3, 4, 5, 6)] == [[]] * 5
    assert analyzer.take_problems() == (
        'landmarks of frame 3: found 2 numbers, expected 136 or 162 (and 1 more like that)'
    )
    short = make_record(record.source, LandmarkValues((good,)))
    assert analyzer.check_video(short) == 'landmarks of 1 frames for a video of 5 frames'
