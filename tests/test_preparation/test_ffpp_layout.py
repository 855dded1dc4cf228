# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json

import pytest

from iid_mm.errors import InputError
from iid_mm.preparation.layouts import scan_layout
from iid_mm.preparation.layouts.base import LayoutOptions
from iid_mm.preparation.layouts.ffpp import LAYOUT
from iid_mm.preparation.records import group_records
from iid_mm.structures.video_record import VideoFile, VideoRecord


def test_records(tree):
    scan = LAYOUT.scan(tree.root, LayoutOptions())
    genuine = VideoRecord(
        source=VideoFile(tree.path('youtube', '000')),
        dataset='ffpp',
        method='youtube',
        compression='c23',
        video='000',
        key='ffpp/youtube/c23/000',
        label=0,
        split='train',
        target_id='000',
    )
    fake = VideoRecord(
        source=VideoFile(tree.path('Deepfakes', '000_001')),
        dataset='ffpp',
        method='Deepfakes',
        compression='c23',
        video='000_001',
        key='ffpp/Deepfakes/c23/000_001',
        label=1,
        split='train',
        target_id='000',
        source_id='001',
        pair='ffpp/youtube/c23/000',
    )
    records = {record.key: record for record in scan.records}
    assert records[genuine.key] == genuine
    assert records[fake.key] == fake
    assert list(records) == [
        'ffpp/Deepfakes/c23/000_001',
        'ffpp/Deepfakes/c23/ä #1_002',
        'ffpp/FaceSwap/c23/000_001',
        'ffpp/youtube/c23/000',
        'ffpp/youtube/c23/001',
        'ffpp/youtube/c23/ä #1',
    ]
    assert records['ffpp/Deepfakes/c23/ä #1_002'].split == 'val'
    folder = 'manipulated_sequences/Deepfakes/c23/videos'
    assert scan.left_out == {
        'original_sequences/youtube/c23/videos/009.mp4': 'its id is in no split',
        f'{folder}/000_002.mp4': 'its target and its source are in different splits',
        f'{folder}/001_009.mp4': 'an id of it is in no split',
        f'{folder}/noname.mp4': 'its name is not <target>_<source>',
    }
    genuine = 'original_sequences/youtube/c23/videos'
    assert scan.missing == sorted(
        [f'{genuine}/{name}.mp4' for name in ('002', '004', '005')]
        + [f'{folder}/{name}.mp4' for name in ('001_000', '002_ä #1', '004_005', '005_004')]
        + [
            f'manipulated_sequences/FaceSwap/c23/videos/{name}.mp4'
            for name in ('001_000', '002_ä #1', 'ä #1_002', '004_005', '005_004')
        ]
    )


def test_groups(tree):
    groups = group_records(LAYOUT.scan(tree.root, LayoutOptions()).records)
    assert [(g.name[-4:], [r.method for r in g.records]) for g in groups] == [
        ('/000', ['youtube', 'Deepfakes', 'FaceSwap']),
        ('/001', ['youtube']),
        ('ä #1', ['youtube', 'Deepfakes']),
    ]


def test_partial_downloads(make_tree):
    tree = make_tree()
    tree.splits('dataset/splits', train=[['000', '001']])
    tree.video('FaceShifter', '000_001')
    scan = LAYOUT.scan(tree.root, LayoutOptions())
    assert [record.key for record in scan.records] == ['ffpp/FaceShifter/c23/000_001']
    assert [g.genuine for g in group_records(scan.records)] == [None]


def test_methods_masks_and_other_splits_folder(tree, write_gray_video, tmp_path):
    masks = tree.root / 'manipulated_sequences/Deepfakes/masks/videos'
    write_gray_video(masks / '000_001.mp4', 2)
    options = LayoutOptions(methods=('Deepfakes',))
    records = {r.key: r for r in LAYOUT.scan(tree.root, options).records}
    assert 'ffpp/FaceSwap/c23/000_001' not in records
    assert records['ffpp/Deepfakes/c23/000_001'].mask == VideoFile(masks / '000_001.mp4')
    assert records['ffpp/Deepfakes/c23/ä #1_002'].mask is None
    without = LAYOUT.scan(tree.root, LayoutOptions(masks=False))
    assert {record.mask for record in without.records} == {None}
    other = tmp_path / 'elsewhere'
    other.mkdir()
    for split, pairs in (('train', []), ('val', []), ('test', [['000', '001']])):
        (other / f'{split}.json').write_text(json.dumps(pairs))
    scan = LAYOUT.scan(tree.root, LayoutOptions(splits_dir=other))
    assert {record.split for record in scan.records} == {'test'}


def test_same_name_with_two_suffixes(tree, write_gray_video):
    write_gray_video(tree.path('youtube', '000').with_suffix('.avi'), 2, codec='mpeg4')
    scan = LAYOUT.scan(tree.root, LayoutOptions())
    reason = scan.left_out['original_sequences/youtube/c23/videos/000.mp4']
    assert reason.startswith('another video has the same key: original')
    assert reason.endswith('000.avi')


@pytest.mark.parametrize(
    ('options', 'error', 'message'),
    [
        ({'compression': 'c99'}, InputError, "compression='c99' is unknown.*c23, raw, c40"),
        ({'compression': 'c40'}, FileNotFoundError, 'no folder .*youtube/c40/videos.*levels there: c23'),
        ({'methods': ('Face2Face',)}, FileNotFoundError, 'Face2Face.*Deepfakes, FaceSwap'),
        ({'methods': ('DeepFakeDetection',)}, InputError, 'another dataset.*layout dfd'),
    ],
)
def test_bad_options(tree, options, error, message):
    with pytest.raises(error, match=message):
        LAYOUT.scan(tree.root, LayoutOptions(**options))


def test_unknown_layout_and_missing_root(tmp_path):
    with pytest.raises(InputError, match="layout='xyz' is unknown; choose from ffpp"):
        scan_layout('xyz', tmp_path, LayoutOptions())
    with pytest.raises(FileNotFoundError, match='is not a folder'):
        scan_layout('ffpp', tmp_path / 'none', LayoutOptions())


def test_missing_splits(tree):
    (tree.root / 'val.json').unlink()
    with pytest.raises(FileNotFoundError, match=r'val\.json.* is missing'):
        LAYOUT.scan(tree.root, LayoutOptions())
    (tree.root / 'train.json').unlink()
    with pytest.raises(
        FileNotFoundError, match=r'no train\.json in .*github.com/ondyari/FaceForensics.*--splits-dir'
    ):
        LAYOUT.scan(tree.root, LayoutOptions())


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('{"a": 1}', 'another form'),
        ('[["000"]]', 'another form'),
        ('[[0, 1]]', 'another form'),
        ('[["000", ', 'unreadable'),
        ('[["000", "007"]]', "id '000' is also in train.json"),
    ],
)
def test_bad_split_files(tree, text, message):
    (tree.root / 'val.json').write_text(text)
    with pytest.raises(InputError, match=message):
        LAYOUT.scan(tree.root, LayoutOptions())


def test_no_video_in_a_split(make_tree):
    tree = make_tree()
    tree.splits(train=[['100', '101']])
    tree.video('youtube', '000')
    with pytest.raises(FileNotFoundError, match=r'no usable ffpp video .*1 left out: its id is in no split'):
        LAYOUT.scan(tree.root, LayoutOptions())


def test_wrong_root(make_tree):
    tree = make_tree()
    tree.splits(train=[['100', '101']])
    with pytest.raises(FileNotFoundError, match='expected the FaceForensics'):
        LAYOUT.scan(tree.root, LayoutOptions())
    tree.video('youtube', '100')
    with pytest.raises(
        FileNotFoundError, match=r"holds no folder original_.*data' has one: give that folder"
    ):
        LAYOUT.scan(tree.root.parent, LayoutOptions())


def test_dfd_in_the_same_tree_is_not_read(tree, write_gray_video):
    write_gray_video(tree.path('DeepFakeDetection', '01_02__hugging_happy__ABCDEFGH'), 2)
    write_gray_video(tree.root / 'original_sequences/actors/c23/videos/01__hugging_happy.mp4', 2)
    scan = LAYOUT.scan(tree.root, LayoutOptions())
    assert {record.method for record in scan.records} == {'youtube', 'Deepfakes', 'FaceSwap'}
    assert not any('hugging' in name for name in scan.left_out)
