# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from iid_mm.errors import InputError
from iid_mm.inference import earlier_results
from iid_mm.inference.media import CAMERA, IMAGE, VIDEO, Media, find_media
from support.media import write_video


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


def test_a_file_named_twice_is_analyzed_once(tree: Path) -> None:
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
    with pytest.raises(InputError, match='nothing to analyze'):
        find_media([])
    with pytest.raises(InputError, match='numbers of cameras begin with 0'):
        find_media(-1)
    with pytest.raises(InputError, match='give a path'):
        find_media(True)


@pytest.mark.parametrize('inputs', ['', ['a.mp4', '']])
def test_an_empty_name_is_not_this_folder(
    tmp_path: Path, inputs: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / 'a.mp4').write_bytes(b'x')
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match='an input is empty'):
        find_media(inputs)  # type: ignore[arg-type]


def test_linked_folders_are_searched_and_loops_end(tmp_path: Path) -> None:
    for name in ('in/a.png', 'elsewhere/b.png', 'elsewhere/deep/c.png'):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / 'in/link').symlink_to(tmp_path / 'elsewhere')
    (tmp_path / 'in/again').symlink_to(tmp_path / 'elsewhere/deep')
    (tmp_path / 'elsewhere/deep/loop').symlink_to(tmp_path / 'elsewhere')
    (tmp_path / 'in/self').symlink_to('.')
    found = find_media(tmp_path / 'in')
    assert sorted(media.path.name for media in found if media.path) == ['a.png', 'b.png', 'c.png']
    assert found.problems == []


def test_links_to_one_file_are_one_input_and_noted(tmp_path: Path) -> None:
    (tmp_path / 'z.png').touch()
    (tmp_path / 'a_link.png').symlink_to('z.png')
    (tmp_path / 'hard.png').hardlink_to(tmp_path / 'z.png')
    (tmp_path / 'other.png').touch()
    (tmp_path / 'dangling.png').symlink_to('gone.png')
    found = find_media(tmp_path)
    assert len(found) == 2
    assert (tmp_path / 'a_link.png') not in [media.path for media in found]
    (note,) = found.notes
    assert 'a_link.png = ' in note
    assert 'hard.png' in note
    assert [text for text in found.problems if 'dangling.png cannot be read' in text]
    # Named one by one the first name counts.
    found = find_media([tmp_path / 'a_link.png', tmp_path / 'z.png'])
    assert [media.path for media in found] == [tmp_path / 'a_link.png']
    assert 'z.png = ' in found.notes[0]


def test_skipped_files_are_counted(tmp_path: Path) -> None:
    for name in (
        'a.png',
        'b.xyz',
        'c.doc',
        'd.doc',
        'bare',
        '.hidden.png',
        '@eaDir/a.png',
        '__MACOSX/._a.png',
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    for name in ('lost+found', '$RECYCLE.BIN', 'System Volume Information', '.Spotlight-V100'):
        (tmp_path / name).mkdir()
        (tmp_path / name / 'x.png').touch()
    found = find_media(tmp_path)
    assert named(found) == [(IMAGE, 'a')]
    assert found.notes == [
        'skipped: 4 files (.doc, .xyz, without suffix)',
        'skipped: 7 hidden or system files',
    ]
    assert find_media(str(tmp_path / '**' / '*.png')) == found
    assert find_media(found) is found


def test_patterns_search_the_folders_that_they_match(tree: Path) -> None:
    assert named(find_media(str(tree / '*'))) == [(IMAGE, 'a'), (VIDEO, 'b'), (IMAGE, 'a_2')]


def test_special_files_and_closed_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / 'a.png').touch()
    (tmp_path / 'closed').mkdir()
    # Reading a pipe would wait for ever.
    os.mkfifo(tmp_path / 'pipe.mp4')
    real = os.scandir

    def scandir(path: Any) -> Any:
        if str(path).endswith('closed'):
            raise PermissionError(13, 'Permission denied')
        return real(path)

    monkeypatch.setattr(os, 'scandir', scandir)
    found = find_media(tmp_path)
    assert named(found) == [(IMAGE, 'a')]
    assert any('closed cannot be read (Permission denied)' in text for text in found.problems)
    assert any('pipe.mp4 cannot be read' in text for text in found.problems)
    with pytest.raises(InputError, match='neither a file nor a folder'):
        find_media(tmp_path / 'pipe.mp4')


def write_result(path: Path, outputs: dict[str, str], **more: Any) -> None:
    content = {'format': 1, 'source': 'x.mp4', 'kind': 'video', 'outputs': {'json': path.name, **outputs}}
    path.write_text(json.dumps({**content, **more}))


def test_outputs_of_earlier_runs_are_no_evidence(tmp_path: Path) -> None:
    for name in (
        'x.mp4',
        'x_annotated.mp4',
        'x_timeline.png',
        'mine_annotated.mp4',
        'p_annotated.jpg',
        'q_annotated.jpg',
    ):
        (tmp_path / name).write_bytes(b'12345')
    outputs = {'video': 'x_annotated.mp4', 'timeline': 'x_timeline.png'}
    write_result(tmp_path / 'x.json', outputs, output_bytes={'x_annotated.mp4': 5, 'x_timeline.png': 5})
    # A file of that name that somebody has put in place of the output.
    write_result(tmp_path / 'p.json', {'image': 'p_annotated.jpg'}, output_bytes={'p_annotated.jpg': 4})
    # Some other JSON.
    (tmp_path / 'q.json').write_text('{"outputs": {"image": "q_annotated.jpg"}}')
    found = find_media(tmp_path)
    assert sorted(media.source.rsplit('/')[-1] for media in found) == [
        *('mine_annotated.mp4', 'p_annotated.jpg', 'q_annotated.jpg', 'x.mp4'),
    ]
    notes = ' | '.join(found.notes)
    assert re.search(r'outputs of earlier runs: \S*x_annotated\.mp4, \S*x_timeline\.png \|', notes)
    assert re.search(r'so it is analyzed: .*mine_annotated.*p_annotated.*q_annotated', notes)
    with pytest.raises(InputError, match='is an output of an earlier run'):
        find_media(tmp_path / 'x_annotated.mp4')


@pytest.mark.parametrize(
    'content',
    [
        '',
        '[',
        '[' * 100_000,
        '[1]',
        '{"format": 1}',
        '{"format": 1, "source": 1, "outputs": {"json": "x.json"}}',
    ],
)
def test_damaged_results_say_nothing(content: str, tmp_path: Path) -> None:
    (tmp_path / 'x.json').write_text(content)
    (tmp_path / 'x_annotated.mp4').touch()
    assert named(find_media(tmp_path)) == [(VIDEO, 'x_annotated')]


def test_files_without_a_known_suffix_are_recognized_by_content(tmp_path: Path) -> None:
    _, png = cv2.imencode('.png', np.zeros((4, 4, 3), np.uint8))
    (tmp_path / 'photo').write_bytes(png.tobytes())
    write_video(tmp_path / 'clip.mp4', [np.zeros((32, 32, 3), np.uint8)]).rename(tmp_path / 'clip.dat')
    found = find_media([tmp_path / 'photo', tmp_path / 'clip.dat'])
    assert named(found) == [(IMAGE, 'photo'), (VIDEO, 'clip')]
    assert 'recognized by its content' in found.notes[0]
    # In a folder there may be anything, so it is only counted.
    (tmp_path / 'a.png').touch()
    assert named(find_media(tmp_path)) == [(IMAGE, 'a')]


ODD_NAMES = [
    *(
        b'12:30.mp4',
        b'caf\xe9.mp4',
        b'x' * 250 + b'.mp4',
        b'x' * 249 + b'y.mp4',
        '\u89c6'.encode() * 83 + b'.mp4',
    ),
    *(b'esc\x1b[31m.mp4', b'two\nlines.mp4', '\u202egpj.mp4'.encode(), b'[b].mp4', b'CON.mp4', b'a?b*c.mp4'),
]


def test_names_of_outputs_fit_everywhere(tmp_path: Path) -> None:
    for name in ODD_NAMES:
        with open(os.path.join(os.fsencode(tmp_path), name), 'wb'):
            pass
    found = find_media(tmp_path)
    assert {os.fsencode(media.path).rsplit(b'/')[-1] for media in found if media.path} == set(ODD_NAMES)
    names = [media.name for media in found]
    assert len(set(names)) == len(ODD_NAMES)
    for name in names:
        assert name.isprintable()
        assert len(os.fsencode(name)) <= 230
        assert not set('<>:"/\\|?*') & set(name)
        assert name.upper() != 'CON'
        (tmp_path / f'{name}_annotated.mp4').touch()
    # The same again, so that a second run knows its results.
    assert [media.stem for media in found] == names


def test_errors_escape_control_characters_in_names(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        find_media(str(tmp_path / 'gone\x1bc\u202e\n.mp4'))
    assert str(caught.value).isprintable()
    with pytest.raises(FileNotFoundError, match='does not exist'):
        find_media('x' * 5000 + '.mp4')
    with pytest.raises(FileNotFoundError, match='does not exist'):
        find_media('nul\0.mp4')


def test_large_folders_need_few_system_calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(300):
        (tmp_path / f'{number}.png').touch()
        (tmp_path / f'{number}_annotated.mp4').touch()
    asked = []
    for name in ('stat', 'lstat'):
        real = getattr(os, name)
        monkeypatch.setattr(
            os, name, lambda *args, real=real, **more: (asked.append(args), real(*args, **more))[1]
        )
    assert len(find_media(tmp_path)) == 600
    assert len(asked) < 50


def test_equal_names_are_numbered_in_linear_time(monkeypatch: pytest.MonkeyPatch) -> None:
    folded = []
    real = earlier_results.fold
    monkeypatch.setattr(earlier_results, 'fold', lambda name: (folded.append(name), real(name))[1])
    names = earlier_results.UniqueNames()
    given = [names.give('frame') for _ in range(1000)]
    assert given[:3] == ['frame', 'frame_2', 'frame_3']
    assert len(set(given)) == 1000
    assert len(folded) <= 4000
