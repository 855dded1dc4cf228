# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest

from iid_mm.errors import InputError
from iid_mm.inference.media import CAMERA, IMAGE, VIDEO, Media, find_media


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ('a.jpg', 'b.MP4', 'notes.txt', 'sub/a.png', 'sub/.hidden.jpg', '.git/c.jpg'):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    return tmp_path


def named(found: list[Media]) -> list[tuple[str, str]]:
    return [(media.kind, media.name) for media in found]


def test_a_folder_is_searched_with_its_subfolders(tree: Path) -> None:
    found = find_media(tree)
    assert named(found) == [(IMAGE, 'a'), (VIDEO, 'b'), (IMAGE, 'a_2')]
    assert [media.path for media in found] == [tree / 'a.jpg', tree / 'b.MP4', tree / 'sub/a.png']


def test_patterns_cameras_and_files_together(tree: Path) -> None:
    found = find_media([str(tree / '*.jpg'), 0, '1', tree / 'b.MP4'])
    assert named(found) == [(IMAGE, 'a'), (CAMERA, 'camera_0'), (CAMERA, 'camera_1'), (VIDEO, 'b')]
    assert [media.camera for media in found] == [None, 0, 1, None]


def test_a_file_named_twice_is_analysed_once(tree: Path) -> None:
    found = find_media([tree / 'a.jpg', tree / 'sub' / '..' / 'a.jpg', tree])
    assert [media.path for media in found] == [tree / 'a.jpg', tree / 'b.MP4', tree / 'sub/a.png']


def test_a_file_named_like_a_number_is_a_file(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tree)
    (tree / '0').mkdir()
    (tree / '0' / 'x.png').touch()
    assert named(find_media('0')) == [(IMAGE, 'x')]


def test_names_differ_where_capitals_do_not_count(tmp_path: Path) -> None:
    for name in ('a/X.png', 'b/x.png', 'c/x_2.png'):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    assert [media.name for media in find_media(tmp_path)] == ['X', 'x_2', 'x_2_2']


def test_bad_inputs(tree: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r'gone\.mp4 does not exist'):
        find_media(tree / 'gone.mp4')
    with pytest.raises(InputError, match=r'notes\.txt: neither an image nor a video; known are \.png'):
        find_media(tree / 'notes.txt')
    empty = tmp_path / 'empty'
    empty.mkdir()
    with pytest.raises(InputError, match='the folder holds no image and no video'):
        find_media(empty)
    with pytest.raises(InputError, match='the pattern fits no image and no video'):
        find_media(str(tree / '*.webp'))
    with pytest.raises(InputError, match='nothing to analyse'):
        find_media([])
    with pytest.raises(InputError, match='numbers of cameras begin with 0'):
        find_media(-1)
    with pytest.raises(InputError, match='give a path'):
        find_media(True)
