# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iid_mm.errors import InputError
from iid_mm.preparation.layouts.ffpp import FfppVideo, parse_path
from iid_mm.preparation.layouts.images import (
    Folders,
    dataset_name,
    landmark_files,
    mask_files,
    order_frames,
    path_parts,
)
from iid_mm.structures.video_record import ImageFiles, LandmarkFiles


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


@pytest.mark.parametrize(
    ('names', 'expected', 'numbers'),
    [
        (['10.png', '9.png'], ('9.png', '10.png'), (9, 10)),
        (['v1_frame_010.png', 'v1_frame_9.jpg'], ('v1_frame_9.jpg', 'v1_frame_010.png'), (9, 10)),
        # Two frames of one number, no number, and a number that the index cannot hold.
        (['1_a0.png', '2_a0.png'], ('1_a0.png', '2_a0.png'), (0, 1)),
        (['b.png', '5.png'], ('5.png', 'b.png'), (0, 1)),
        (['20200101123001.png', '20200101123000.png'], ('20200101123000.png', '20200101123001.png'), (0, 1)),
        (['2147483647.png'], ('2147483647.png',), (2147483647,)),
        (['2147483648.png'], ('2147483648.png',), (0,)),
        ([], (), ()),
    ],
)  # fmt: skip
def test_order_frames(names, expected, numbers):
    assert order_frames(names) == (expected, numbers)


@given(st.lists(st.text('a1_9/.', min_size=1, max_size=6), unique=True))
def test_order_frames_keeps_all(names):
    ordered, numbers = order_frames(names)
    assert sorted(ordered) == sorted(names)
    assert sorted(set(numbers)) == list(numbers)
    assert order_frames(names[::-1]) == (ordered, numbers)


@pytest.mark.parametrize(
    ('text', 'parts'),
    [
        ('./datasets\\rgb/a/0.png', ('datasets', 'rgb', 'a', '0.png')),
        ('F:\\data\\a\\0.png', ('data', 'a', '0.png')),
        ('/home/me/../a//0.png ', ('a', '0.png')),
        ('../../etc/passwd', ('etc', 'passwd')),
        ('..', ()),
        ('', ()),
    ],
)
def test_path_parts(text, parts):
    assert path_parts(text) == parts


def test_find(tmp_path):
    touch(tmp_path, 'datasets/rgb/FF/frames/000/1.png', 'FF/frames/001/1.png', 'empty/x', 'FF/frames/file')
    (tmp_path / 'FF/frames/002').mkdir()
    folders = Folders(tmp_path)
    bases = ('datasets/rgb', '.')
    assert (
        folders.find(('home', 'me', 'FF', 'frames', '000'), bases) == tmp_path / 'datasets/rgb/FF/frames/000'
    )
    assert folders.find(('FF', 'frames', '001'), bases) == tmp_path / 'FF/frames/001'
    # A shorter way of saying the same.
    assert folders.find(('frames', '001'), bases) is None
    assert folders.find(('me', 'FF', 'frames', '001'), bases) == tmp_path / 'FF/frames/001'
    for absent in (('FF', 'frames', '002'), ('FF', 'frames', 'file'), ('FF', 'frames', '003'), ()):
        assert folders.find(absent, bases) is None


def test_find_prefers_the_longest_way(tmp_path):
    touch(tmp_path, 'a/frames/000/1.png', 'frames/000/1.png')
    assert Folders(tmp_path).find(('x', 'a', 'frames', '000')) == tmp_path / 'a/frames/000'


def test_root_too_deep(tmp_path):
    """Two manipulations of one list must not be read from one folder."""
    touch(tmp_path, 'frames/000_003/1.png')
    folders = Folders(tmp_path)
    assert folders.find(('Deepfakes', 'c23', 'frames', '000_003'))
    with pytest.raises(InputError, match=r"lies too deep: .*Face2Face.*would both be 'frames/000_003'"):
        folders.find(('Face2Face', 'c23', 'frames', '000_003'))


def test_siblings(tmp_path):
    # What lies above the root is not touched, even if it is called `frames`.
    root = tmp_path / 'frames'
    touch(
        root, 'a/frames/v/0.png', 'a/landmarks/v/0.npy', 'a/masks/v/0.png', 'a/masks/v/note.txt', 'b/v/0.png'
    )
    touch(tmp_path, 'landmarks/b/v/0.npy')
    folders = Folders(root)
    images = ImageFiles(root / 'a/frames/v', ('0.png', '1.png'), (0, 1))
    assert landmark_files(folders, images) == LandmarkFiles(root / 'a/landmarks/v', ('0.npy', ''))
    assert mask_files(folders, images) == ImageFiles(root / 'a/masks/v', ('0.png',), (0,))
    for other in (
        ImageFiles(root / 'b/v', ('0.png',), (0,)),
        ImageFiles(root / 'a/frames/w', ('0.png',), (0,)),
    ):
        assert landmark_files(folders, other) is None
        assert mask_files(folders, other) is None


def test_parse_path():
    parts = ('x', 'original_sequences', 'youtube', 'c40', 'frames', '000')
    assert parse_path(parts) == FfppVideo(0, 'youtube', 'c40', '000')
    assert parse_path(('manipulated_sequences', 'F', 'raw', 'frames', '0_1')) == FfppVideo(
        1, 'F', 'raw', '0_1'
    )
    for other in (parts[2:], (*parts, 'x'), ('x', 'youtube', 'c40', 'frames', '000')):
        assert parse_path(other) is None


@pytest.mark.parametrize(
    ('folder', 'name'), [('my set (1)', 'my_set_1_'), ('a.b-c', 'a.b-c'), ('日本', 'folder')]
)
def test_dataset_name(folder, name):
    assert dataset_name(Path('/x') / folder) == name.strip('_')
