# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from iid_mm.errors import InputError
from iid_mm.preparation.layouts.base import LayoutOptions
from iid_mm.preparation.layouts.dfd import LAYOUT
from iid_mm.structures.video_record import VideoFile, VideoRecord
from support.video_trees import touch_videos, write_dfd_tree

ORIGINALS = 'original_sequences/actors/c23/videos'
FAKES = 'manipulated_sequences/DeepFakeDetection/c23/videos'
MASKS = 'manipulated_sequences/DeepFakeDetection/masks/videos'


def record(root, method, video, **more):
    folder = ORIGINALS if method == 'actors' else FAKES
    return VideoRecord(
        source=VideoFile(root / folder / f'{video}.mp4'),
        dataset='dfd',
        method=method,
        compression='c23',
        video=video,
        key=f'dfd/{method}/c23/{video}',
        **{'label': int(method != 'actors'), 'split': 'test', **more},
    )


def test_records(tmp_path):
    write_dfd_tree(tmp_path)
    scan = LAYOUT.scan(tmp_path, LayoutOptions())
    mask = VideoFile(tmp_path / MASKS / '01_02__hugging_happy__YVGY8LOK.mp4')
    assert scan.records == [
        record(
            tmp_path,
            'DeepFakeDetection',
            '01_02__hugging_happy__YVGY8LOK',
            target_id='01',
            source_id='02',
            pair='dfd/actors/c23/01__hugging_happy',
            mask=mask,
        ),
        record(
            tmp_path,
            'DeepFakeDetection',
            '01_02__walk_down_hall_angry__YVGY8LOK',
            target_id='01',
            source_id='02',
            pair='dfd/actors/c23/01__walk_down_hall_angry',
        ),
        record(
            tmp_path,
            'DeepFakeDetection',
            '02_06__hugging_happy__U6MDWIHG',
            target_id='02',
            source_id='06',
            pair='dfd/actors/c23/02__hugging_happy',
        ),
        record(tmp_path, 'actors', '01__hugging_happy', target_id='01'),
        record(tmp_path, 'actors', '02__hugging_happy', target_id='02'),
    ]
    assert scan.left_out == {
        f'{FAKES}/01_02__hugging_happy.mp4': 'its name is not <target>_<source>__<scene>__<8 characters>'
    }
    assert scan.missing == []


def test_split_masks_and_the_rest_of_the_tree(tmp_path):
    write_dfd_tree(tmp_path)
    # The videos of FaceForensics++ beside it are another set.
    touch_videos(
        tmp_path,
        [
            'original_sequences/youtube/c23/videos/000.mp4',
            'manipulated_sequences/Deepfakes/c23/videos/0_1.mp4',
        ],
    )
    scan = LAYOUT.scan(tmp_path, LayoutOptions(split='train', masks=False))
    assert len(scan.records) == 5
    assert {(r.split, r.mask) for r in scan.records} == {('train', None)}


@pytest.mark.parametrize('video', ['hugging_happy', '01', '01__', '1a__hugging_happy'])
def test_odd_genuine_names(tmp_path, video):
    touch_videos(tmp_path, [f'{ORIGINALS}/01__kitchen_pan.mp4', f'{ORIGINALS}/{video}.mp4'])
    scan = LAYOUT.scan(tmp_path, LayoutOptions())
    assert scan.left_out == {f'{ORIGINALS}/{video}.mp4': 'its name is not <actor>__<scene>'}


@pytest.mark.parametrize(
    ('options', 'error', 'message'),
    [
        ({'compression': 'c99'}, InputError, "compression='c99' is unknown to dfd"),
        ({'compression': 'raw'}, FileNotFoundError, 'actors/raw/videos.*levels there: c23'),
        ({'split': 'dev'}, InputError, "split='dev': must be one of train, val, test"),
        ({'methods': ('Deepfakes',)}, FileNotFoundError, 'no c23 videos of Deepfakes.*DeepFakeDetection'),
        ({'stills': True}, InputError, 'stills=True has no use for layout dfd'),
    ],
)
def test_bad_options(tmp_path, options, error, message):
    touch_videos(tmp_path, [f'{ORIGINALS}/01__kitchen_pan.mp4', f'{FAKES}/01_02__a__ABCDEFGH.mp4'])
    with pytest.raises(error, match=message):
        LAYOUT.scan(tmp_path, LayoutOptions(**options))


def test_nothing_there(tmp_path):
    with pytest.raises(FileNotFoundError, match='original_sequences/actors/c23/videos'):
        LAYOUT.scan(tmp_path, LayoutOptions())
    touch_videos(tmp_path, [f'{ORIGINALS}/odd.mp4'])
    with pytest.raises(FileNotFoundError, match=r'no usable dfd video.*1 left out: its name is not <actor>'):
        LAYOUT.scan(tmp_path, LayoutOptions())
