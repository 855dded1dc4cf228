# SPDX-License-Identifier: Apache-2.0
"""Datasets whose images are not files."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow.compute as pc
import pytest
import torch
from mmengine.dataset import pseudo_collate
from torch.utils.data import DataLoader

from iid_mm.datasets import ForgeryDataset, LoadForgeryMask, LoadForgeryPair
from iid_mm.datasets.index import read_index, write_index
from iid_mm.datasets.storage.backends import close_environments
from iid_mm.datasets.storage.image_storage import ImageStorage
from iid_mm.datasets.transforms import reading
from iid_mm.errors import InputError, MissingExtraError
from iid_mm.preparation.lmdb_packing import pack_index
from iid_mm.registry import DATASETS

lmdb = pytest.importorskip('lmdb')

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


@pytest.fixture(autouse=True)
def _closed() -> Any:
    yield
    close_environments()


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


@pytest.mark.parametrize('method', ['fork', 'spawn'])
def test_workers(packed: Path, method: str) -> None:
    files, stored = build(packed.with_name('files')), build(packed, backend_args=RULE)
    # This process has the database open, too.
    assert_same(stored[5], files[5])
    loader = DataLoader(
        stored, batch_size=5, num_workers=2, multiprocessing_context=method, collate_fn=pseudo_collate
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
    with pytest.raises(
        InputError, match=r"mask 'masks/000\.png' of backend_args=.* cannot be decoded \(1 bytes\)"
    ):
        LoadForgeryMask()(info | {'storage': Fixed(b'x'), 'img': files[0]['img'], 'ori_shape': (160, 160)})


class Fixed(ImageStorage):
    """A storage in which everything is the same."""

    def __init__(self, data: bytes) -> None:
        super().__init__(RULE)
        self.data = data

    def key(self, path: str) -> str:
        return '/'.join(path.split('/')[-2:])

    def read(self, path: str) -> bytes:
        return self.data


def test_samples_carry_their_storage(packed: Path) -> None:
    for more in ({}, {'serialize_data': False}):
        dataset = build(packed, backend_args=RULE, **more)
        info = dataset.get_data_info(0)
        assert info['storage'] is dataset.storages[0]
        assert info['img_path'] == f'{packed}/frames/ffpp/Deepfakes/c23/000_999/00000.png'
        subset = dataset.get_subset([20, 3])
        assert subset.get_data_info(1)['storage'] is dataset.storages[0]
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
    with pytest.raises(InputError, match='name one place for several sets'):
        build(Path(), ann_file=indices, backend_args=literal)


def test_loaders_may_name_it(packed: Path) -> None:
    own = {'backend': 'lmdb', 'db_path': str(packed / 'images.lmdb')}
    steps = [dict(type='LoadForgeryPair', backend_args=own), dict(type='LoadForgeryMask', backend_args=own)]
    expected = build(packed, backend_args=RULE, pipeline=PIPELINE[:1])[3]['img']
    assert np.array_equal(build(packed, pipeline=steps)[3]['img'], expected)
    assert np.array_equal(build(packed, pipeline=steps, backend_args=own)[3]['img'], expected)
    with pytest.raises(InputError, match='give them to the dataset only'):
        build(packed, pipeline=steps, backend_args=RULE)
    # Outside of a dataset a path is the key.
    alone = LoadForgeryPair(backend_args=own)({'img_path': 'frames/ffpp/Deepfakes/c23/000_999/00003.png'})
    assert np.array_equal(alone['img'], expected)


@pytest.mark.parametrize(
    ('args', 'message'),
    [
        ({'backend': 'lmbd'}, r"backend_args=\{'backend': 'lmbd'\}: there is no backend 'lmbd'; choose from"),
        (
            {'backend': 'lmdb'},
            r"backend_args=.*missing 1 required positional argument: 'db_path'; pack the set",
        ),
        (
            {'backend': 'lmdb', 'db_path': '{root}/gone.lmdb'},
            r"backend_args=.*db_path '.*/ffpp/gone\.lmdb' does not exist; pack the set with tools/data",
        ),
        ({'backend': 'lmdb', 'db_path': '{root}'}, r'is a folder without a data\.mdb.*; pack the set with'),
        (
            {'backend': 'lmdb', 'db_path': '{root}/index.parquet'},
            'cannot be read: InvalidError: .*not an LMDB file; pack the set with',
        ),
        (
            {'backend': 'lmdb', 'db_path': '{root}/images.lmdb', 'prefix': 'x'},
            r"there is no 'x/frames/ffpp/Deepfakes/c23/000_999/00000\.png'; pack the set with .*of this set",
        ),
        (
            {'prefix': 'http://127.0.0.1:9/{name}'},
            r"'http://127\.0\.0\.1:9/ffpp/frames/.*' cannot be read: URLError",
        ),
        (
            {'prefix': '/gone'},
            r"'/gone/frames/.*png' cannot be read: FileNotFoundError: .*check the values of",
        ),
        ({'backend': 'http'}, 'http needs prefix='),
    ],
)
def test_mistakes_show_when_the_data_set_is_built(
    packed: Path, monkeypatch: pytest.MonkeyPatch, args: dict[str, Any], message: str
) -> None:
    monkeypatch.setenv('no_proxy', '127.0.0.1')
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
    monkeypatch.setattr(reading, 'print_log', lambda text, **options: told.append(text))
    build(packed, backend_args=RULE)
    assert told == []
    table = read_index(packed / 'index.parquet').filter(pc.field('split') == 'train')
    write_index(table.replace_schema_metadata(None), tmp_path / 'i.parquet')
    place = {'backend': 'lmdb', 'db_path': str(packed / 'images.lmdb')}
    build(tmp_path, ann_file='i.parquet', backend_args=place)
    assert len(told) == 1
    assert f'not packed from {tmp_path}/i.parquet as it is now; if the set was prepared again' in told[0]


def test_without_the_library(packed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr('iid_mm.datasets.storage.backends.find_spec', lambda name: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'iid-mm\[lmdb\]'"):
        build(packed, backend_args=RULE)


def test_the_index_stays_local(packed: Path) -> None:
    for root, file in (('https://host/ffpp', 'index.parquet'), ('', 's3://bucket/index.parquet')):
        with pytest.raises(InputError, match=r'an index must be a local file; copy it, and name the place'):
            ForgeryDataset(file, root, backend_args={'prefix': root})
