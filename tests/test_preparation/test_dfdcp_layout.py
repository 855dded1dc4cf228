# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import shutil

import pytest

from iid_mm.errors import InputError
from iid_mm.preparation.layouts.base import LayoutOptions
from iid_mm.preparation.layouts.dfdcp import LAYOUT
from iid_mm.structures.video_record import VideoFile, VideoRecord
from support.video_trees import touch_videos, write_dfdcp_tree

GENUINE = 'original_videos/643049/643049_A_001.mp4'
FAKE = 'method_A/643049/643049_A/1003254_643049_A_001.mp4'
REAL_ENTRY = {'label': 'real', 'set': 'train', 'target_id': 643049, 'swapped_id': None, 'augmentations': []}
FAKE_ENTRY = {
    'label': 'fake',
    'set': 'train',
    'target_id': 643049,
    'swapped_id': 1003254,
    'augmentations': [],
}
PAIR = 'dfdcp/original_videos/native/643049_A_001'


def record(root, path, split, **more):
    method, video = path.split('/')[0], path.rpartition('/')[2].removesuffix('.mp4')
    return VideoRecord(
        source=VideoFile(root / path),
        dataset='dfdcp',
        method=method,
        compression='native',
        video=video,
        key=f'dfdcp/{method}/native/{video}',
        label=int(method != 'original_videos'),
        split=split,
        **more,
    )


def write_list(root, entries):
    (root / 'dataset.json').write_text(json.dumps(entries))


def test_records(tmp_path):
    write_dfdcp_tree(tmp_path)
    scan = LAYOUT.scan(tmp_path, LayoutOptions())
    assert scan.records == [
        record(tmp_path, FAKE, 'train', target_id='643049', source_id='1003254', pair=PAIR),
        # Augmented: its frames are not those of the genuine clip.
        record(
            tmp_path,
            'method_A/1260311/1260311_C/1224068_1260311_C_001.mp4',
            'test',
            target_id='1260311',
            source_id='1224068',
        ),
        record(
            tmp_path,
            'method_B/1260311/1260311_C/1255229_1260311_C_001.mp4',
            'test',
            target_id='1260311',
            source_id='1255229',
            pair='dfdcp/original_videos/native/1260311_C_001',
        ),
        record(tmp_path, 'original_videos/1260311/1260311_C_001.mp4', 'test', target_id='1260311'),
        record(tmp_path, GENUINE, 'train', target_id='643049'),
    ]
    assert scan.left_out == {'original_videos/643049/643049_B_001.mp4': 'it is not in dataset.json'}
    assert scan.missing == []


@pytest.mark.parametrize(
    ('genuine', 'fake', 'pair'),
    [
        ({}, {}, PAIR),
        ({}, {'target_id': '643049', 'swapped_id': '1003254'}, PAIR),
        # The name says something else than the list.
        ({}, {'target_id': 1003254, 'swapped_id': 643049}, None),
        ({}, {'target_id': None}, None),
        ({}, {'augmentations': ['quality:30']}, None),
        ({'augmentations': ['fps:15']}, {}, None),
        ({'set': 'test'}, {}, None),
    ],
)
def test_pairs(tmp_path, genuine, fake, pair):
    touch_videos(tmp_path, [GENUINE, FAKE])
    write_list(tmp_path, {GENUINE: {**REAL_ENTRY, **genuine}, FAKE: {**FAKE_ENTRY, **fake}})
    records = LAYOUT.scan(tmp_path, LayoutOptions()).records
    assert [r.pair for r in records] == [pair, None]


def test_other_genuine_names_give_no_pair(tmp_path):
    touch_videos(tmp_path, [GENUINE, FAKE])
    write_list(tmp_path, {FAKE: FAKE_ENTRY})
    scan = LAYOUT.scan(tmp_path, LayoutOptions())
    assert [r.pair for r in scan.records] == [None]
    assert scan.left_out == {GENUINE: 'it is not in dataset.json'}


def test_moved_videos_windows_paths_and_list_elsewhere(tmp_path):
    root, other = tmp_path / 'data', tmp_path / 'lists'
    other.mkdir()
    moved = 'method_A/videos/643049/643049_A/1003254_643049_A_001.mp4'
    touch_videos(root, ['original_videos/videos/643049/643049_A_001.mp4', moved])
    entries = {
        GENUINE.replace('/', '\\'): REAL_ENTRY,
        f'./{FAKE}': FAKE_ENTRY,
        'method_B/1/1_A/2_1_A_001.mp4': FAKE_ENTRY,
    }
    write_list(other, entries)
    for given in (other, other / 'dataset.json'):
        scan = LAYOUT.scan(root, LayoutOptions(splits_dir=given))
        assert [(r.key, r.pair) for r in scan.records] == [
            ('dfdcp/method_A/native/1003254_643049_A_001', PAIR),
            (PAIR, None),
        ]
        assert scan.missing == ['method_B/.../2_1_A_001.mp4']
    with pytest.raises(FileNotFoundError, match=r'no native videos of method_B.*there: method_A'):
        LAYOUT.scan(root, LayoutOptions(splits_dir=other, methods=('method_B',)))


@pytest.mark.parametrize(
    ('entries', 'message'),
    [
        ({GENUINE: {**REAL_ENTRY, 'label': 'maybe'}}, r"dataset\.json: 'original_videos.* has the value"),
        ({GENUINE: {**REAL_ENTRY, 'set': 'dev'}}, 'has the value'),
        ({GENUINE: {'label': 'real'}}, 'has the value'),
        ({'643049_A_001.mp4': REAL_ENTRY}, 'has the value'),
        ({GENUINE: {**REAL_ENTRY, 'label': 'fake'}}, "has the label 'fake', but original_videos holds"),
        ({FAKE: {**FAKE_ENTRY, 'label': 'real'}}, "has the label 'real', but original_videos holds"),
        ([], 'holds a list'),
    ],
)
def test_bad_lists(tmp_path, entries, message):
    write_list(tmp_path, entries)
    with pytest.raises(InputError, match=message):
        LAYOUT.scan(tmp_path, LayoutOptions())


def test_nothing_there(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"list file .*dataset\.json' is missing"):
        LAYOUT.scan(tmp_path, LayoutOptions())
    write_list(tmp_path, {GENUINE: REAL_ENTRY})
    with pytest.raises(FileNotFoundError, match='no usable dfdcp video'):
        LAYOUT.scan(tmp_path, LayoutOptions())
    write_dfdcp_tree(tmp_path)
    for folder in ('method_A', 'method_B'):
        shutil.rmtree(tmp_path / folder)
    assert {r.label for r in LAYOUT.scan(tmp_path, LayoutOptions()).records} == {0}
