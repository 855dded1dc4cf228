# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import shutil

import pytest

from iid_mm.errors import InputError
from iid_mm.faces.analyzers.base import FrameRef
from iid_mm.faces.analyzers.precomputed_analyzer import PrecomputedAnalyzer
from iid_mm.preparation.layouts.base import LayoutOptions
from iid_mm.preparation.layouts.sbi import LAYOUT
from iid_mm.structures.video_record import ImageFiles, LandmarkFiles, VideoFile, VideoRecord
from support.image_trees import points_of, write_json, write_sbi_tree

REAL, FAKE = 'original_sequences/youtube', 'manipulated_sequences/Deepfakes'
NUMBERS = tuple(range(0, 372, 31))


@pytest.fixture
def tree(tmp_path):
    write_sbi_tree(tmp_path)
    return tmp_path


def record(root, video, split, *, skip=(), mask=None):
    folder = FAKE if '_' in video else REAL
    target, _, source = video.partition('_')
    method = folder.split('/')[1]
    names = tuple('' if n in skip else f'{n:03d}.npy' for n in NUMBERS)
    return VideoRecord(
        source=ImageFiles(
            root / folder / 'raw/frames' / video, tuple(f'{n:03d}.png' for n in NUMBERS), NUMBERS
        ),
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
        mask=VideoFile(mask) if mask else None,
        landmarks=LandmarkFiles(root / folder / 'raw/landmarks' / video, names),
    )


def test_records(tree):
    scan = LAYOUT.scan(tree, LayoutOptions())
    assert scan.records == [
        record(tree, '071_054', 'train', mask=tree / FAKE / 'masks/videos/071_054.mp4'),
        record(tree, '953_974', 'test'),
        record(tree, '071', 'train', skip=(0,)),
        record(tree, '953', 'test'),
    ]
    assert scan.left_out == {f'{REAL}/raw/frames/1000': 'its id is in no split'}
    assert scan.missing == [
        *(f'{FAKE}/raw/frames/{video}' for video in ('054_071', '672_720', '720_672', '974_953')),
        *(f'{REAL}/raw/frames/{video}' for video in ('054', '672', '720', '974')),
    ]
    assert LAYOUT.scan(tree, LayoutOptions(masks=False)).records[0].mask is None


def test_landmarks(tree):
    """The largest face is the first."""
    analyzer = PrecomputedAnalyzer(tree)
    genuine = LAYOUT.scan(tree, LayoutOptions()).records[2]
    assert analyzer.check_video(genuine) == ''
    assert analyzer.analyze(None, where=FrameRef(genuine, 0)) == []
    faces = analyzer.analyze(None, where=FrameRef(genuine, 62))
    assert len(faces) == 2
    assert (faces[0].landmarks == points_of(2)).all()


def test_compression(tree):
    with pytest.raises(FileNotFoundError, match=r"compression='c23': not in .*levels there: raw"):
        LAYOUT.scan(tree, LayoutOptions(compression='c23'))
    with pytest.raises(InputError, match="compression='c99' is unknown to sbi"):
        LAYOUT.scan(tree, LayoutOptions(compression='c99'))
    shutil.copytree(tree / REAL / 'raw/frames/071', tree / REAL / 'c23/frames/071')
    assert LAYOUT.scan(tree, LayoutOptions()).records[0].compression == 'raw'
    (only,) = LAYOUT.scan(tree, LayoutOptions(compression='c23')).records
    assert (only.key, only.landmarks) == ('ffpp/youtube/c23/071', None)


def test_methods(tree):
    assert len(LAYOUT.scan(tree, LayoutOptions(methods=('Deepfakes',))).records) == 4
    with pytest.raises(FileNotFoundError, match='no raw videos of FaceSwap'):
        LAYOUT.scan(tree, LayoutOptions(methods=('FaceSwap',)))


def test_splits(tree):
    with pytest.raises(InputError, match="split='train' has no use"):
        LAYOUT.scan(tree, LayoutOptions(split='train'))
    for name in ('train', 'val', 'test'):
        (tree / f'{name}.json').unlink()
    with pytest.raises(FileNotFoundError, match=r'no train.json'):
        LAYOUT.scan(tree, LayoutOptions())
    scan = LAYOUT.scan(tree, LayoutOptions(split='val'))
    assert {r.split for r in scan.records} == {'val'}
    assert (len(scan.records), scan.missing) == (5, [])
    for name, pairs in {'train': [['071', '953']], 'val': [], 'test': [['054', '974']]}.items():
        write_json(tree / f'lists/{name}.json', pairs)
    scan = LAYOUT.scan(tree, LayoutOptions(splits_dir=tree / 'lists'))
    assert [r.video for r in scan.records] == ['071', '953']
    assert set(scan.left_out.values()) == {
        'its id is in no split',
        'its target and its source are in different splits',
    }


def test_odd_folders(tree):
    (tree / FAKE / 'raw/frames/noname').mkdir()
    (tree / REAL / 'raw/frames/054').mkdir()
    (tree / 'manipulated_sequences/DeepFakeDetection/raw/frames/01_02').mkdir(parents=True)
    scan = LAYOUT.scan(tree, LayoutOptions())
    assert len(scan.records) == 4
    assert scan.left_out[f'{FAKE}/raw/frames/noname'] == 'its name is not <target>_<source>'
    assert scan.left_out[f'{REAL}/raw/frames/054'] == 'no images in it'


def test_nothing_there(tmp_path):
    with pytest.raises(
        FileNotFoundError, match='holds no folder original_sequences/youtube/<compression>/frames'
    ):
        LAYOUT.scan(tmp_path, LayoutOptions())
    with pytest.raises(InputError, match='stills'):
        LAYOUT.scan(tmp_path, LayoutOptions(stills=True))
