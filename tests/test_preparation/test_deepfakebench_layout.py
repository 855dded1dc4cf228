# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json

import pytest

from iid_mm.errors import InputError
from iid_mm.faces.analyzers.base import FrameRef
from iid_mm.faces.analyzers.precomputed_analyzer import PrecomputedAnalyzer
from iid_mm.preparation.layouts.base import LayoutOptions
from iid_mm.preparation.layouts.deepfakebench import LAYOUT
from iid_mm.structures.video_record import ImageFiles, LandmarkFiles, VideoRecord
from support.image_trees import points_of, write_deepfakebench_tree, write_json

NUMBERS = tuple(range(0, 324, 27))
NAMES = tuple(f'{n:03d}.png' for n in NUMBERS)
REAL = 'FaceForensics++/original_sequences/youtube/c23'
FAKE = 'FaceForensics++/manipulated_sequences/Deepfakes/c23'


@pytest.fixture
def tree(tmp_path):
    write_deepfakebench_tree(tmp_path)
    return tmp_path


def record(root, video, split, *, skip=()):
    fake = '_' in video
    base = root / 'datasets/rgb' / (FAKE if fake else REAL)
    target, _, source = video.partition('_')
    method = 'Deepfakes' if fake else 'youtube'
    names = tuple('' if n in skip else f'{n:03d}.npy' for n in NUMBERS)
    return VideoRecord(
        source=ImageFiles(base / 'frames' / video, NAMES, NUMBERS),
        dataset='ffpp',
        method=method,
        compression='c23',
        video=video,
        key=f'ffpp/{method}/c23/{video}',
        label=int(fake),
        split=split,
        target_id=target,
        source_id=source or None,
        pair=f'ffpp/youtube/c23/{target}' if fake else None,
        mask=ImageFiles(base / 'masks' / video, NAMES, NUMBERS) if fake else None,
        landmarks=LandmarkFiles(base / 'landmarks' / video, names),
        cropped=True,
    )


def test_records(tree):
    scan = LAYOUT.scan(tree, LayoutOptions())
    assert scan.records == [
        record(tree, '071_054', 'train'),
        record(tree, '953_974', 'test'),
        record(tree, '071', 'train', skip=(0,)),
        record(tree, '720', 'val'),
        record(tree, '953', 'test'),
    ]
    assert scan.left_out == {'FaceForensics++.json: test videos in val': '1 entries, prepared for test only'}
    assert scan.missing == ['FF-DF/720_672']
    analyzer = PrecomputedAnalyzer(tree)
    assert [analyzer.check_video(r) for r in scan.records] == [''] * 5
    assert (analyzer.analyze(None, where=FrameRef(scan.records[0], 54))[0].landmarks == points_of(2)).all()


def test_places(tree):
    """The images and the list may lie elsewhere; what is in front of the paths does not matter."""
    expected = [r.key for r in LAYOUT.scan(tree, LayoutOptions()).records]
    listing = (tree / 'preprocessing/dataset_json/FaceForensics++.json').rename(tree / 'list.json')
    text = listing.read_text()
    for prefix in ('./datasets\\\\rgb\\\\', 'F:\\\\x\\\\', '/home/me/', '../datasets/rgb/'):
        listing.write_text(text.replace('"FaceForensics++\\\\', f'"{prefix}FaceForensics++\\\\'))
        assert [r.key for r in LAYOUT.scan(tree, LayoutOptions()).records] == expected
        for root in (tree / 'datasets', tree / 'datasets/rgb', tree / 'datasets/rgb/FaceForensics++'):
            found = LAYOUT.scan(root, LayoutOptions(splits_dir=listing)).records
            assert [r.key for r in found] == expected
    (tree / 'dataset_json').mkdir()
    listing.rename(tree / 'dataset_json/FF.json')
    assert [r.key for r in LAYOUT.scan(tree, LayoutOptions()).records] == expected
    assert (
        LAYOUT.scan(tree, LayoutOptions(splits_dir=tree / 'dataset_json', masks=False)).records[0].mask
        is None
    )


def test_several_lists(tree):
    folder = tree / 'preprocessing/dataset_json'
    (folder / 'Celeb-DF-v2.json').write_text('{}')
    with pytest.raises(
        InputError, match=r'several sets \(Celeb-DF-v2.json, FaceForensics\+\+.json\).*--splits-dir'
    ):
        LAYOUT.scan(tree, LayoutOptions())
    assert LAYOUT.scan(tree, LayoutOptions(splits_dir=folder / 'FaceForensics++.json')).records
    with pytest.raises(FileNotFoundError, match=r'no <set>.json in .*download it'):
        LAYOUT.scan(tree, LayoutOptions(splits_dir=tree / 'datasets'))


def make(root, data, *, folders=None):
    """Write a list, and an image for each frame in it; frames are ``<folder>/frames/<video>/<n>.png``."""
    for labels in data.values():
        for splits in labels.values():
            for videos in splits.values():
                for name, entry in videos.items():
                    for path in entry['frames'] if isinstance(entry, dict) and 'frames' in entry else ():
                        (root / path).parent.mkdir(parents=True, exist_ok=True)
                        (root / path).touch()
                    assert name
    write_json(root / f'{next(iter(data))}.json', data)
    return LAYOUT.scan(root, LayoutOptions())


def videos(label, folder, *names):
    return {
        name: {'label': label, 'frames': [f'{folder}/frames/{name}/{n:03d}.png' for n in (4, 0)]}
        for name in names
    }


def summary(scan):
    return {
        r.key: (r.split, r.target_id, r.source_id, r.pair and r.pair.split('/', 1)[1]) for r in scan.records
    }


def test_celebdf(tmp_path):
    """All videos are in train, those of the test list in val and test, too."""
    real, tube, fake = (f'Celeb-DF-v2/{name}' for name in ('Celeb-real', 'YouTube-real', 'Celeb-synthesis'))
    r_test = videos('CelebDFv2_real', real, 'id0_0000') | videos('CelebDFv2_real', tube, '00170')
    r_all = r_test | videos('CelebDFv2_real', real, 'id2_0001')
    f_test = videos('CelebDFv2_fake', fake, 'id0_id1_0000')
    f_all = f_test | videos('CelebDFv2_fake', fake, 'id2_id0_0001', 'id0_id2_0000')
    data = {
        'CelebDFv2_real': {'train': r_all, 'val': r_test, 'test': r_test},
        'CelebDFv2_fake': {'train': f_all, 'val': f_test, 'test': f_test},
    }
    scan = make(tmp_path, {'Celeb-DF-v2': data})
    name = 'celebdf_v2'
    assert summary(scan) == {
        f'{name}/Celeb-real/native/id0_0000': ('test', 'id0', None, None),
        f'{name}/Celeb-real/native/id2_0001': ('train', 'id2', None, None),
        f'{name}/Celeb-synthesis/native/id0_id1_0000': ('test', 'id0', 'id1', 'Celeb-real/native/id0_0000'),
        # The genuine video is a test video.
        f'{name}/Celeb-synthesis/native/id0_id2_0000': ('train', 'id0', 'id2', None),
        f'{name}/Celeb-synthesis/native/id2_id0_0001': ('train', 'id2', 'id0', 'Celeb-real/native/id2_0001'),
        f'{name}/YouTube-real/native/00170': ('test', 'yt00170', None, None),
    }
    assert scan.records[0].source.numbers == (0, 4)
    assert scan.left_out == {
        'Celeb-DF-v2.json: test videos in train': '3 entries, prepared for test only',
        'Celeb-DF-v2.json: test videos in val': '3 entries, prepared for test only',
    }
    with pytest.raises(InputError, match='split'):
        LAYOUT.scan(tmp_path, LayoutOptions(split='train'))


def test_sets_without_splits(tmp_path):
    """DFD and UADFV list every video in every split."""
    tree = 'FaceForensics++/{}/c23'
    real = videos('DFD_real', tree.format('original_sequences/actors'), '01__hugging_happy')
    fake = videos(
        'DFD_fake', tree.format('manipulated_sequences/DeepFakeDetection'), '01_02__hugging_happy__YVGY8LOK'
    )
    every = ('train', 'val', 'test')
    data = {
        'DFD_real': {split: {'c23': real} for split in every},
        'DFD_fake': {split: {'c23': fake} for split in every},
    }
    for path in [*real.values(), *fake.values()]:
        for name in path['frames']:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).touch()
    write_json(tmp_path / 'DeepFakeDetection.json', {'DeepFakeDetection': data})
    scan = LAYOUT.scan(tmp_path, LayoutOptions())
    assert summary(scan) == {
        'dfd/DeepFakeDetection/c23/01_02__hugging_happy__YVGY8LOK': (
            'test', '01', '02', 'actors/c23/01__hugging_happy',
        ),
        'dfd/actors/c23/01__hugging_happy': ('test', '01', None, None),
    }  # fmt: skip
    assert scan.left_out == {}
    assert {r.split for r in LAYOUT.scan(tmp_path, LayoutOptions(split='val')).records} == {'val'}
    (tmp_path / 'DeepFakeDetection.json').unlink()
    real, fake = videos('UADFV_Real', 'UADFV/real', '0000'), videos('UADFV_Fake', 'UADFV/fake', '0000_fake')
    scan = make(
        tmp_path,
        {'UADFV': {'UADFV_Real': dict.fromkeys(every, real), 'UADFV_Fake': dict.fromkeys(every, fake)}},
    )
    assert summary(scan) == {
        'uadfv/fake/native/0000_fake': ('test', '0000', None, 'real/native/0000'),
        'uadfv/real/native/0000': ('test', '0000', None, None),
    }


def test_dfdc(tmp_path):
    """The fields of one video lie among the videos of `val`; training videos are copied into it."""
    train, test = (
        videos('DFDC_Real', 'DFDC/train/dfdc_train_part_0', 'aaa'),
        videos('DFDC_Real', 'DFDC/test', 'bbb'),
    )
    val = {'label': 'DFDC_Real', 'frames': ['DFDC/test/frames/bbb/000.png'], **train}
    fake = {'train': {}, 'val': {}, 'test': videos('DFDC_Fake', 'DFDC/test', 'ccc')}
    scan = make(
        tmp_path, {'DFDC': {'DFDC_Real': {'train': train, 'val': val, 'test': test}, 'DFDC_Fake': fake}}
    )
    assert summary(scan) == {
        'dfdc/fake/native/ccc': ('test', None, None, None),
        'dfdc/real/native/aaa': ('train', None, None, None),
        'dfdc/real/native/bbb': ('test', None, None, None),
    }
    assert scan.left_out == {
        'DFDC.json: DFDC_Real/val': '2 entries that are no video',
        'DFDC.json: train videos in val': '1 entries, prepared for train only',
    }


def test_other_sets(tmp_path):
    data = {
        'DFDCP_Real': {'train': videos('DFDCP_Real', 'DFDCP/original_videos', '643049_A_001')},
        'DFDCP_FakeA': {'train': videos('DFDCP_FakeA', 'DFDCP/method_A', '1224068_643049_A_001')},
    }
    assert summary(make(tmp_path / 'p', {'DFDCP': data})) == {
        'dfdcp/method_A/native/1224068_643049_A_001': ('train', '643049', '1224068', None),
        'dfdcp/original_videos/native/643049_A_001': ('train', '643049', None, None),
    }
    folder = 'DeeperForensics-1.0/manipulated_videos/end_to_end'
    data = {'DF_fake': {'test': videos('DF_fake', folder, '000_M101')}}
    assert summary(make(tmp_path / 'df', {'DeeperForensics-1.0': data})) == {
        'deeperforensics/end_to_end/native/000_M101': ('test', '000', 'M101', None)
    }
    data = {
        'simswap Fake': {'test': videos('simswap Fake', 'x', 'v')},
        'FF-new': {'test': videos('FF-new', 'y', 'w')},
    }
    assert list(summary(make(tmp_path / 'o', {'My Set': data}))) == [
        'my_set/FF-new/native/w',
        'my_set/simswap Fake/native/v',
    ]


def test_compression(tree):
    path = tree / 'preprocessing/dataset_json/FaceForensics++.json'
    text = path.read_text()
    with pytest.raises(FileNotFoundError, match=r"compression='raw': not in .*levels there: c23"):
        LAYOUT.scan(tree, LayoutOptions(compression='raw'))
    with pytest.raises(InputError, match="compression='c99' is unknown"):
        LAYOUT.scan(tree, LayoutOptions(compression='c99'))
    # Two levels: c23, unless the name of the list or the user says otherwise.
    data = json.loads(text)
    for splits in data['FaceForensics++'].values():
        for levels in splits.values():
            levels['c40'] = {}
    data['FaceForensics++']['FF-real']['train']['c40'] = {
        '000': {'label': 'FF-real', 'frames': [f'{REAL}/frames/071/000.png']}
    }
    path.write_text(json.dumps(data))
    assert len(LAYOUT.scan(tree, LayoutOptions()).records) == 5
    assert [r.key for r in LAYOUT.scan(tree, LayoutOptions(compression='c40')).records] == [
        'ffpp/youtube/c40/000'
    ]
    path.rename(path.with_name('FaceForensics++_c40.json'))
    assert [r.key for r in LAYOUT.scan(tree, LayoutOptions()).records] == ['ffpp/youtube/c40/000']
    assert len(LAYOUT.scan(tree, LayoutOptions(compression='c23')).records) == 5


def test_options(tree):
    assert len(LAYOUT.scan(tree, LayoutOptions(methods=('Deepfakes',))).records) == 5
    with pytest.raises(FileNotFoundError, match='no c23 videos of FF-DF'):
        LAYOUT.scan(tree, LayoutOptions(methods=('FF-DF',)))
    with pytest.raises(InputError, match='stills'):
        LAYOUT.scan(tree, LayoutOptions(stills=True))
    with pytest.raises(InputError, match='split'):
        LAYOUT.scan(tree, LayoutOptions(split='train'))


def test_lost_frames_and_masks(tree):
    base = tree / 'datasets/rgb'
    (base / FAKE / 'frames/071_054/027.png').unlink()
    (base / FAKE / 'frames/953_974/note.txt').touch()
    scan = LAYOUT.scan(tree, LayoutOptions())
    assert scan.missing == ['FF-DF/071_054: 1 of 12 frames', 'FF-DF/720_672']
    assert len(scan.records[0].source.names) == 11
    # Masks that the list does not name are found beside the frames.
    path = tree / 'preprocessing/dataset_json/FaceForensics++.json'
    path.write_text(path.read_text().replace('"masks"', '"other"'))
    assert LAYOUT.scan(tree, LayoutOptions()).records[1] == record(tree, '953_974', 'test')


def test_root_too_deep(tree):
    path = tree / 'preprocessing/dataset_json/FaceForensics++.json'
    data = json.loads(path.read_text())
    text = (
        json.dumps(data['FaceForensics++']['FF-DF'])
        .replace('FF-DF', 'FF-F2F')
        .replace('Deepfakes', 'Face2Face')
    )
    data['FaceForensics++']['FF-F2F'] = json.loads(text)
    path.write_text(json.dumps(data))
    with pytest.raises(InputError, match='lies too deep'):
        LAYOUT.scan(tree / 'datasets/rgb' / FAKE, LayoutOptions(splits_dir=path))
    scan = LAYOUT.scan(tree, LayoutOptions())
    assert scan.missing == ['FF-DF/720_672', 'FF-F2F/071_054', 'FF-F2F/720_672', 'FF-F2F/953_974']


GOOD = {'label': 'X_fake', 'frames': ['a/v/0.png']}


@pytest.mark.parametrize(
    ('data', 'message'),
    [
        ({'X': {'X_fake': []}}, r"X.json: X: X_fake holds a list"),
        ({'X': {'X_fake': {'test': []}}}, "X_fake: 'test' holds a list"),
        ({'X': {'X_fake': {'dev': {}}}}, "X_fake: 'dev' is no split"),
        ({'X': {'X_fake': {'test': {'v': []}}}}, "X_fake: test: 'v' holds a list"),
        ({'X': {'X_fake': {'test': {'c23': {'v': []}}}}}, "X_fake: test: c23: 'v' holds a list"),
        ({'X': {'X_fake': {'test': {'v': {}}}}}, "X_fake: test: v: 'frames' is not a list of paths"),
        ({'X': {'X_fake': {'test': {'v': {'frames': [1]}}}}}, "v: 'frames' is not a list of paths"),
        ({'X': {'X_fake': {'test': {'v': GOOD | {'masks': 1}}}}}, "v: 'masks' is not a list of paths"),
        ({'X': {'X_fake': {'test': {'v': GOOD | {'label': 'X_real'}}}}}, "v: label 'X_real' under 'X_fake'"),
        ({'X': {'swap': {'test': {'v': GOOD}}}}, "label 'swap' does not say what it is"),
        ({'X': {'real_fake': {'test': {'v': GOOD}}}}, "label 'real_fake' does not say"),
        ({'Y': {}, 'Z': {}}, r'X.json holds 2 sets \(Y, Z\); expected one'),
        ({}, r'X.json holds 0 sets'),
        ({'X': []}, r"X.json: 'X' has the value"),
        ([], 'X.json'),
    ],
)  # fmt: skip
def test_bad_lists(tmp_path, data, message):
    write_json(tmp_path / 'X.json', data)
    with pytest.raises(InputError, match=message):
        LAYOUT.scan(tmp_path, LayoutOptions())


def test_nothing_there(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'no <set>.json in'):
        LAYOUT.scan(tmp_path, LayoutOptions())
    write_json(tmp_path / 'X.json', {'X': {'X_fake': {'test': {'v': GOOD}}}})
    with pytest.raises(FileNotFoundError, match=r'no usable x video'):
        LAYOUT.scan(tmp_path, LayoutOptions())


def test_hostile_lists(tmp_path):
    """Paths that lead out of the root are looked for inside it; names that no key can hold are left out."""
    (tmp_path / 'secret').mkdir()
    (tmp_path / 'secret/0.png').touch()
    root = tmp_path / 'root'
    frames = {name: f'{name}/0.png' for name in ('a', 'b')}
    for path in frames.values():
        (root / path).parent.mkdir(parents=True)
        (root / path).touch()
    listed = {
        'v': {'label': 'X_fake', 'frames': ['../secret/0.png', f'{tmp_path}/secret/0.png']},
        '../w': {'label': 'X_fake', 'frames': [frames['a']]},
        'x': {'label': 'X_fake', 'frames': ['..\\..\\' + frames['b'], '0.png', '']},
    }
    write_json(root / 'X.json', {'X': {'X_fake': {'test': listed}}})
    scan = LAYOUT.scan(root, LayoutOptions())
    assert [r.source for r in scan.records] == [ImageFiles(root / 'b', ('0.png',), (0,))]
    assert scan.missing == ['X_fake/v']
    assert scan.left_out == {'a': 'the name holds something that the index cannot keep'}
