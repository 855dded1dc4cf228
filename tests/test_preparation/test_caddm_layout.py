# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json

import pytest

from iid_mm.errors import InputError
from iid_mm.faces.analyzers.base import FrameRef
from iid_mm.faces.analyzers.precomputed_analyzer import PrecomputedAnalyzer
from iid_mm.preparation.layouts.base import LayoutOptions
from iid_mm.preparation.layouts.caddm import LAYOUT
from iid_mm.structures.video_record import ImageFiles, LandmarkValues, VideoRecord
from support.image_trees import add_frames, points_of, write_caddm_tree, write_json

REAL, FAKE = 'original_sequences/youtube/raw/frames', 'manipulated_sequences/Deepfakes/raw/frames'


@pytest.fixture
def tree(tmp_path):
    write_caddm_tree(tmp_path)
    return tmp_path


def record(root, video, split, *, positions=range(12), known=range(12)):
    folder = FAKE if '_' in video else REAL
    target, _, source = video.partition('_')
    method = folder.split('/')[1]
    names = tuple(f'frame_{9 * p}.png' for p in positions)
    points = tuple(tuple(map(float, points_of(p).ravel())) if p in known else () for p in positions)
    return VideoRecord(
        source=ImageFiles(root / folder / video, names, tuple(9 * p for p in positions)),
        dataset='ffpp',
        method=method,
        compression='raw',
        video=video,
        key=f'ffpp/{method}/raw/{video}',
        label=int('_' in video),
        split=split,
        target_id=target,
        source_id=source or None,
        pair=f'ffpp/youtube/raw/{target}' if source else None,
        landmarks=LandmarkValues(points),
    )


def test_records(tree):
    scan = LAYOUT.scan(tree, LayoutOptions())
    train, test = tree / 'train_images', tree / 'test_images'
    assert scan.records == [
        record(train, '071_054', 'train', positions=(0, *range(2, 12))),
        record(test, '953_974', 'test'),
        record(train, '054', 'train'),
        record(train, '071', 'train'),
        record(test, '953', 'test'),
        # All frames have the entry of the last one.
        record(test, '974', 'test', known=[11]),
    ]
    assert scan.left_out == {
        f'test_images/{REAL}/974: landmarks of 11 frames': 'ldm.json gives them those of another frame'
    }
    assert scan.missing == [f'train_images/{FAKE}/071_054: 1 of 12 frames (frame_9, ...)']
    analyzer = PrecomputedAnalyzer(tree)
    assert [analyzer.check_video(r) for r in scan.records] == [''] * 6
    assert (analyzer.analyze(None, where=FrameRef(scan.records[0], 18))[0].landmarks == points_of(2)).all()


def test_one_list(tree):
    """The root is the folder of the list; the paths in it begin further up."""
    root = tree / 'test_images'
    expected = [record(root, video, 'test') for video in ('953_974', '953')]
    expected.append(record(root, '974', 'test', known=[11]))
    assert LAYOUT.scan(root, LayoutOptions()).records == expected
    renamed = (tree / 'test_images').rename(tree / 'mine')
    assert {r.split for r in LAYOUT.scan(renamed, LayoutOptions()).records} == {'test'}
    text = (renamed / 'ldm.json').read_text()
    (renamed / 'ldm.json').write_text(text.replace('./test_images', 'C:\\\\data'))
    assert {r.split for r in LAYOUT.scan(renamed, LayoutOptions()).records} == {'train'}
    assert {r.split for r in LAYOUT.scan(renamed, LayoutOptions(split='val')).records} == {'val'}
    with pytest.raises(InputError, match='must be one of'):
        LAYOUT.scan(renamed, LayoutOptions(split='dev'))


def test_folder_on_disk_decides_the_split(tree):
    """As the script always writes `test_images`, which people rename."""
    path = tree / 'train_images/ldm.json'
    path.write_text(path.read_text().replace('./train_images', './test_images'))
    splits = {r.video: r.split for r in LAYOUT.scan(tree, LayoutOptions()).records}
    train, test = ('071_054', '054', '071'), ('953_974', '953', '974')
    assert splits == dict.fromkeys(train, 'train') | dict.fromkeys(test, 'test')


def test_official_splits(tree):
    for name, pairs in {'train': [['953', '974']], 'val': [['071', '001']], 'test': []}.items():
        write_json(tree / f'splits/{name}.json', pairs)
    scan = LAYOUT.scan(tree, LayoutOptions())
    splits = {r.video: r.split for r in scan.records}
    assert splits == {'953_974': 'train', '071': 'val', '953': 'train', '974': 'train'}
    assert scan.left_out[f'train_images/{FAKE}/071_054'] == 'an id of it is in no split'
    with pytest.raises(InputError, match="split='val' has no use"):
        LAYOUT.scan(tree, LayoutOptions(split='val'))
    with pytest.raises(FileNotFoundError, match=r'no train\.json'):
        LAYOUT.scan(tree, LayoutOptions(splits_dir=tree / 'nowhere'))


def test_options(tree):
    assert len(LAYOUT.scan(tree, LayoutOptions(methods=('Deepfakes',), compression='raw')).records) == 6
    with pytest.raises(FileNotFoundError, match='no raw videos of FaceSwap'):
        LAYOUT.scan(tree, LayoutOptions(methods=('FaceSwap',)))
    with pytest.raises(FileNotFoundError, match="compression='c40': not in"):
        LAYOUT.scan(tree, LayoutOptions(compression='c40'))
    with pytest.raises(InputError, match='stills'):
        LAYOUT.scan(tree, LayoutOptions(stills=True))


def test_other_data_set(tmp_path):
    """The first folder is the manipulation, pairs come from source_path."""
    root = tmp_path / 'Celeb-DF-v2'
    listed = {}
    for folder, source, label in (
        ('Celeb-synthesis/frames/id0_id1_0000', 'Celeb-real/frames/id0_0000', 1),
        ('Celeb-real/frames/id0_0000', 'Celeb-real/frames/id0_0000', 0),
        ('lone', None, 1),
        # Frames of other names are not the same moments.
        ('Celeb-synthesis/frames/id2_id1_0000', None, 1),
    ):
        add_frames(root / folder, ['0.png', '1.jpg'], seed=0)
        for name in '01':
            entry = {'landmark': [[1, 2]] * 68, 'label': label}
            if source:
                entry['source_path'] = f'/data/x/{source}/{name}'
            listed[f'/data/x/{folder}/{name}'] = entry
    for name in '01':
        listed[f'/data/x/Celeb-synthesis/frames/id2_id1_0000/{name}']['source_path'] = (
            f'/data/x/Celeb-real/frames/id0_0000/5{name}'
        )
    write_json(root / 'ldm.json', listed)
    scan = LAYOUT.scan(root, LayoutOptions())
    assert [(r.key, r.pair, r.target_id, r.split) for r in scan.records] == [
        (
            'Celeb-DF-v2/Celeb-real/native/id0_0000', None, 'id0_0000', 'train',
        ),
        (
            'Celeb-DF-v2/Celeb-synthesis/native/id0_id1_0000',
            'Celeb-DF-v2/Celeb-real/native/id0_0000', 'id0_0000', 'train',
        ),
        ('Celeb-DF-v2/Celeb-synthesis/native/id2_id1_0000', None, None, 'train'),
        ('Celeb-DF-v2/fake/native/lone', None, None, 'train'),
    ]  # fmt: skip
    assert scan.records[0].source == ImageFiles(
        root / 'Celeb-real/frames/id0_0000', ('0.png', '1.jpg'), (0, 1)
    )


def test_contradicting_labels(tree):
    path = tree / 'train_images/ldm.json'
    listed = json.loads(path.read_text())
    listed[f'./train_images/{FAKE}/071_054/frame_0']['label'] = 0
    path.write_text(json.dumps(listed))
    scan = LAYOUT.scan(tree, LayoutOptions())
    assert [r.video for r in scan.records] == ['953_974', '054', '071', '953', '974']
    assert 'labels of its frames contradict' in scan.left_out[f'train_images/{FAKE}/071_054']


@pytest.mark.parametrize(
    ('key', 'change', 'message'),
    [
        ('a/b/0', {'label': 2}, r"'a/b/0': label 2; expected 0"),
        ('a/b/0', {'label': None}, 'label None'),
        ('a/b/0', {'source_path': 5}, 'source_path 5; expected a path'),
        ('a/b/0', {'landmark': [[1, 2]] * 5}, 'landmark is not a list of 68 or 81 points'),
        ('a/b/0', {'landmark': [[1, 2, 3]] * 68}, 'landmark is not a list'),
        ('a/b/0', {'landmark': [[1, float('nan')]] * 68}, 'landmark is not a list'),
        ('a/b/0', {'landmark': [[1, '2']] * 68}, 'landmark is not a list'),
        ('a/b/0', {'landmark': None}, 'landmark is not a list'),
        ('0', {}, 'is no path of a frame'),
        ('../..', {}, 'is no path of a frame'),
    ],
)
def test_bad_entries(tmp_path, key, change, message):
    write_json(tmp_path / 'ldm.json', {key: {'landmark': [[1, 2]] * 68, 'label': 0} | change})
    with pytest.raises(InputError, match=message):
        LAYOUT.scan(tmp_path, LayoutOptions())


def test_bad_lists(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'no ldm.json in'):
        LAYOUT.scan(tmp_path, LayoutOptions())
    for text in ('', '[]', '{"a/b": []}'):
        (tmp_path / 'ldm.json').write_text(text)
        with pytest.raises(InputError, match=r'ldm.json'):
            LAYOUT.scan(tmp_path, LayoutOptions())
    (tmp_path / 'ldm.json').write_text('{}')
    with pytest.raises(FileNotFoundError, match='no usable'):
        LAYOUT.scan(tmp_path, LayoutOptions())


def test_hostile_paths(tmp_path):
    """Paths that lead out of the root are looked for inside it."""
    add_frames(tmp_path / 'secret/v', ['0.png'], seed=0)
    root = tmp_path / 'root'
    add_frames(root / 'real/v', ['1.png'], seed=0)
    listed = {'../secret/v/0': {'landmark': [[1, 2]] * 68, 'label': 0}}
    listed |= {'real/v/1': listed['../secret/v/0'], 'real/v/../../../secret/v/0': listed['../secret/v/0']}
    write_json(root / 'ldm.json', listed)
    scan = LAYOUT.scan(root, LayoutOptions())
    assert [r.source for r in scan.records] == [ImageFiles(root / 'real/v', ('1.png',), (1,))]
    assert scan.missing == ['secret/v']
