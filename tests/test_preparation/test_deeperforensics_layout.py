# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from iid_mm.errors import InputError
from iid_mm.preparation.layouts.base import LayoutOptions
from iid_mm.preparation.layouts.deeperforensics import LAYOUT
from iid_mm.structures.video_record import VideoFile, VideoRecord
from support.video_trees import touch_videos, write_deeperforensics_tree

FAKES = 'manipulated_videos/end_to_end'
GENUINE = 'original_sequences/youtube/c23/videos'


def record(root, method, video, split, **more):
    folder = GENUINE if method == 'youtube' else f'manipulated_videos/{method}'
    return VideoRecord(
        source=VideoFile(root / folder / f'{video}.mp4'),
        dataset='deeperforensics',
        method=method,
        compression='native',
        video=video,
        key=f'deeperforensics/{method}/native/{video}',
        label=int(method != 'youtube'),
        split=split,
        target_id=video[:3],
        **more,
    )


def write_lists(root, **videos):
    (root / 'lists/splits').mkdir(parents=True, exist_ok=True)
    for split in ('train', 'val', 'test'):
        (root / f'lists/splits/{split}.txt').write_text('\n'.join(videos.get(split, [])))


def test_records(tmp_path):
    write_deeperforensics_tree(tmp_path)
    scan = LAYOUT.scan(tmp_path, LayoutOptions())

    def fake(method, video, split):
        pair = f'deeperforensics/youtube/native/{video[:3]}'
        return record(tmp_path, method, video, split, source_id=video[4:], pair=pair)

    assert scan.records == [
        fake('end_to_end', '000_M101', 'train'),
        fake('end_to_end', '001_W006', 'val'),
        fake('end_to_end', '002_M004', 'test'),
        fake('end_to_end', '003_M101', 'train'),
        fake('end_to_end_mix_2_distortions', '000_M101', 'train'),
        fake('end_to_end_mix_2_distortions', '001_W006', 'val'),
        fake('end_to_end_mix_2_distortions', '002_M004', 'test'),
        fake('end_to_end_mix_2_distortions', '003_M101', 'train'),
        record(tmp_path, 'youtube', '000', 'train'),
        record(tmp_path, 'youtube', '001', 'val'),
        record(tmp_path, 'youtube', '002', 'test'),
    ]
    assert scan.left_out == {
        'manipulated_videos/end_to_end/004_M004.mp4': 'it is in no split list',
        'source_videos': 'recordings of the actors: not the genuine class',
    }
    assert scan.missing == []


def test_methods_and_missing(tmp_path):
    touch_videos(
        tmp_path, [f'{FAKES}/000_M101.mp4', 'manipulated_videos/end_to_end_level_1/videos/000_M101.mp4']
    )
    write_lists(tmp_path, train=['000_M101.mp4', 'end_to_end\\001_W006.mp4 '])
    scan = LAYOUT.scan(tmp_path, LayoutOptions())
    assert [r.method for r in scan.records] == ['end_to_end', 'end_to_end_level_1']
    assert scan.missing == [
        'manipulated_videos/end_to_end/001_W006.mp4',
        'manipulated_videos/end_to_end_level_1/001_W006.mp4',
    ]
    scan = LAYOUT.scan(tmp_path, LayoutOptions(methods=('end_to_end',)))
    assert [r.method for r in scan.records] == ['end_to_end']
    with pytest.raises(FileNotFoundError, match=r'no native videos of reenact_postprocess.*end_to_end, end'):
        LAYOUT.scan(tmp_path, LayoutOptions(methods=('reenact_postprocess',)))


def test_genuine_video_of_two_splits_is_for_the_later_one(tmp_path):
    touch_videos(tmp_path, [f'{FAKES}/{v}.mp4' for v in ('000_M101', '000_W006')])
    touch_videos(tmp_path, [f'{GENUINE}/000.mp4', f'{GENUINE}/777.mp4'])
    write_lists(tmp_path, train=['000_M101.mp4'], test=['000_W006.mp4'])
    scan = LAYOUT.scan(tmp_path, LayoutOptions())
    assert [(r.video, r.split, r.pair) for r in scan.records] == [
        ('000_M101', 'train', None),
        ('000_W006', 'test', 'deeperforensics/youtube/native/000'),
        ('000', 'test', None),
    ]
    assert scan.left_out == {f'{GENUINE}/777.mp4': 'no fake of a split was made from it'}


def test_lists_elsewhere(tmp_path):
    root = tmp_path / 'data'
    touch_videos(root, [f'{FAKES}/000_M101.mp4', f'{FAKES}/odd.mp4'])
    write_lists(tmp_path, test=['000_M101.mp4'])
    scan = LAYOUT.scan(root, LayoutOptions(splits_dir=tmp_path / 'lists/splits'))
    assert [r.split for r in scan.records] == ['test']
    assert scan.left_out == {f'{FAKES}/odd.mp4': 'its name is not <target>_<actor>'}


@pytest.mark.parametrize(
    ('lists', 'message'),
    [
        ({'train': ['000_M101.mp4', '000']}, r"train\.txt:2: '000' is not a fake; expected one fake a line"),
        (
            {'train': ['000_M101.mp4'], 'test': ['000_M101.mp4']},
            r"test\.txt:1: '000_M101' is also in train\.txt",
        ),
    ],
)
def test_bad_lists(tmp_path, lists, message):
    touch_videos(tmp_path, [f'{FAKES}/000_M101.mp4'])
    write_lists(tmp_path, **lists)
    with pytest.raises(InputError, match=message):
        LAYOUT.scan(tmp_path, LayoutOptions())


def test_nothing_there(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'no folder .*manipulated_videos/end_to_end'):
        LAYOUT.scan(tmp_path, LayoutOptions())
    touch_videos(tmp_path, [f'{FAKES}/000_M101.mp4'])
    with pytest.raises(FileNotFoundError, match=r"list file .*lists/splits/train\.txt' is missing"):
        LAYOUT.scan(tmp_path, LayoutOptions())
    write_lists(tmp_path)
    with pytest.raises(FileNotFoundError, match=r'no usable deeperforensics video.*it is in no split list'):
        LAYOUT.scan(tmp_path, LayoutOptions())
    with pytest.raises(InputError, match="split='test' has no use for layout deeperforensics"):
        LAYOUT.scan(tmp_path, LayoutOptions(split='test'))
