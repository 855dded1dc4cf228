# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json

import pytest

from iid_mm.errors import InputError
from iid_mm.preparation.layouts.base import LayoutOptions
from iid_mm.preparation.layouts.dfdc import LAYOUT
from iid_mm.structures.video_record import VideoFile, VideoRecord
from support.video_trees import touch_videos, write_dfdc_tree


def record(root, path, method, split, **more):
    video = path.rpartition('/')[2].removesuffix('.mp4')
    return VideoRecord(
        source=VideoFile(root / path),
        dataset='dfdc',
        method=method,
        compression='native',
        video=video,
        key=f'dfdc/{method}/native/{video}',
        label=int(method == 'fake'),
        split=split,
        **more,
    )


def write_metadata(folder, **entries):
    folder.mkdir(parents=True, exist_ok=True)
    data = {f'{video}.mp4': entry for video, entry in entries.items()}
    (folder / 'metadata.json').write_text(json.dumps(data))


def fake(original):
    return {'label': 'FAKE', 'split': 'train', 'original': original}


REAL = {'label': 'REAL', 'split': 'train', 'original': None}


def test_records(tmp_path):
    write_dfdc_tree(tmp_path)
    scan = LAYOUT.scan(tmp_path, LayoutOptions())
    nested = 'dfdc_train_part_01/dfdc_train_part_1'
    assert scan.records == [
        record(tmp_path, 'validation/4001.mp4', 'fake', 'val'),
        record(
            tmp_path,
            f'{nested}/aagfhgtpmv.mp4',
            'fake',
            'train',
            target_id='vudstovrck',
            pair='dfdc/real/native/vudstovrck',
        ),
        record(tmp_path, 'test/aalscayrfi.mp4', 'fake', 'test'),
        record(
            tmp_path,
            'dfdc_train_part_0/owxbbpjpch.mp4',
            'fake',
            'train',
            target_id='wynotylpnm',
            pair='dfdc/real/native/wynotylpnm',
        ),
        record(tmp_path, 'validation/4000.mp4', 'real', 'val', target_id='4000'),
        record(tmp_path, 'test/aamrozxzsq.mp4', 'real', 'test', target_id='aamrozxzsq'),
        record(tmp_path, f'{nested}/abarnvbtwb.mp4', 'real', 'train', target_id='abarnvbtwb'),
        record(tmp_path, 'dfdc_train_part_0/wynotylpnm.mp4', 'real', 'train', target_id='wynotylpnm'),
    ]
    assert scan.left_out == {f'{nested}/unlisted.mp4': 'it is not in the list of its folder'}
    assert scan.missing == ['dfdc_train_part_0/zzzzzzzzzz.mp4']


def test_root_is_a_part(tmp_path):
    write_metadata(tmp_path, a=REAL, b=fake('a.mp4'), c=fake('.\\b.mp4'))
    touch_videos(tmp_path, ['a.mp4', 'b.mp4', 'c.mp4', '.d.mp4'])
    scan = LAYOUT.scan(tmp_path, LayoutOptions())
    assert [(r.key, r.split, r.pair) for r in scan.records] == [
        ('dfdc/fake/native/b', 'train', 'dfdc/real/native/a'),
        # What it says it was made from is a fake itself.
        ('dfdc/fake/native/c', 'train', None),
        ('dfdc/real/native/a', 'train', None),
    ]
    assert scan.left_out == {}


@pytest.mark.parametrize('folder', ['videos', 'test', 'test_videos'])
def test_list_beside_the_folder_of_the_videos(tmp_path, folder):
    (tmp_path / 'labels.csv').write_text('filename,label\na.mp4,1\nb.mp4,0\nc.mp4,0\n')
    touch_videos(tmp_path, [f'{folder}/a.mp4', f'{folder}/b.mp4', f'{folder}/d.mp4'])
    scan = LAYOUT.scan(tmp_path, LayoutOptions())
    assert [(r.key, r.split, r.label) for r in scan.records] == [
        ('dfdc/fake/native/a', 'test', 1),
        ('dfdc/real/native/b', 'test', 0),
    ]
    assert scan.left_out == {f'{folder}/d.mp4': 'it is not in the list of its folder'}
    assert scan.missing == ['c.mp4']


def test_copies_and_folders_without_a_list(tmp_path):
    for part in ('dfdc_train_part_00', 'dfdc_train_part_00/dfdc_train_part_0'):
        write_metadata(tmp_path / part, a=REAL)
        touch_videos(tmp_path, [f'{part}/a.mp4'])
    touch_videos(tmp_path, ['test_videos/x.mp4', 'test_videos/y.mp4', '.cache/z.mp4'])
    scan = LAYOUT.scan(tmp_path, LayoutOptions())
    assert [r.source.path for r in scan.records] == [tmp_path / 'dfdc_train_part_00/a.mp4']
    assert scan.left_out == {
        'dfdc_train_part_00/dfdc_train_part_0/a.mp4': (
            'another video has the same key: dfdc_train_part_00/a.mp4'
        ),
        'test_videos': '2 videos without metadata.json or labels.csv',
    }


def test_both_lists_of_a_test_set(tmp_path):
    (tmp_path / 'test').mkdir()
    (tmp_path / 'test/metadata.json').write_text('{"a.mp4": {"is_fake": true}}')
    (tmp_path / 'test/labels.csv').write_text('label,filename\n1,a.mp4\n')
    touch_videos(tmp_path, ['test/a.mp4'])
    assert [r.label for r in LAYOUT.scan(tmp_path, LayoutOptions()).records] == [1]
    (tmp_path / 'test/labels.csv').write_text('label,filename\n0,a.mp4\n')
    with pytest.raises(InputError, match=r"labels\.csv:2: 'a' has another label"):
        LAYOUT.scan(tmp_path, LayoutOptions())


def test_only_genuine_videos_are_listed(tmp_path):
    write_metadata(tmp_path, a=REAL)
    touch_videos(tmp_path, ['a.mp4'])
    assert len(LAYOUT.scan(tmp_path, LayoutOptions()).records) == 1
    with pytest.raises(FileNotFoundError, match='no native videos of fake'):
        LAYOUT.scan(tmp_path, LayoutOptions(methods=('fake',)))


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('[]', 'holds a list; expected'),
        ('{', 'is not JSON'),
        ('{"a.mp4": "FAKE"}', "'a.mp4' has the value 'FAKE'; expected"),
        ('{"a.mp4": {"label": "MAYBE"}}', r"metadata\.json: 'a.mp4' has the value .*MAYBE"),
        ('{"a.mp4": {"is_fake": 2}}', "'a.mp4' has the value"),
        ('{"a.mp4": {"label": "REAL"}, "b.mp4": {}}', "'b.mp4' has the value"),
        ('{"a.mp4": {"label": "FAKE", "original": 7}}', "'a.mp4' has the original 7"),
    ],
)
def test_bad_metadata(tmp_path, text, message):
    (tmp_path / 'metadata.json').write_text(text)
    with pytest.raises(InputError, match=message):
        LAYOUT.scan(tmp_path, LayoutOptions())


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('a.mp4,1\n', r"labels\.csv:1: no column 'filename', 'label'"),
        ('filename,label\na.mp4,2\n', r"labels\.csv:2: label '2' is unknown"),
        ('filename,label\n\na.mp4\n', r"labels\.csv:3: 'a.mp4' has 1 cells"),
        ('filename,label\na.mp4,1\na.mp4,0\n', r"labels\.csv:3: 'a' has another label"),
        ('', 'no column'),
    ],
)
def test_bad_labels(tmp_path, text, message):
    (tmp_path / 'labels.csv').write_text(text)
    with pytest.raises(InputError, match=message):
        LAYOUT.scan(tmp_path, LayoutOptions())


def test_contradiction_between_folders(tmp_path):
    write_metadata(tmp_path / 'dfdc_train_part_0', a=REAL)
    write_metadata(tmp_path / 'dfdc_train_part_1', a=fake('b.mp4'))
    with pytest.raises(InputError, match="part_1: 'a' has another label or split in another folder"):
        LAYOUT.scan(tmp_path, LayoutOptions())


def test_nothing_there(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'no metadata\.json or labels\.csv in'):
        LAYOUT.scan(tmp_path, LayoutOptions())
    write_metadata(tmp_path, a=REAL)
    with pytest.raises(FileNotFoundError, match='no usable dfdc video'):
        LAYOUT.scan(tmp_path, LayoutOptions())
    with pytest.raises(InputError, match="split='val' has no use for layout dfdc"):
        LAYOUT.scan(tmp_path, LayoutOptions(split='val'))
