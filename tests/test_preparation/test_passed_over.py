# SPDX-License-Identifier: Apache-2.0
"""Nothing that lies in a folder which a layout reads vanishes without a word; no link leads round."""

from __future__ import annotations

import json
import os
import subprocess
from collections import Counter

import pytest

from iid_mm.media.suffixes import SYSTEM_FOLDERS, VIDEO_SUFFIXES
from iid_mm.preparation.layouts import LAYOUTS, scan_layout
from iid_mm.preparation.layouts.base import LayoutOptions, Scanner
from iid_mm.preparation.layouts.names import index_name
from iid_mm.preparation.layouts.walking import walk
from iid_mm.structures.video_record import ImageFiles, VideoFile
from support import image_trees
from support.video_trees import VIDEO_TREES

# A folder in which each layout looks for videos or frames, and the name of a video that would be taken there.
PLACES = {
    'ffpp': ('original_sequences/youtube/c23/videos', '071'),
    'dfd': ('original_sequences/actors/c23/videos', '01__hugging_happy'),
    'celebdf_v1': ('Celeb-real', 'id0_0000'),
    'celebdf_v2': ('Celeb-real', 'id0_0000'),
    'dfdc': ('dfdc_train_part_0', 'owxbbpjpch'),
    'dfdcp': ('original_videos', '643049_A_001'),
    'deeperforensics': ('manipulated_videos/end_to_end', '000_M101'),
    'ffiw': ('FFIW10K-v1-release/source/train', 'train_00000000'),
    'wilddeepfake': ('fake_train', ''),
    'folder': ('train/real', 'talk'),
    'sbi': ('original_sequences/youtube/raw/frames/071', ''),
}
TREES = {
    **VIDEO_TREES,
    'wilddeepfake': image_trees.write_wilddeepfake_tree,
    'folder': image_trees.write_folder_tree,
    'sbi': image_trees.write_sbi_tree,
}


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def scan(name, root, **options):
    return scan_layout(name, root, LayoutOptions(**options))


@pytest.mark.parametrize('name', PLACES)
def test_other_suffixes_are_told_and_system_files_are_not_read(name, tmp_path):
    TREES[name](tmp_path)
    before = scan(name, tmp_path)
    place, video = PLACES[name]
    assert (tmp_path / place).is_dir()
    touch(tmp_path / place, 'odd.xyz', 'without', '._071.mp4', '.DS_Store')
    for folder in SYSTEM_FOLDERS:
        touch(tmp_path / place / folder, f'{video or "x"}.mp4', f'{video or "x"}.png', '1.tar')
    os.mkfifo(tmp_path / place / 'pipe.mp4')
    after = scan(name, tmp_path)
    assert after.records == before.records
    told = {key: reason for key, reason in after.left_out.items() if key not in before.left_out}
    assert told == {
        f'{place}/odd.xyz': 'the suffix .xyz is not read here',
        f'{place}/without': 'a file without suffix is not read here',
        f'{place}/pipe.mp4': 'neither a file nor a folder',
    }


@pytest.mark.parametrize('name', VIDEO_TREES)
@pytest.mark.parametrize('suffix', ['.m4v', '.WMV', '.mts', '.3gp'])
def test_every_suffix_that_is_read_elsewhere(name, suffix, tmp_path):
    VIDEO_TREES[name](tmp_path)
    place, video = PLACES[name]
    (path,) = (tmp_path / place).rglob(f'{video}.mp4')
    assert suffix.lower() in VIDEO_SUFFIXES
    key = next(r.key for r in scan(name, tmp_path).records if r.source == VideoFile(path))
    path.rename(path.with_suffix(suffix))
    records = {record.key: record for record in scan(name, tmp_path).records}
    assert records[key].source == VideoFile(path.with_suffix(suffix))


@pytest.mark.parametrize('name', [n for n in PLACES if PLACES[n][1]])
@pytest.mark.parametrize('suffix', ['.gif', '.ts'])
def test_a_preview_does_not_take_the_place_of_its_video(name, suffix, tmp_path):
    TREES[name](tmp_path)
    before = scan(name, tmp_path).records
    place, video = PLACES[name]
    (path,) = (tmp_path / place).rglob(f'{video}.mp4')
    path.with_suffix(suffix).touch()
    after = scan(name, tmp_path)
    assert after.records == before
    told = after.left_out[path.with_suffix(suffix).relative_to(tmp_path).as_posix()]
    assert told == f'another video has the same key: {path.relative_to(tmp_path).as_posix()}'


@pytest.mark.parametrize('name', [n for n in TREES if n in PLACES])
def test_linked_folders_are_read_as_if_they_lay_there(name, tmp_path):
    TREES[name](tmp_path / 'set')
    before = scan(name, tmp_path / 'set')
    folder = tmp_path / 'set' / PLACES[name][0]
    folder.rename(tmp_path / 'elsewhere')
    folder.symlink_to(tmp_path / 'elsewhere')
    after = scan(name, tmp_path / 'set')
    assert after.records == before.records
    assert after.left_out == before.left_out


@pytest.mark.parametrize('name', [n for n in TREES if n in PLACES])
def test_links_round_in_a_circle(name, tmp_path):
    TREES[name](tmp_path)
    before = scan(name, tmp_path).records
    for folder in (tmp_path, tmp_path / PLACES[name][0]):
        (folder / 'up').symlink_to(tmp_path)
        (folder / 'here').symlink_to(folder)
    assert scan(name, tmp_path).records == before


@pytest.mark.parametrize('places', [('real', 'fake'), ('real/a', 'real/b')])
def test_folders_that_link_to_each_other(places, tmp_path):
    # A walk that only looks at the way up would go on until the path is too long, in 2 ** 40 ways.
    touch(tmp_path, 'real/a/1.mp4', 'real/b/2.mp4', 'fake/3.mp4')
    first, second = (tmp_path / place for place in places)
    for number in range(3):
        (first / f'over{number}').symlink_to(second)
        (second / f'back{number}').symlink_to(first)
    result = scan('folder', tmp_path)
    files = Counter(os.path.realpath(record.source.path) for record in result.records if record.label == 0)
    assert set(files.values()) == {1}
    assert {os.path.basename(file) for file in files} >= {'1.mp4', '2.mp4'}
    assert result.left_out


def test_a_thousand_folders_in_each_other(tmp_path):
    folder = tmp_path / 'real'
    folder.mkdir()
    here = os.getcwd()
    try:
        os.chdir(folder)
        for _ in range(1200):
            os.mkdir('d')
            os.chdir('d')
        open('a.mp4', 'w').close()
    finally:
        os.chdir(here)
    try:
        (record,) = scan('folder', tmp_path).records
    finally:
        # Deeper than pytest cleans up.
        subprocess.run(['rm', '-rf', str(folder)], check=True)
    assert len(record.key.encode()) < 450


def test_folders_that_cannot_be_read_are_told(tmp_path, monkeypatch):
    touch(tmp_path, 'real/a.mp4', 'real/closed/b.mp4')
    scandir = os.scandir

    def refuse(folder):
        if str(folder).endswith('closed'):
            raise PermissionError(13, 'Permission denied')
        return scandir(folder)

    monkeypatch.setattr(os, 'scandir', refuse)
    result = scan('folder', tmp_path)
    assert [record.video for record in result.records] == ['a']
    assert result.left_out == {'real/closed': 'the folder cannot be read: Permission denied'}


def test_walk_names_what_lies_too_deep(tmp_path):
    touch(tmp_path, 'a/b/c/d.mp4')
    scanner = Scanner(tmp_path, LAYOUTS['folder'], 'native')
    assert [visit.folder for visit in walk(scanner, tmp_path, 2)] == [
        tmp_path,
        tmp_path / 'a',
        tmp_path / 'a/b',
    ]
    assert scanner.result.left_out == {'a/b/c': 'the folder lies too deep'}


def test_folders_that_no_layout_asked_for_are_told(tmp_path):
    touch(
        tmp_path,
        'train/real/a.mp4',
        'train/faek/b.mp4',
        'more/c.mp4',
        'd.mp4',
        'train/e.png',
        'landmarks/x.npy',
    )
    reason = 'its name does not say whether it is genuine or fake'
    assert scan('folder', tmp_path).left_out == {
        'd.mp4': 'it lies in no folder of genuine or fake videos',
        'more': reason,
        'train/e.png': 'it lies in no folder of genuine or fake videos',
        'train/faek': reason,
    }


def test_a_set_in_another_compression_is_told(tmp_path):
    VIDEO_TREES['ffpp'](tmp_path)
    touch(tmp_path, 'manipulated_sequences/FaceSwap/c40/videos/071_054.mp4')
    told = scan('ffpp', tmp_path).left_out['manipulated_sequences/FaceSwap']
    assert told == 'no folder c23/videos in it: it has c40'


# F19: a folder is either the frames of one video or a collection.


def kinds(root, **options):
    """Video -> (method, names of its images, or None)."""
    records = scan('folder', root, **options).records
    return {
        f'{r.label}/{r.video}': (r.method, r.source.names if isinstance(r.source, ImageFiles) else None)
        for r in records
    }


def test_images_beside_videos_are_pictures(tmp_path):
    touch(tmp_path, 'fake/swap/a.mp4', 'fake/swap/anna.png', 'fake/swap/img_2.jpg', 'fake/swap/img_3.jpg')
    assert kinds(tmp_path) == {
        '1/a': ('swap', None),
        '1/anna': ('swap', ('anna.png',)),
        '1/img_2': ('swap', ('img_2.jpg',)),
        '1/img_3': ('swap', ('img_3.jpg',)),
    }
    assert scan('folder', tmp_path).left_out == {}


def test_images_beside_folders_of_frames_are_pictures(tmp_path):
    touch(tmp_path, 'real/talks/t/0.png', 'real/talks/t/1.png', 'real/talks/p.png', 'real/talks/q.png')
    touch(tmp_path, 'fake/swap/v/0.png', 'fake/swap/v/1.png', 'fake/swap/p.png', 'fake/swap/q.png')
    assert kinds(tmp_path) == {
        '0/talks/t': ('real', ('0.png', '1.png')),
        '0/talks/p': ('real', ('p.png',)),
        '0/talks/q': ('real', ('q.png',)),
        '1/v': ('swap', ('0.png', '1.png')),
        '1/p': ('swap', ('p.png',)),
        '1/q': ('swap', ('q.png',)),
    }
    assert set(scan('folder', tmp_path).left_out) == {'real/talks (as a video)', 'fake/swap (as a video)'}


def test_a_folder_of_images_beside_methods_is_a_method(tmp_path):
    touch(tmp_path, 'fake/swap/a.mp4', 'fake/nested/deep/b.mp4', 'fake/photos/1.png', 'fake/photos/2.png')
    assert kinds(tmp_path) == {
        '1/a': ('swap', None),
        '1/deep/b': ('nested', None),
        '1/1': ('photos', ('1.png',)),
        '1/2': ('photos', ('2.png',)),
    }


def test_frames_beside_videos_stay_frames(tmp_path):
    touch(tmp_path, 'real/a.mp4', 'real/b/0.png', 'real/b/1.png', 'real/b/landmarks/0.npy')
    touch(tmp_path, 'fake/swap/c.mp4', 'fake/swap/d/0.png', 'fake/swap/d/1.png')
    assert kinds(tmp_path) == {
        '0/a': ('real', None),
        '0/b': ('real', ('0.png', '1.png')),
        '1/c': ('swap', None),
        '1/d': ('swap', ('0.png', '1.png')),
    }


# F11: names that UTF-8, terminals or file systems do not take.

ODD_NAMES = [b'caf\xe9', b'a\nb', b'a\x1b[31mb', b'x' * 250, '視'.encode() * 83, b'12:30', b'[bold]', b'"q"']


@pytest.mark.parametrize('name', ODD_NAMES)
def test_odd_names_are_kept(name, tmp_path):
    folder = os.fsencode(tmp_path / 'fake') + b'/' + name
    os.makedirs(folder)
    open(folder + b'/' + name + b'.mp4', 'wb').close()
    open(folder + b'/' + name + b'.xyz', 'wb').close()
    result = scan('folder', tmp_path)
    (record,) = result.records
    for text in (record.key, record.video, record.method, *result.left_out, *result.left_out.values()):
        text.encode()
        assert text.isprintable()
    assert all(len(part.encode()) <= 255 for part in record.key.split('/'))
    assert os.fsencode(record.source.path) == folder + b'/' + name + b'.mp4'
    assert len(result.left_out) == 1


def test_long_names_stay_apart():
    names = [index_name(f'{"x/" * 300}{number}') for number in range(3)]
    assert len(set(names)) == 3
    assert all(len(name) <= 360 for name in names)
    assert index_name('a' * 255) == 'a' * 255
    assert len(index_name('a' * 256)) <= 255


def test_no_file_is_asked_about_on_its_own(tmp_path, monkeypatch):
    """A folder of 100 000 files on a network disk is listed, not asked about file by file."""
    count = 300
    touch(tmp_path, *(f'real/{n:06d}.mp4' for n in range(count)), *(f'fake/x/{n}.png' for n in range(count)))
    ids = [f'{n:03d}' for n in range(count)]
    touch(tmp_path, *(f'original_sequences/youtube/c23/videos/{n}.mp4' for n in ids))
    for split, pairs in (('train', list(zip(ids[::2], ids[1::2], strict=True))), ('val', []), ('test', [])):
        (tmp_path / f'{split}.json').write_text(json.dumps(pairs))
    calls = Counter()
    for name in ('stat', 'lstat', 'scandir', 'listdir', 'readlink'):
        real = getattr(os, name)

        def counted(*args, real=real, name=name, **kwargs):
            calls[name] += 1
            return real(*args, **kwargs)

        monkeypatch.setattr(os, name, counted)
    for layout in ('folder', 'ffpp'):
        calls.clear()
        assert len(scan(layout, tmp_path, stills=layout == 'folder').records) >= count
        assert sum(calls.values()) < 60
