# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from mmengine.config import Config

from iid_mm.datasets.index import read_index, write_index
from iid_mm.errors import InputError
from iid_mm.evaluation import OneClassError
from iid_mm.evaluation.eval_sets import VALIDATION, check_eval_set, find_eval_sets, validation_set


@pytest.fixture
def data(tiny_prepared: Path, tmp_path: Path) -> Path:
    """A folder of prepared sets: ``ffpp`` and ``celebdf_v2``, and one that is not prepared."""
    for name in ('ffpp', 'celebdf_v2'):
        (tmp_path / name).mkdir()
        shutil.copy(tiny_prepared / 'index.parquet', tmp_path / name)
    (tmp_path / 'raw').mkdir()
    return tmp_path


def config(data: Path, **more: Any) -> Config:
    loader = dict(
        batch_size=4,
        num_workers=0,
        sampler=dict(type='DefaultSampler', shuffle=False),
        dataset=dict(
            type='ForgeryDataset',
            data_root=str(data / 'ffpp'),
            ann_file='index.parquet',
            split='test',
            methods=('Deepfakes',),
            frames_per_video=2,
            pipeline=[dict(type='LoadForgeryPair')],
        ),
    )
    validation = dict(loader, dataset=dict(loader['dataset'], split='val'))
    return Config(
        dict(data_root=str(data / 'ffpp'), test_dataloader=loader, val_dataloader=validation, **more)
    )


def test_the_own_set(data: Path) -> None:
    (own,) = find_eval_sets(config(data))
    assert own.name == 'ffpp'
    assert own.dataset['methods'] == ('Deepfakes',)
    assert own.indices == [data / 'ffpp/index.parquet']
    assert own.root == data / 'ffpp'
    # One genuine and one fake video for each of three people.
    table = check_eval_set(own)
    assert table.num_rows == 18
    assert sorted(table['method'].unique().to_pylist()) == ['Deepfakes', 'youtube']


def test_names_paths_and_entries(data: Path) -> None:
    entry = dict(data_root=str(data / 'celebdf_v2'), split='val', frames_per_video=1)
    cfg = config(data, test_sets=dict(small=entry))
    names = ['celebdf_v2', str(data / 'celebdf_v2') + '/', f'other={data}/celebdf_v2', 'small']
    with pytest.raises(InputError, match='celebdf_v2 is named twice'):
        find_eval_sets(cfg, names)
    beside, other, small = find_eval_sets(cfg, [names[0], *names[2:]])
    assert [s.name for s in (beside, other, small)] == ['celebdf_v2', 'other', 'small']
    assert beside.indices == other.indices == small.indices == [data / 'celebdf_v2/index.parquet']
    for found in (beside, other):
        # Taken from test_dataloader, but for the choice of manipulations, which is FF++'s.
        assert found.dataloader['batch_size'] == 4
        assert found.dataset['pipeline'] == [dict(type='LoadForgeryPair')]
        assert found.dataset['frames_per_video'] == 2
        assert 'methods' not in found.dataset
    assert (small.split, small.dataset['frames_per_video']) == ('val', 1)
    assert [s.name for s in find_eval_sets(cfg, [])] == ['small']
    listed = config(data, test_sets=['celebdf_v2', f'other={data}/celebdf_v2'])
    assert [s.name for s in find_eval_sets(listed, [])] == ['celebdf_v2', 'other']


def test_where_images_are_read_from(data: Path) -> None:
    """A place is that of the config's own set; a rule holds for all; an entry has its own."""
    place = dict(backend='lmdb', db_path=str(data / 'ffpp/images.lmdb'))
    rule = dict(backend='lmdb', db_path='{root}/images.lmdb')
    entry = dict(
        data_root=str(data / 'celebdf_v2'), backend_args=dict(backend='lmdb', db_path='/scratch/celebdf.lmdb')
    )
    for given, expected in ((place, None), (rule, rule)):
        cfg = config(data, test_sets=dict(remote=entry))
        cfg.test_dataloader.dataset.backend_args = given
        found = find_eval_sets(cfg, ['celebdf_v2', 'ffpp', 'remote'])
        args = [test_set.dataset['backend_args'] for test_set in found]
        assert args == [expected, given, entry['backend_args']]
        (own,) = find_eval_sets(cfg)
        assert own.dataset['backend_args'] == given


@pytest.mark.parametrize(
    ('names', 'message'),
    [
        (['dfdc'], r"test set 'dfdc' is unknown.*Prepared folders there: celebdf_v2, ffpp"),
        (['raw'], 'raw/index.parquet does not exist; prepare the set'),
        (['x=/nowhere'], "folder '/nowhere' does not exist"),
        (['a b=.'], "test set 'a b': a name may hold"),
        ([f'{VALIDATION}=.'], 'must not be'),
        ([], 'test_sets of the config, which has none'),
    ],
)
def test_bad_names(names: list[str], message: str, data: Path) -> None:
    with pytest.raises((InputError, FileNotFoundError), match=message):
        find_eval_sets(config(data), names)


def test_bad_entries(data: Path) -> None:
    with pytest.raises(InputError, match=r'test_sets.x of the config must be a dictionary with data_root'):
        find_eval_sets(config(data, test_sets=dict(x=dict(split='test'))), ['x'])
    entry = dict(data_root=str(data / 'ffpp'), pipeline=[])
    with pytest.raises(InputError, match=r'test_sets.x: unknown pipeline'):
        find_eval_sets(config(data, test_sets=dict(x=entry)), ['x'])
    cfg = config(data)
    cfg.test_dataloader.dataset = dict(type='ConcatDataset', datasets=[])
    with pytest.raises(InputError, match='must be a dataset with ann_file'):
        find_eval_sets(cfg)


def test_one_class_of_one_dataset(data: Path) -> None:
    """Fakes of one dataset cannot be compared with genuine videos of another."""
    path = data / 'ffpp/index.parquet'
    rows = [row for row in read_index(path).to_pylist() if row['split'] == 'test']
    for row in rows:
        if row['label'] == 1:
            row['dataset'] = 'other'
            row['video_key'] = row['video_key'].replace('ffpp/', 'other/')
    write_index(rows, path)
    cfg = config(data)
    cfg.test_dataloader.dataset.methods = None
    with pytest.raises(OneClassError, match=r"test set ffpp: all videos of 'ffpp' .* are genuine"):
        check_eval_set(find_eval_sets(cfg)[0])


def test_several_indices(data: Path) -> None:
    cfg = config(data)
    cfg.test_dataloader.dataset.update(
        data_root=str(data), ann_file=['ffpp/index.parquet', 'celebdf_v2/index.parquet']
    )
    (own,) = find_eval_sets(cfg)
    assert own.root == data
    assert check_eval_set(own).num_rows == 36


def test_validation_set(data: Path) -> None:
    found = validation_set(config(data))
    assert (found.name, found.split) == (VALIDATION, 'val')
    assert check_eval_set(found).num_rows == 4
    with pytest.raises(InputError, match=r'val_dataloader\.dataset'):
        validation_set(Config(dict(test_dataloader={})))
