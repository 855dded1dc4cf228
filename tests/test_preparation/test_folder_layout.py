# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from iid_mm.errors import InputError
from iid_mm.faces.analyzers.precomputed_analyzer import PrecomputedAnalyzer
from iid_mm.preparation.layouts.base import LayoutOptions
from iid_mm.preparation.layouts.folder import FAKE_NAMES, LAYOUT, REAL_NAMES
from iid_mm.structures.video_record import ImageFiles, VideoFile, VideoRecord
from support.image_trees import write_folder_tree


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def scan(root, **options):
    return LAYOUT.scan(root, LayoutOptions(**options))


def found(root, **options):
    return {r.video: (r.method, r.label, r.split) for r in scan(root, **options).records}


@pytest.fixture
def root(tmp_path):
    root = tmp_path / 'my set'
    root.mkdir()
    return root


def test_records(root):
    write_folder_tree(root)
    result = scan(root)

    def record(method, video, source, pair=None, target=None):
        split = video.split('/')[0]
        return VideoRecord(
            source=source,
            dataset='my_set',
            method=method,
            compression='native',
            video=video,
            key=f'my_set/{method}/native/{video}',
            label=int(method != 'real'),
            split=split,
            target_id=target,
            pair=f'my_set/real/native/{pair}' if pair else None,
        )

    def clip(folder):
        return ImageFiles(root / folder, tuple(f'frame_{n}.png' for n in range(12)), tuple(range(12)))

    def still(folder):
        return ImageFiles(root / folder, ('still.png',), (0,))

    assert result.records == [
        record('FaceSwap', 'test/clip', clip('test/fake/FaceSwap/clip'), 'test/clip', 'test/clip'),
        record('FaceSwap', 'train/clip', clip('train/fake/FaceSwap/clip'), 'train/clip', 'train/clip'),
        record('fake', 'train/still', still('train/fake'), 'train/still', 'train/still'),
        record('real', 'test/clip', clip('test/real/clip'), target='test/clip'),
        record('real', 'test/still', still('test/real')),
        record('real', 'test/talk', VideoFile(root / 'test/real/talk.mp4')),
        record('real', 'train/clip', clip('train/real/clip'), target='train/clip'),
        record('real', 'train/still', still('train/real'), target='train/still'),
        record('real', 'train/talk', VideoFile(root / 'train/real/talk.mp4')),
    ]
    assert result.left_out == {
        'test/fake/still.png': 'its genuine video is in another split',
        'train/fake/notes.txt': 'the suffix .txt is not read here',
    }
    assert result.missing == ['train/fake/lost.mp4']
    analyzer = PrecomputedAnalyzer(root)
    assert [analyzer.check_video(r) for r in result.records] == [''] * 9


def test_without_splits(root):
    touch(root, 'real/a.mp4', 'real/b/1.png', 'real/x/c/1.jpg', 'real/d.png', 'real/.e.png', 'real/notes.txt')
    touch(root, 'FAKE/a.mp4', 'FAKE/b/1.png', 'FAKE/swap/c/1.jpg', 'FAKE/swap/d.avi', 'other/a.mp4')
    expected = {'a': 'fake', 'b': 'fake', 'c': 'swap', 'd': 'swap'}
    records = scan(root).records
    assert {r.video: r.method for r in records if r.label} == expected
    assert {r.video for r in records if not r.label} == {'a', 'b', 'x/c', 'd'}
    assert {r.method for r in records if not r.label} == {'real'}
    assert {r.split for r in records} == {'test'}
    assert {r.split for r in scan(root, split='train').records} == {'train'}
    assert [r.method for r in scan(root, methods=('swap',)).records if r.label] == ['swap', 'swap']
    with pytest.raises(FileNotFoundError, match='no native videos of swop'):
        scan(root, methods=('swop',))
    with pytest.raises(InputError, match='must be one of'):
        scan(root, split='dev')


@pytest.mark.parametrize('name', [*REAL_NAMES, *FAKE_NAMES])
def test_names(root, name):
    touch(root, f'{name}/a.mp4')
    label = int(name in FAKE_NAMES)
    assert found(root) == {'a': (('real', 'fake')[label], label, 'test')}


def test_both_orders(root):
    touch(root, 'train/real/a.mp4', 'valid/fake/a.mp4', 'real/test/a.mp4', 'fake/Training/swap/a.mp4')
    touch(root, 'fake/stray.mp4', 'fake/stray/0.png')
    assert [r.key for r in scan(root).records] == [
        'my_set/fake/native/val/a',
        'my_set/real/native/test/a',
        'my_set/real/native/train/a',
        'my_set/swap/native/train/a',
    ]
    assert scan(root).left_out == {'fake (beside its splits)': '2 files and folders in no split'}


def test_stills(root):
    touch(root, 'real/a/1.png', 'real/a/2.png', 'fake/swap/1.png', 'fake/swap/2.png', 'real/a.mp4')
    assert found(root) == {'a': ('real', 0, 'test'), 'swap': ('fake', 1, 'test')}
    assert scan(root).left_out == {'real/a': 'another video has the same key: real/a.mp4'}
    records = {r.key: r.source for r in scan(root, stills=True).records}
    assert records == {
        'my_set/real/native/a': VideoFile(root / 'real/a.mp4'),
        'my_set/real/native/a/1': ImageFiles(root / 'real/a', ('1.png',), (0,)),
        'my_set/real/native/a/2': ImageFiles(root / 'real/a', ('2.png',), (0,)),
        'my_set/swap/native/1': ImageFiles(root / 'fake/swap', ('1.png',), (0,)),
        'my_set/swap/native/2': ImageFiles(root / 'fake/swap', ('2.png',), (0,)),
    }


def test_links(root):
    touch(root, 'real/a.mp4', '../elsewhere/b.mp4')
    (root / 'real/loop').symlink_to(root / 'real')
    (root / 'fake').mkdir()
    (root / 'fake/swap').symlink_to(root.parent / 'elsewhere')
    assert found(root) == {'a': ('real', 0, 'test'), 'b': ('swap', 1, 'test')}
    assert scan(root).left_out == {'real/loop': 'a symbolic link to a folder that it lies in'}


def test_names_that_the_index_cannot_keep(root):
    touch(root, 'real/a\\b.mp4', 'real/c.mp4')
    assert found(root) == {'c': ('real', 0, 'test')}
    assert list(scan(root).left_out) == ['real/a\\b.mp4']


def test_nothing_there(root):
    with pytest.raises(FileNotFoundError, match='holds none of the folders real, genuine'):
        scan(root)
    touch(root, 'real/notes.txt')
    with pytest.raises(FileNotFoundError, match='no usable my_set video'):
        scan(root)
    with pytest.raises(InputError, match='splits_dir'):
        scan(root, splits_dir=root)


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('real/a.mp4,fake/a.mp4\n', r"pairs.csv:1: no column 'fake', 'genuine'"),
        ('fake,genuine\nreal/a.mp4,fake/a.mp4\n', r"pairs.csv:2: 'real/a.mp4' is not fake"),
        ('fake,genuine\n\nfake/a.mp4,fake/b.mp4\n', r"pairs.csv:3: 'fake/b.mp4' is not genuine"),
        ('fake,genuine\nfake/a.mp4\n', r'pairs.csv:2: .* has 1 cells'),
        (
            'fake,genuine\nfake/a.mp4,real/a.mp4\nfake/a.mp4,real/b.mp4',
            r"pairs.csv:3: 'fake/a.mp4' has another genuine video",
        ),
    ],
)
def test_bad_pairs(root, text, message):
    touch(root, 'real/a.mp4', 'real/b.mp4', 'fake/a.mp4', 'fake/b.mp4')
    (root / 'pairs.csv').write_text(text)
    with pytest.raises(InputError, match=message):
        scan(root)


def test_pairs_of_windows(root):
    touch(root, 'real/a.mp4', 'fake/b.mp4')
    (root / 'pairs.csv').write_bytes(b'\xef\xbb\xbfFake , Genuine,note\r\n.\\fake\\b.mp4, real/a.mp4 ,x\r\n')
    assert [r.pair for r in scan(root).records] == ['my_set/real/native/a', None]


def test_links_that_lead_nowhere_are_told(root):
    touch(root, 'real/a.mp4', 'fake/c.mp4')
    for name in ('b.mp4', 'b.png', 'b.txt'):
        (root / 'real' / name).symlink_to(root / 'gone' / name)
    # They are read, and the report says that they cannot be.
    sources = [record.source for record in scan(root).records if record.label == 0]
    assert VideoFile(root / 'real/b.mp4') in sources
    assert [record.video for record in scan(root).records] == ['c', 'a', 'b']
    assert scan(root).left_out == {
        'real/b.png': 'another video has the same key: real/b.mp4',
        'real/b.txt': 'the suffix .txt is not read here',
    }
