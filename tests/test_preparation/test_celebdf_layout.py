# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from iid_mm.errors import InputError
from iid_mm.preparation.layouts.base import LayoutOptions
from iid_mm.preparation.layouts.celebdf import LAYOUT, LAYOUT_V1, LAYOUT_V2, read_test_list
from iid_mm.structures.video_record import VideoFile, VideoRecord
from support.video_trees import touch_videos, write_celebdf_v1_tree, write_celebdf_v2_tree

REAL, TUBE, FAKE = 'Celeb-real', 'YouTube-real', 'Celeb-synthesis'


def record(root, dataset, method, video, split, **more):
    return VideoRecord(
        source=VideoFile(root / method / f'{video}.mp4'),
        dataset=dataset,
        method=method,
        compression='native',
        video=video,
        key=f'{dataset}/{method}/native/{video}',
        label=int(method == FAKE),
        split=split,
        **more,
    )


def write_list(root, text):
    (root / 'List_of_testing_videos.txt').write_bytes(text.encode())


@pytest.mark.parametrize(
    ('dataset', 'write', 'count'),
    [('celebdf_v1', write_celebdf_v1_tree, 100), ('celebdf_v2', write_celebdf_v2_tree, 518)],
)
def test_records(tmp_path, dataset, write, count):
    write(tmp_path)
    scan = LAYOUT.scan(tmp_path, LayoutOptions())

    def fake(video, split, target, source, genuine):
        pair = f'{dataset}/{REAL}/native/{genuine}' if genuine else None
        return record(tmp_path, dataset, FAKE, video, split, target_id=target, source_id=source, pair=pair)

    assert scan.records == [
        record(tmp_path, dataset, REAL, 'id0_0000', 'train', target_id='id0'),
        record(tmp_path, dataset, REAL, 'id1_0000', 'test', target_id='id1'),
        record(tmp_path, dataset, REAL, 'id2_0001', 'train', target_id='id2'),
        fake('id0_id1_0000', 'train', 'id0', 'id1', 'id0_0000'),
        fake('id1_id0_0000', 'test', 'id1', 'id0', 'id1_0000'),
        # Its genuine video is a test video: training must not see it.
        fake('id1_id2_0000', 'train', 'id1', 'id2', None),
        fake('id2_id0_0001', 'train', 'id2', 'id0', 'id2_0001'),
        record(tmp_path, dataset, TUBE, '00170', 'test', target_id='yt00170'),
        record(tmp_path, dataset, TUBE, '00208', 'train', target_id='yt00208'),
    ]
    assert scan.left_out == {
        'Celeb-synthesis/copy of id0_id1_0000.mp4': 'its name is not id<target>_id<source>_<take>'
    }
    assert scan.missing == [f'Celeb-synthesis/id30_id31_{n:04d}.mp4' for n in range(count - 3)]


@pytest.mark.parametrize(
    'text',
    [
        '1 YouTube-real/00170.mp4\r\n0 Celeb-synthesis/id1_id0_0000.mp4\r\n',
        '1 YouTube-real/00170.mp4  \n\n0 Celeb-synthesis/id1_id0_0000.mp4\t\n',
        '1 YouTube-real\\00170.mp4\n0  Celeb-synthesis\\id1_id0_0000.mp4',
        '1 Youtube-real/00170.mp4\n0 Celeb-synthesis/videos/id1_id0_0000.mp4\n',
        '\ufeff1 ./YouTube-real/00170.mp4\n0 Celeb-synthesis/id1_id0_0000.mp4\n',
    ],
)
def test_list_variants(tmp_path, text):
    write_list(tmp_path, text)
    assert read_test_list(tmp_path / 'List_of_testing_videos.txt') == {
        (TUBE, '00170'),
        (FAKE, 'id1_id0_0000'),
    }


def test_folders_videos_and_other_spelling(tmp_path):
    names = ['Celeb-real/videos/id1_0000.mp4', 'Youtube-real/videos/00170.mp4']
    touch_videos(tmp_path, [*names, 'Celeb-synthesis/id1_id0_0000.mp4', 'Celeb-real/.id7_0001.mp4'])
    write_list(tmp_path, '1 YouTube-real/00170.mp4\n')
    scan = LAYOUT_V2.scan(tmp_path, LayoutOptions())
    assert [(r.key, r.split) for r in scan.records] == [
        ('celebdf_v2/Celeb-real/native/id1_0000', 'train'),
        ('celebdf_v2/Celeb-synthesis/native/id1_id0_0000', 'train'),
        ('celebdf_v2/YouTube-real/native/00170', 'test'),
    ]
    assert scan.missing == []
    assert scan.left_out == {}


def test_list_elsewhere(tmp_path):
    root, other = tmp_path / 'data', tmp_path / 'lists'
    other.mkdir()
    touch_videos(root, ['Celeb-real/id1_0000.mp4'])
    write_list(other, '1 Celeb-real/id1_0000.mp4\n')
    for given_path in (other, other / 'List_of_testing_videos.txt'):
        scan = LAYOUT_V1.scan(root, LayoutOptions(splits_dir=given_path))
        assert [(r.key, r.split) for r in scan.records] == [('celebdf_v1/Celeb-real/native/id1_0000', 'test')]


@pytest.mark.parametrize(
    ('line', 'message'),
    [
        ('0 YouTube-real/00170.mp4', r'videos\.txt:2: label 0 for a video of YouTube-real.*all genuine'),
        ('1 Celeb-synthesis/id1_id0_0000.mp4', 'label 1 for a video of Celeb-synthesis.*all fake'),
        ('2 YouTube-real/00170.mp4', r'videos\.txt:2: .* is not a test video; expected lines'),
        ('YouTube-real/00170.mp4', 'is not a test video'),
        ('1 00170.mp4', 'is not a test video'),
        ('1 Other/00170.mp4', 'is not a test video'),
        ('1', 'is not a test video'),
    ],
)
def test_bad_lists(tmp_path, line, message):
    touch_videos(tmp_path, ['Celeb-real/id1_0000.mp4'])
    write_list(tmp_path, f'1 Celeb-real/id1_0000.mp4\n{line}\n')
    with pytest.raises(InputError, match=message):
        LAYOUT_V2.scan(tmp_path, LayoutOptions())


def test_unreadable_list(tmp_path):
    touch_videos(tmp_path, ['Celeb-real/id1_0000.mp4'])
    (tmp_path / 'List_of_testing_videos.txt').write_bytes(b'1 Celeb-real/\xff\xfe.mp4')
    with pytest.raises(InputError, match='is unreadable'):
        LAYOUT.scan(tmp_path, LayoutOptions())


def test_partial_list(tmp_path):
    touch_videos(tmp_path, ['Celeb-real/id1_0000.mp4'])
    write_list(tmp_path, '1 Celeb-real/id1_0000.mp4\n')
    with pytest.raises(InputError, match=r'names 1 videos.*100 \(celebdf_v1\), 518.*layout celebdf_v1 or'):
        LAYOUT.scan(tmp_path, LayoutOptions())
    assert LAYOUT_V1.scan(tmp_path, LayoutOptions()).records[0].dataset == 'celebdf_v1'
    assert LAYOUT_V2.scan(tmp_path, LayoutOptions()).records[0].dataset == 'celebdf_v2'


def test_missing_parts(tmp_path):
    with pytest.raises(FileNotFoundError, match='holds none of the folders Celeb-real'):
        LAYOUT.scan(tmp_path, LayoutOptions())
    touch_videos(tmp_path, ['Celeb-DF-v2/Celeb-real/odd.mp4'])
    with pytest.raises(FileNotFoundError, match="Celeb-DF-v2' has them: give that folder"):
        LAYOUT.scan(tmp_path, LayoutOptions())
    root = tmp_path / 'Celeb-DF-v2'
    with pytest.raises(FileNotFoundError, match=r'no test list .*training split.*--splits-dir'):
        LAYOUT.scan(root, LayoutOptions())
    write_list(root, '1 Celeb-real/id1_0000.mp4\n')
    with pytest.raises(FileNotFoundError, match=r'no usable celebdf_v2 video.*id<person>_<take>'):
        LAYOUT_V2.scan(root, LayoutOptions())
    with pytest.raises(FileNotFoundError, match='no native videos of Celeb-synthesis'):
        LAYOUT_V2.scan(root, LayoutOptions(methods=('Celeb-synthesis',)))
    with pytest.raises(
        InputError, match=r"split='train' has no use for layout celebdf_v2: .* official splits"
    ):
        LAYOUT_V2.scan(root, LayoutOptions(split='train'))


people = st.integers(0, 3)
takes = st.integers(0, 2)
fakes = st.tuples(people, people, takes).filter(lambda f: f[0] != f[1])


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    genuine=st.sets(st.tuples(people, takes), min_size=1, max_size=6),
    forged=st.sets(fakes, max_size=8),
    data=st.data(),
)
def test_test_videos_stay_out_of_training(tmp_path_factory, genuine, forged, data):
    root = tmp_path_factory.mktemp('celeb')
    names = {f'{REAL}/id{person}_{take:04d}.mp4' for person, take in genuine}
    names |= {f'{FAKE}/id{a}_id{b}_{take:04d}.mp4' for a, b, take in forged}
    tested = data.draw(st.sets(st.sampled_from(sorted(names))))
    touch_videos(root, names)
    write_list(root, ''.join(f'{int(name.startswith(REAL))} {name}\n' for name in sorted(tested)))
    records = {r.key: r for r in LAYOUT_V2.scan(root, LayoutOptions()).records}
    assert {f'{r.method}/{r.video}.mp4' for r in records.values()} == names
    assert {f'{r.method}/{r.video}.mp4' for r in records.values() if r.split == 'test'} == tested
    for r in records.values():
        if r.pair in records:
            assert records[r.pair].split == r.split
            assert records[r.pair].target_id == r.target_id
