# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os

import pytest

from iid_mm.errors import InputError
from iid_mm.faces.analyzers.precomputed_analyzer import PrecomputedAnalyzer
from iid_mm.media.archives import unpack_images
from iid_mm.media.readers import ImageReader
from iid_mm.preparation.layouts import wilddeepfake
from iid_mm.preparation.layouts.base import LayoutOptions
from iid_mm.preparation.layouts.wilddeepfake import LAYOUT
from iid_mm.structures.video_record import ArchiveImages, ImageFiles, VideoRecord
from support.image_trees import write_archive, write_wilddeepfake_tree


def record(label, split, video, source):
    return VideoRecord(
        source=source,
        dataset='wilddeepfake',
        method=label,
        compression='native',
        video=f'{split}/{video}',
        key=f'wilddeepfake/{label}/native/{split}/{video}',
        label=int(label == 'fake'),
        split=split,
        cropped=True,
    )


@pytest.fixture
def tree(tmp_path):
    write_wilddeepfake_tree(tmp_path)
    return tmp_path


def sequence(root, label, split, archive, folder, numbers):
    names = tuple(f'{archive}/{label}/{folder}/{number}.png' for number in numbers)
    source = ArchiveImages(root / f'{label}_{split}/{archive}.tar.gz', names, tuple(numbers))
    return record(label, split, f'{archive}/{folder}', source)


def test_records(tree):
    scan = LAYOUT.scan(tree, LayoutOptions())
    every, late = range(0, 60, 5), range(100, 160, 5)
    folder = ImageFiles(
        tree / 'fake_train/2/2/fake/35', tuple(f'{n}.png' for n in range(12)), tuple(range(12))
    )
    assert scan.records == [
        sequence(tree, 'fake', 'test', '1', '35', every),
        sequence(tree, 'fake', 'test', '1', '7', late),
        sequence(tree, 'fake', 'train', '1', '35', every),
        sequence(tree, 'fake', 'train', '1', '7', late),
        record('fake', 'train', '2/35', folder),
        sequence(tree, 'real', 'test', '1', '35', every),
        sequence(tree, 'real', 'test', '1', '7', late),
        # Cut off: frames were written 5, 15, ..., 0, 10, 20, ...
        sequence(tree, 'real', 'test', '2', '1', [0, 5, 10, 15, 20, 25, 30, 35, 45, 55]),
        sequence(tree, 'real', 'train', '1', '35', every),
        sequence(tree, 'real', 'train', '1', '7', late),
    ]
    hostile = (
        "archive 'fake_train/3.tar.gz' is refused at member '3/fake/1/../../../evil.png': a name that is "
        'absolute, has ".." in it or a character that file systems do not share'
    )
    assert scan.left_out == {
        'fake_train/3.tar.gz': hostile,
        'real_test/2.tar.gz (rest)': "cut off in './2/real/1/40.png'; what can be read is prepared",
    }
    assert scan.missing == []
    moved = tree / 'deepfake_in_the_wild'
    moved.mkdir()
    for name in os.listdir(tree):
        if name not in ('landmarks', moved.name):
            (tree / name).rename(moved / name)
    assert [r.key for r in LAYOUT.scan(tree, LayoutOptions()).records] == [r.key for r in scan.records]


def test_frames_can_be_read_and_analyzed(tree, tmp_path_factory):
    analyzer = PrecomputedAnalyzer(tree)
    for found in LAYOUT.scan(tree, LayoutOptions()).records:
        folder = (
            found.source.folder
            if isinstance(found.source, ImageFiles)
            else tmp_path_factory.mktemp('x') / 'y'
        )
        if isinstance(found.source, ArchiveImages):
            unpack_images(found.source.path, folder)
        reader = ImageReader(folder, found.source.names, found.source.numbers)
        images = list(reader.read(found.source.numbers))
        assert [number for number, _ in images] == list(found.source.numbers)
        assert {image.shape for _, image in images} == {(48, 64, 3)}
        assert reader.problem == ''
        assert analyzer.check_video(found) == ''


def test_methods(tree):
    records = LAYOUT.scan(tree, LayoutOptions(methods=('fake',))).records
    assert {found.method for found in records} == {'real', 'fake'}
    with pytest.raises(FileNotFoundError, match='methods: no native videos of FaceSwap'):
        LAYOUT.scan(tree, LayoutOptions(methods=('FaceSwap',)))


@pytest.mark.parametrize(('option', 'value'), [('split', 'train'), ('stills', True), ('compression', 'c23')])
def test_options_refused(tree, option, value):
    with pytest.raises(InputError, match=option):
        LAYOUT.scan(tree, LayoutOptions(**{option: value}))


def test_nothing_there(tmp_path):
    with pytest.raises(FileNotFoundError, match='holds none of the folders real_train'):
        LAYOUT.scan(tmp_path, LayoutOptions())
    (tmp_path / 'fake_test').mkdir()
    with pytest.raises(FileNotFoundError, match=r'no usable wilddeepfake video .* fake_train/1.tar.gz'):
        LAYOUT.scan(tmp_path, LayoutOptions())


def test_odd_archives_and_folders(tmp_path):
    """Members in unusual places, contradictions, copies, and files that are no archives."""
    root = tmp_path / 'fake_val'
    write_archive(root / '1.tar', [('0.png', b''), ('readme.txt', b'')])
    write_archive(root / '2.tgz', [('35/1.png', b''), ('2/real/7/1.png', b'')])
    write_archive(root / '3.TAR.GZ', [('readme.txt', b'')])
    write_archive(root / '35.tar', [('35/fake/35/1.png', b''), ('fake/36/1.png', b'')])
    (root / '4.tar.gz').write_bytes(b'<html>')
    (root / '.5.tar.gz').write_bytes(b'')
    (root / 'readme.txt').write_bytes(b'')
    for name in ('extracted/6/6/fake/1/1.png', '35/35/fake/35/1.png', '.hidden/1.png'):
        (root / name).parent.mkdir(parents=True)
        (root / name).touch()
    (root / '7').mkdir()
    (root / '7/loop').symlink_to(root / '7')
    scan = LAYOUT.scan(tmp_path, LayoutOptions())
    assert [found.video for found in scan.records] == [
        'val/1',
        'val/2/35',
        'val/35/35',
        'val/35/36',
        'val/6/1',
    ]
    assert scan.left_out.pop('fake_val/4.tar.gz').startswith(
        "archive 'fake_val/4.tar.gz' cannot be read as a tar"
    )
    assert scan.left_out == {
        'fake_val/2.tgz/2/real/7': 'its path contradicts the folder fake_val',
        'fake_val/3.TAR.GZ': 'no images in it',
        'fake_val/35/35/fake/35': 'another video has the same key: fake_val/35.tar/35/fake/35',
        'fake_val/7/loop': 'a symbolic link to a folder that it lies in',
        'fake_val/readme.txt': 'the suffix .txt is not read here',
    }


def test_listings_are_kept(tree, tmp_path_factory, monkeypatch):
    options = LayoutOptions(cache_dir=tmp_path_factory.mktemp('listings'))
    first = LAYOUT.scan(tree, options)
    # The hostile one is looked at again.
    assert len(os.listdir(options.cache_dir)) == 5
    assert LAYOUT.scan(tree, options) == first


@pytest.mark.slow
def test_several_processes(tree, monkeypatch):
    first = LAYOUT.scan(tree, LayoutOptions())
    monkeypatch.setattr(wilddeepfake, 'PARALLEL_FROM', 2)
    monkeypatch.setattr(wilddeepfake.os, 'cpu_count', lambda: 2)
    assert LAYOUT.scan(tree, LayoutOptions()) == first


def test_a_link_that_leads_nowhere_is_told(tree):
    (tree / 'real_train' / '9.tar.gz').symlink_to(tree / 'gone.tar.gz')
    left_out = LAYOUT.scan(tree, LayoutOptions()).left_out
    assert left_out['real_train/9.tar.gz'] == "archive 'real_train/9.tar.gz' is missing"
