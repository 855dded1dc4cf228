# SPDX-License-Identifier: Apache-2.0
"""Images in LMDB databases, read alone and by datasets."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow.compute as pc
import pytest
import torch
from mmengine.dataset import pseudo_collate
from mmengine.fileio import get
from torch.utils.data import DataLoader

from iid_mm.datasets import forgery_dataset, storage
from iid_mm.datasets.forgery_dataset import ForgeryDataset
from iid_mm.datasets.index import read_index, write_index
from iid_mm.datasets.storage import (
    NOTE_KEY,
    LmdbStorage,
    backend_args_for,
    close_databases,
    make_storages,
    read_crop,
)
from iid_mm.datasets.transforms import LoadForgeryMask
from iid_mm.errors import InputError, MissingExtraError
from iid_mm.preparation.lmdb_packing import pack_index
from iid_mm.registry import DATASETS

lmdb = pytest.importorskip('lmdb')

CONTENT = {f'frames/{i:03d}.png': bytes([i]) * (50 + 1000 * i) for i in range(20)} | {'frames/ä.png': b'a'}
RULE = {'backend': 'lmdb', 'db_path': '{root}/images.lmdb'}
PIPELINE: list[dict[str, Any]] = [
    {'type': 'LoadForgeryPair'},
    {'type': 'AlignFace', 'size': (64, 64), 'jitter': {}},
    {'type': 'MultiScaleFacialSwap', 'windows': ((20, 30), (64, 64))},
    {'type': 'DegradeFace'},
    {'type': 'FlipFace'},
    {'type': 'LoadForgeryMask'},
    {'type': 'PackForgeryInputs'},
]


@pytest.fixture(autouse=True)
def _closed() -> Any:
    yield
    close_databases()


def write_database(path: Path, content: dict[str, bytes]) -> Path:
    with lmdb.open(str(path), map_size=2**24) as environment, environment.begin(write=True) as transaction:
        for key, value in content.items():
            transaction.put(key.encode(), value)
    (path / 'lock.mdb').unlink()
    return path


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return write_database(tmp_path / 'images.lmdb', CONTENT)


def opened(path: Path, **options: Any) -> LmdbStorage:
    return LmdbStorage({'backend': 'lmdb', 'db_path': path, **options}, '/data')


def read_all(reader: LmdbStorage) -> dict[str, bytes]:
    return {key: reader.read(f'/data/{key}') for key in CONTENT}


def test_reads_and_leaves_nothing_behind(database: Path) -> None:
    reader = opened(database)
    assert not storage._OPEN
    assert read_all(reader) == CONTENT
    with pytest.raises(InputError, match=r"there is no 'frames/gone\.png'; pack the set with"):
        reader.read('/data/frames/gone.png')
    assert os.listdir(database) == ['data.mdb']


@pytest.mark.parametrize(
    'place', [{}, {'db_path': '{root}/images.lmdb'}, {'db_path': '{root}/../{name}/images.lmdb'}]
)
def test_places_beside_the_index(
    database: Path, monkeypatch: pytest.MonkeyPatch, place: dict[str, str]
) -> None:
    args = {'backend': 'lmdb', **place}
    root = str(database.parent)
    assert LmdbStorage(args, root).read(f'{root}/frames/007.png') == CONTENT['frames/007.png']
    # An index in the working directory.
    monkeypatch.chdir(root)
    assert LmdbStorage(args, '').read('frames/007.png') == CONTENT['frames/007.png']


def test_reads_what_mmengine_reads(database: Path) -> None:
    key = 'frames/007.png'
    expected = get(key, backend_args={'backend': 'lmdb', 'db_path': str(database)})
    assert expected == CONTENT[key]
    from mmengine.fileio.io import backend_instances

    # MMEngine keeps its environments open, and LMDB takes no second one.
    for backend in backend_instances.values():
        if getattr(backend, 'db_path', '') == str(database):
            backend._client.close()
            backend._client = None
    assert opened(database).read(f'/data/{key}') == expected


def test_storages_of_one_process_share_a_database(database: Path) -> None:
    link = database.with_name('link.lmdb')
    link.symlink_to(database)
    first, second, third = opened(database), opened(link), opened(database / 'data.mdb')
    assert read_all(first) == read_all(second) == CONTENT
    assert len(storage._OPEN) == 1
    close_databases()
    assert read_all(third) == CONTENT
    close_databases()
    assert read_all(first) == CONTENT


def test_forked_processes_open_it_anew(database: Path) -> None:
    reader = opened(database)
    read_all(reader)
    with multiprocessing.get_context('fork').Pool(2) as pool:
        assert pool.map(reader.read, CONTENT, chunksize=4) == list(CONTENT.values())
    assert read_all(reader) == CONTENT
    assert read_all(pickle.loads(pickle.dumps(reader))) == CONTENT


def test_a_truncated_database_is_an_error_and_no_crash(database: Path) -> None:
    file = database / 'data.mdb'
    size = file.stat().st_size
    os.truncate(file, size // 2)
    with pytest.raises(InputError, match=rf'has {size // 2} of {size} bytes: it is truncated; copy it anew'):
        opened(database).read('/data/frames/019.png')
    assert not storage._OPEN


def test_bad_places(database: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / 'pipe')
    for place in ('gone', '', 'pipe'):
        with pytest.raises(
            InputError, match=r"db_path '.*' is neither a folder with a data\.mdb nor a database"
        ):
            opened(tmp_path / place)
    (tmp_path / 'text').write_text('no database')
    with pytest.raises(InputError, match='not an LMDB file; pack the set with'):
        opened(tmp_path / 'text').read('a')
    with pytest.raises(InputError, match="'color'"):
        opened(database, color=1).read('a')
    for bad in ({'readonly': False}, {'lock': True}):
        with pytest.raises(InputError, match='datasets only read'):
            opened(database, **bad)
    assert read_all(opened(database, readonly=True, lock=False, readahead=True)) == CONTENT


@pytest.mark.parametrize(
    'args', ['lmdb', {}, {'db_path': 'x'}, {'backend': 'lmbd'}, {'prefix': 'https://host/ffpp'}]
)
def test_other_backends(args: Any) -> None:
    with pytest.raises(
        InputError, match=r"^backend_args=.*: give dict\(backend='lmdb', db_path=\.\.\.\), or None"
    ):
        LmdbStorage(args, '/data')


@pytest.mark.parametrize('note', [b'', b'[]', b'{}', b'[' * 100_000, b'\xff'])
def test_a_bad_note(tmp_path: Path, note: bytes) -> None:
    path = tmp_path / 'images.lmdb'
    # LMDB's own writer: no path can have this name.
    write_database(path, {NOTE_KEY: note})
    (tmp_path / 'index.parquet').touch()
    with pytest.raises(InputError, match='the note of the database on its content is not JSON'):
        opened(path).is_packed_from(tmp_path / 'index.parquet')


def test_pipes_are_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / 'x.png')
    with pytest.raises(InputError, match=r'x\.png is not a regular file'):
        read_crop(str(tmp_path / 'x.png'))


def test_one_storage_for_each_index(tmp_path: Path) -> None:
    for name in 'ab':
        (tmp_path / name).mkdir()
        write_database(tmp_path / name / 'images.lmdb', {'0.png': name.encode()})
    indices = [str(tmp_path / name / 'index.parquet') for name in 'ab']

    def first(args: Any, chosen: list[str]) -> list[bytes | None]:
        storages = make_storages(args, chosen)
        roots = [os.path.dirname(index) for index in chosen]
        return [s and s.read(f'{root}/0.png') for s, root in zip(storages, roots, strict=True)]

    assert first(None, indices) == [None, None]
    assert first({'backend': 'lmdb'}, indices) == [b'a', b'b']
    assert first({'backend': 'lmdb', 'db_path': f'{tmp_path}/{{name}}/images.lmdb'}, indices) == [b'a', b'b']
    place = {'backend': 'lmdb', 'db_path': str(tmp_path / 'a/images.lmdb')}
    assert first([None, place], indices) == [None, b'a']
    with pytest.raises(InputError, match=r'name one database for several sets; write \{root\}'):
        make_storages(place, indices)
    # Two indices of one folder share their images.
    assert first(place, [indices[0], str(tmp_path / 'a/more.parquet')]) == [b'a', b'a']
    for bad in ([None], 'lmdb', [None] * 3):
        with pytest.raises(InputError, match='a list with one for each of the 2 ann_files'):
            make_storages(bad, indices)


def test_backend_args_of_another_index() -> None:
    place = {'backend': 'lmdb', 'db_path': '/scratch/ffpp.lmdb'}
    own = dict(data_root='/data', ann_file='ffpp/index.parquet')
    assert backend_args_for(own, ['/data/celebdf/index.parquet']) is None
    for rule in (RULE, {'backend': 'lmdb'}):
        assert backend_args_for({**own, 'backend_args': rule}, ['/data/celebdf/index.parquet']) == rule
    assert backend_args_for({**own, 'backend_args': place}, ['/data/celebdf/index.parquet']) is None
    assert backend_args_for({**own, 'backend_args': place}, [Path('/data/x/../ffpp/index.parquet')]) == place
    several = dict(data_root='', ann_file=['/a/i.parquet', '/b/i.parquet'], backend_args=[place, None])
    assert backend_args_for(several, ['/b/i.parquet', '/a/i.parquet']) == [None, place]
    assert backend_args_for(several, ['/b/i.parquet', '/c/i.parquet']) is None


@pytest.fixture(scope='module')
def packed(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of ``prepared`` with masks whose images are in an LMDB database only."""
    root = tmp_path_factory.mktemp('storage') / 'ffpp'
    shutil.copytree(prepared, root)
    rows = read_index(root / 'index.parquet').to_pylist()
    for number, row in enumerate(rows):
        if row['label']:
            row['mask'] = f'masks/{number:03d}.png'
            mask = np.zeros((160, 160), np.uint8)
            mask[40 + number : 100, 50:110] = 255
            (root / 'masks').mkdir(exist_ok=True)
            cv2.imwrite(str(root / row['mask']), mask)
    write_index(rows, root / 'index.parquet')
    pack_index(root, progress=False)
    shutil.copytree(root, root.with_name('files'), ignore=lambda *_: ['images.lmdb'])
    shutil.rmtree(root / 'frames')
    shutil.rmtree(root / 'masks')
    return root


def build(root: Path, **more: Any) -> ForgeryDataset:
    settings = dict(type='ForgeryDataset', data_root=str(root), ann_file='index.parquet', seed=3)
    return DATASETS.build({**settings, 'pipeline': PIPELINE, **more})


def assert_same(found: Any, expected: Any, where: str = '') -> None:
    assert torch.equal(found['inputs'], expected['inputs'])
    found, expected = found['data_samples'], expected['data_samples']
    meta = dict(expected.metainfo)
    meta['img_path'] = meta['img_path'].replace('/files/', '/ffpp/')
    assert {key: str(value) for key, value in found.metainfo.items()} == {
        key: str(value) for key, value in meta.items()
    }
    assert int(found.gt_label) == int(expected.gt_label)
    assert torch.equal(found.gt_instances.bboxes, expected.gt_instances.bboxes)
    assert ('gt_masks' in found) == ('gt_masks' in expected)


def test_the_same_samples_bit_for_bit(packed: Path) -> None:
    files, stored = build(packed.with_name('files')), build(packed, backend_args=RULE)
    assert len(stored) == len(files) == 24
    assert {files[i]['data_samples'].swap_kind for i in range(24)} > {'genuine'}
    for i in range(24):
        assert_same(stored[i], files[i])
    with pytest.raises(FileNotFoundError):
        build(packed)[0]


@pytest.mark.parametrize(('method', 'count'), [('fork', 2), pytest.param('spawn', 1, marks=pytest.mark.slow)])
def test_workers(packed: Path, method: str, count: int) -> None:
    files, stored = build(packed.with_name('files')), build(packed, backend_args=RULE)
    # This process has the database open, too.
    assert_same(stored[5], files[5])
    loader = DataLoader(
        stored, 5, num_workers=count, multiprocessing_context=method, collate_fn=pseudo_collate
    )
    batches = list(loader)
    inputs = [image for batch in batches for image in batch['inputs']]
    samples = [sample for batch in batches for sample in batch['data_samples']]
    assert len(inputs) == 24
    for i in range(24):
        assert_same(dict(inputs=inputs[i], data_samples=samples[i]), files[i])
    assert_same(stored[7], files[7])


def test_masks_and_cache(packed: Path) -> None:
    pipeline = [dict(type='LoadForgeryPair', cache_mib=1), dict(type='LoadForgeryMask')]
    files = build(packed.with_name('files'), pipeline=pipeline)
    stored = build(packed, pipeline=pipeline, backend_args=RULE)
    for i in range(24):
        for key in ('img', 'source_img', 'artifact_mask'):
            assert np.array_equal(stored[i].get(key), files[i].get(key))
    # 1 MiB takes 13 images; these come from memory.
    info = stored.get_data_info(0)
    info['storage'] = None
    assert np.array_equal(stored.pipeline(info | {'mask_path': None})['img'], files[0]['img'])
    broken = opened(write_database(packed.with_name('broken.lmdb'), {'masks/000.png': b'x'}))
    sample = info | {'storage': broken, 'mask_path': 'masks/000.png', 'img': files[0]['img']}
    with pytest.raises(InputError, match=r"mask 'masks/000\.png' of LMDB .* cannot be decoded \(1 bytes\)"):
        LoadForgeryMask()(sample | {'ori_shape': (160, 160)})


def test_samples_carry_their_storage(packed: Path) -> None:
    for more in ({}, {'serialize_data': False}):
        dataset = build(packed, backend_args=RULE, **more)
        info = dataset.get_data_info(0)
        assert info['storage'].path == str(packed / 'images.lmdb')
        assert info['img_path'] == f'{packed}/frames/ffpp/Deepfakes/c23/000_999/00000.png'
        subset = dataset.get_subset([20, 3])
        assert subset.get_data_info(1)['storage'].path == info['storage'].path
    assert 'storage' not in build(packed.with_name('files')).get_data_info(0)


def test_several_indices(packed: Path, tmp_path: Path) -> None:
    """One of files, one of LMDB beside its index, one of LMDB elsewhere."""
    files = packed.with_name('files')
    celeb = Path(shutil.copytree(files, tmp_path / 'celeb'))
    rows = read_index(celeb / 'index.parquet').to_pylist()
    for row in rows:
        row['dataset'], row['video_key'] = 'celeb', row['video_key'].replace('ffpp/', 'celeb/', 1)
    for path in celeb.glob('frames/**/*.png'):
        cv2.imwrite(str(path), 255 - cv2.imread(str(path)))
    write_index(rows, celeb / 'index.parquet')
    pack_index(celeb, progress=False)
    pack_index(celeb, tmp_path / 'scratch/celeb.lmdb', progress=False)
    images = {row['image']: cv2.imread(str(celeb / row['image'])) for row in rows}
    shutil.rmtree(celeb / 'frames')
    indices = [str(packed / 'index.parquet'), str(celeb / 'index.parquet')]
    load = [dict(type='LoadForgeryPair')]
    for args in (RULE, [RULE, {'backend': 'lmdb', 'db_path': str(tmp_path / 'scratch/{name}.lmdb')}]):
        dataset = build(Path(), ann_file=indices, pipeline=load, backend_args=args)
        assert len(dataset) == 48
        for i in (0, 23):
            path = Path(dataset.get_data_info(i)['img_path']).relative_to(packed)
            assert np.array_equal(dataset[i]['img'], cv2.imread(str(files / path)))
            path = Path(dataset.get_data_info(24 + i)['img_path']).relative_to(celeb)
            assert np.array_equal(dataset[24 + i]['img'], images[str(path)])
    mixed = [str(files / 'index.parquet'), indices[1]]
    dataset = build(Path(), ann_file=mixed, pipeline=load, backend_args=[None, RULE])
    assert 'storage' not in dataset.get_data_info(0)
    assert dataset[47]['img'].shape == (160, 160, 3)
    literal = {'backend': 'lmdb', 'db_path': str(packed / 'images.lmdb')}
    with pytest.raises(InputError, match='name one database for several sets'):
        build(Path(), ann_file=indices, backend_args=literal)


@pytest.mark.parametrize(
    ('args', 'message'),
    [
        ({'backend': 'lmbd'}, r"backend_args=\{'backend': 'lmbd'\}: give dict\(backend='lmdb'"),
        (
            {'backend': 'lmdb', 'db_path': '{root}/gone.lmdb'},
            r"backend_args=.*db_path '.*/ffpp/gone\.lmdb' is neither .*; pack the set with tools/data",
        ),
        ({'backend': 'lmdb', 'db_path': '{root}/index.parquet'}, 'not an LMDB file; pack the set with'),
        ({'backend': 'lmdb', 'prefix': 'x'}, "'prefix'"),
    ],
)
def test_mistakes_show_when_the_dataset_is_built(packed: Path, args: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        build(packed, backend_args=args)
    assert '\n' not in str(caught.value)


def test_the_database_of_another_set(packed: Path, tmp_path: Path) -> None:
    rows = read_index(packed / 'index.parquet').to_pylist()
    for row in rows:
        row['image'] = f'other/{row["image"]}'
    write_index(rows, tmp_path / 'index.parquet')
    with pytest.raises(
        InputError, match=r"there is no 'other/frames/.*or name the LMDB database of this set"
    ):
        build(tmp_path, backend_args={'backend': 'lmdb', 'db_path': str(packed / 'images.lmdb')})


def test_a_database_of_an_older_state(packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr(forgery_dataset, 'print_log', lambda text, **options: told.append(text))
    build(packed, backend_args=RULE)
    assert told == []
    table = read_index(packed / 'index.parquet').filter(pc.field('split') == 'train')
    write_index(table.replace_schema_metadata(None), tmp_path / 'i.parquet')
    place = {'backend': 'lmdb', 'db_path': str(packed / 'images.lmdb')}
    build(tmp_path, ann_file='i.parquet', backend_args=place)
    assert len(told) == 1
    assert f'not packed from {tmp_path}/i.parquet as it is now; if the set was prepared again' in told[0]


def test_without_the_library(packed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr('iid_mm.datasets.storage.find_spec', lambda name: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'iid-mm\[lmdb\]'"):
        build(packed, backend_args=RULE)
