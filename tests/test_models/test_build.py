# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config

from iid_mm.apis import init_model, load_config
from iid_mm.errors import InputError


@pytest.fixture
def config(tiny_model_cfg: dict[str, Any]) -> Config:
    return Config(dict(default_scope='iid_mm', model=tiny_model_cfg))


def test_model_is_ready_to_predict(config: Config) -> None:
    model = init_model(config)
    assert not model.training
    assert model.cfg is config
    predicted = model.test_step(dict(inputs=[torch.zeros(3, 112, 112, dtype=torch.uint8)], data_samples=None))
    assert predicted[0].pred_score.sum().item() == pytest.approx(1)


def test_checkpoint_is_loaded(config: Config, tmp_path: Path) -> None:
    first = init_model(config)
    torch.save(dict(state_dict=first.state_dict()), tmp_path / 'a.pth')
    second = init_model(config, tmp_path / 'a.pth')
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_checkpoint_of_another_model_names_keys(config: Config, tmp_path: Path) -> None:
    options = {'model.neck': None, 'model.artifact_head': None, 'model.forgery_head.artifact_channels': None}
    baseline = init_model(Config(config.to_dict()), cfg_options=options)
    torch.save(dict(state_dict=baseline.state_dict()), tmp_path / 'a.pth')
    with pytest.raises(InputError, match=r'another model.*missing: .*projection.*neck'):
        init_model(config, tmp_path / 'a.pth')


def test_cfg_options_replace_values(config: Config) -> None:
    model = init_model(
        config,
        cfg_options={
            'model.neck.channels': 8,
            'model.artifact_head.in_channels': 8,
            'model.forgery_head.artifact_channels': 8,
        },
    )
    assert model.neck.channels == 8
    assert model.cfg.model.neck.channels == 8


def test_cfg_options_leave_the_callers_config_alone(config: Config) -> None:
    load_config(config, {'model.neck.channels': 8})
    assert config.model.neck.channels == 16


def test_config_from_a_file(config: Config, tmp_path: Path) -> None:
    config.dump(str(tmp_path / 'c.py'))
    assert init_model(str(tmp_path / 'c.py')).neck.channels == 16


def test_missing_config() -> None:
    with pytest.raises(FileNotFoundError, match=r'config /nowhere/c\.py does not exist'):
        init_model('/nowhere/c.py')


def test_missing_checkpoint(config: Config) -> None:
    with pytest.raises(FileNotFoundError, match=r'/nowhere/c\.pth'):
        init_model(config, '/nowhere/c.pth')


def test_config_without_model() -> None:
    with pytest.raises(InputError, match=r'no entry `model`'):
        init_model(Config(dict(default_scope='iid_mm')))


@pytest.mark.parametrize(
    ('name', 'text', 'message'),
    [
        ('c.txt', 'model = dict()', r'must end in \.py'),
        ('c.py', 'model = dict(\n', r'c\.py.* cannot be read'),
        ('c.py', "_base_ = './missing.py'", r'missing\.py'),
        ('c.json', '{', r'c\.json.* cannot be read'),
    ],
)
def test_broken_config(name: str, text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises((InputError, FileNotFoundError), match=message):
        load_config(tmp_path / name)


def test_data_root_reaches_all_data_sets(tmp_path: Path) -> None:
    loader = dict(dataset=dict(data_root='old', inner=[dict(data_root='old'), dict(data_root='other')]))
    cfg = load_config(Config(dict(data_root='old', train=loader)), {'data_root': 'new'})
    assert cfg.data_root == 'new'
    assert cfg.train.dataset.data_root == 'new'
    assert [inner.data_root for inner in cfg.train.dataset.inner] == ['new', 'other']


BACKEND_ARGS_CONFIG = """
backend_args = dict(backend='lmdb', db_path='{root}/images.lmdb')
one = dict(type='ForgeryDataset', ann_file='index.parquet')
inner = dict(type='iid_mm.ConfoundedForgeryDataset', ann_file='index.parquet')
own = dict(type='ForgeryDataset', ann_file='index.parquet', backend_args=dict(backend='lmdb', db_path='/own'))
foreign = dict(type='ImageNet', ann_file='index.parquet')
loaders = [dict(dataset=one), dict(dataset=dict(type='RepeatDataset', dataset=inner)), dict(dataset=own)]
others = dict(dataset=foreign)
"""


def test_backend_args_reach_all_data_sets(tmp_path: Path) -> None:
    path = tmp_path / 'config.py'
    path.write_text(BACKEND_ARGS_CONFIG)
    rule, own = dict(backend='lmdb', db_path='{root}/images.lmdb'), dict(backend='lmdb', db_path='/own')

    def found(cfg: Config) -> list[Any]:
        sets = [cfg.loaders[0].dataset, cfg.loaders[1].dataset.dataset, cfg.loaders[2].dataset]
        return [dataset.get('backend_args') for dataset in [*sets, cfg.others.dataset]]

    cfg = load_config(path)
    assert found(cfg) == [rule, rule, own, None]
    # On the command line; the config itself stays.
    moved = load_config(cfg, {'backend_args.db_path': '/scratch/{name}.lmdb'})
    elsewhere = dict(rule, db_path='/scratch/{name}.lmdb')
    assert found(moved) == [elsewhere, elsewhere, own, None]
    assert found(load_config(path, {'backend_args': None})) == [None, None, own, None]
    single = {'loaders.0.dataset.backend_args.db_path': '/one.lmdb'}
    assert found(load_config(cfg, single)) == [dict(rule, db_path='/one.lmdb'), rule, own, None]
    assert found(cfg) == [rule, rule, own, None]
    # A config that a run has written down reads the same.
    cfg.dump(tmp_path / 'dumped.py')
    assert found(load_config(tmp_path / 'dumped.py')) == found(cfg)
