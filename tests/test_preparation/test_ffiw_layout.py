# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from iid_mm.errors import InputError
from iid_mm.preparation.layouts.base import LayoutOptions
from iid_mm.preparation.layouts.ffiw import LAYOUT
from iid_mm.structures.video_record import VideoFile, VideoRecord
from support.video_trees import touch_videos, write_ffiw_tree


def record(root, release, method, split, **more):
    video = f'{split}_00000000'
    return VideoRecord(
        source=VideoFile(root / release / method / split / f'{video}.mp4'),
        dataset='ffiw',
        method=method,
        compression='native',
        video=video,
        key=f'ffiw/{method}/native/{video}',
        label=int(method == 'target'),
        split=split,
        **more,
    )


def test_records(tmp_path):
    write_ffiw_tree(tmp_path)
    scan = LAYOUT.scan(tmp_path, LayoutOptions())
    train, test = 'FFIW10K-v1-release', 'FFIW10K-v1-release-test'

    def mask(release, split):
        return VideoFile(tmp_path / release / 'target_mask' / split / f'{split}_00000000.mp4')

    def pair(split):
        return {'target_id': f'{split}_00000000', 'pair': f'ffiw/source/native/{split}_00000000'}

    assert scan.records == [
        record(tmp_path, test, 'source', 'test', target_id='test_00000000'),
        record(tmp_path, train, 'source', 'train', target_id='train_00000000'),
        record(tmp_path, train, 'source', 'val', target_id='val_00000000'),
        record(tmp_path, test, 'target', 'test', **pair('test'), mask=mask(test, 'test')),
        record(tmp_path, train, 'target', 'train', **pair('train'), mask=mask(train, 'train')),
        record(tmp_path, train, 'target', 'val', **pair('val'), mask=mask(train, 'val')),
    ]
    assert scan.left_out == {
        f'{train}/source/train/test_00000001.mp4': 'its name is of another split than its folder train'
    }
    assert scan.missing == []


def test_one_release_with_folders_videos(tmp_path):
    touch_videos(
        tmp_path,
        [
            'source/val/videos/val_00000000.mp4',
            'target/val/videos/val_00000000.mp4',
            'target/val/videos/.hidden.mp4',
            'target/val/notes.txt',
        ],
    )
    scan = LAYOUT.scan(tmp_path, LayoutOptions())
    assert [(r.key, r.split, r.mask) for r in scan.records] == [
        ('ffiw/source/native/val_00000000', 'val', None),
        ('ffiw/target/native/val_00000000', 'val', None),
    ]
    assert scan.left_out == {'target/val/notes.txt': 'the suffix .txt is not read here'}


def test_masks_are_optional(tmp_path):
    write_ffiw_tree(tmp_path)
    scan = LAYOUT.scan(tmp_path / 'FFIW10K-v1-release', LayoutOptions(masks=False, methods=('target',)))
    assert [r.video for r in scan.records] == 2 * ['train_00000000', 'val_00000000']
    assert {r.mask for r in scan.records} == {None}


def test_copies_in_one_root(tmp_path):
    touch_videos(tmp_path, [f'{copy}/source/train/train_00000000.mp4' for copy in 'ab'])
    scan = LAYOUT.scan(tmp_path, LayoutOptions())
    assert len(scan.records) == 1
    assert scan.left_out == {
        'b/source/train/train_00000000.mp4': (
            'another video has the same key: a/source/train/train_00000000.mp4'
        )
    }


def test_nothing_there(tmp_path):
    with pytest.raises(FileNotFoundError, match='no folder source/train, target/train'):
        LAYOUT.scan(tmp_path, LayoutOptions())
    (tmp_path / 'source/train').mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match='no usable ffiw video'):
        LAYOUT.scan(tmp_path, LayoutOptions())
    with pytest.raises(FileNotFoundError, match='no native videos of target'):
        LAYOUT.scan(tmp_path, LayoutOptions(methods=('target',)))
    with pytest.raises(InputError, match=r'splits_dir=.* has no use for layout ffiw'):
        LAYOUT.scan(tmp_path, LayoutOptions(splits_dir=tmp_path))
