# SPDX-License-Identifier: Apache-2.0
"""The layout of the runs and what is refused before any of them is started."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mmengine.config import Config

from cross_manipulation import plan as plan_module
from cross_manipulation.plan import Plan, ProtocolOptions, make_plan
from iid_mm.errors import InputError
from iid_mm.registry import DATASETS, HOOKS
from iid_mm.utils.config import load_config

from .conftest import METHODS, index_rows

LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')


def plan_of(config: Path | list[Path], tmp_path: Path, **options: Any) -> Plan:
    configs = config if isinstance(config, list) else [config]
    return make_plan(ProtocolOptions(configs=configs, work_dir=tmp_path / 'work', **options))


def test_layout_of_the_configs(write_config: Callable[..., Path], tmp_path: Path, iid_scope: None) -> None:
    config = write_config()
    plan = plan_of(config, tmp_path, seeds=[0, 3])
    plan.write()
    assert [run.key for run in plan.runs] == [
        ('arm', slug, seed)
        for seed in (0, 3)
        for slug in ('Face2Face+FaceSwap', 'Deepfakes+FaceSwap', 'Deepfakes+Face2Face')
    ]
    assert [column.name for column in plan.columns] == list(METHODS)
    run = plan.runs[3]
    text = run.config.read_text()
    assert f"_base_ = '{config}'" in text
    # Deltas only: nothing of the base is repeated.
    assert 'model' not in text
    assert 'pipeline' not in text
    child, base = load_config(run.config), load_config(config)
    assert child.model == base.model
    datasets = [DATASETS.build(child[loader].dataset) for loader in LOADERS]
    found = [{d.get_data_info(i)['method'] for i in range(len(d))} - {'youtube'} for d in datasets]
    assert found == [{'Face2Face', 'FaceSwap'}, {'Face2Face', 'FaceSwap'}, set(METHODS)]
    assert [dataset.split for dataset in datasets] == ['train', 'val', 'test']
    assert (child.randomness.seed, datasets[0].seed) == (3, 3)
    for hook in child.default_hooks.values():
        HOOKS.build(hook)
    assert child.default_hooks.checkpoint.max_keep_ckpts == 2
    assert Path(child.work_dir) == run.state.directory
    assert child.default_hooks.selection.methods == ['Face2Face', 'FaceSwap']


def test_configs_within_the_working_directory_can_be_moved(
    write_config: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = write_config()
    monkeypatch.chdir(tmp_path)
    plan = make_plan(ProtocolOptions(configs=[Path(config.name)]))
    plan.write()
    assert plan.work_dir == Path('work_dirs/cross_leave_one_out')
    assert "_base_ = '../../../../arm.py'" in plan.runs[0].config.read_text()


def test_config_options_become_part_of_the_configs(write_config: Callable[..., Path], tmp_path: Path) -> None:
    config = write_config()
    moved = tmp_path / 'moved'
    (tmp_path / 'prepared').rename(moved)
    options = {'data_root': str(moved), 'train_cfg.max_epochs': 3, 'optim_wrapper.optimizer.lr': 0.5}
    plan = plan_of(config, tmp_path, cfg_options=options)
    plan.write()
    child = Config.fromfile(plan.runs[0].config)
    assert [child[loader].dataset.data_root for loader in LOADERS] == [str(moved)] * 3
    assert (child.train_cfg.max_epochs, child.optim_wrapper.optimizer.lr) == (3, 0.5)


def test_backend_args_become_part_of_the_configs(write_config: Callable[..., Path], tmp_path: Path) -> None:
    options = {'backend_args.backend': 'lmdb', 'backend_args.db_path': '{root}/images.lmdb'}
    plan = plan_of(write_config(), tmp_path, cfg_options=options)
    plan.write()
    child = load_config(plan.runs[0].config)
    expected = {'backend': 'lmdb', 'db_path': '{root}/images.lmdb'}
    assert [child[loader].dataset.backend_args for loader in LOADERS] == [expected] * 3


def test_config_options_within_lists(write_config: Callable[..., Path], tmp_path: Path) -> None:
    config = write_config()
    options = {'param_scheduler.1.T_max': 7, 'param_scheduler.1.end': 8, 'train_cfg.max_epochs': 8}
    plan = plan_of(config, tmp_path, cfg_options=options)
    plan.write()
    before, child = Config.fromfile(config), Config.fromfile(plan.runs[0].config)
    assert (child.param_scheduler[1].T_max, child.param_scheduler[1].end) == (7, 8)
    assert child.param_scheduler[0] == before.param_scheduler[0]
    assert child.train_cfg.max_epochs == 8
    with pytest.raises(InputError, match='param_scheduler is a list of 2; give a number from 0 to 1'):
        plan_of(config, tmp_path / 'other', cfg_options={'param_scheduler.9.T_max': 7})


def test_configs_that_cannot_be_written_do_not_block_the_folder(
    write_config: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = write_config()
    with monkeypatch.context() as patch:
        patch.setattr(plan_module, 'options_delta', lambda *_: {'model': {'backbone': 'nothing'}})
        with pytest.raises(InputError, match='cannot be written as a child config'):
            plan_of(config, tmp_path).write()
    assert not list(tmp_path.rglob('*.trial.py'))
    plan_of(config, tmp_path).write()


def test_wrapped_data_sets(write_config: Callable[..., Path], tmp_path: Path) -> None:
    config = write_config()
    text = config.read_text()
    config.write_text(
        f"{text}\ntrain_dataloader['dataset'] = dict(_delete_=True, type='RepeatDataset', times=2, dataset="
        "dict(type='ForgeryDataset', data_root=data_root, ann_file='index.parquet', split='train'))\n"
    )
    plan = plan_of(config, tmp_path)
    plan.write()
    inner = load_config(plan.runs[0].config).train_dataloader.dataset.dataset
    assert inner.methods == ['Face2Face', 'FaceSwap']


def test_select_last(write_config: Callable[..., Path], tmp_path: Path) -> None:
    plan = plan_of(write_config(), tmp_path, select='last', keep='all')
    plan.write()
    hook = load_config(plan.runs[0].config).default_hooks.checkpoint
    assert (hook.save_best, hook.max_keep_ckpts) == (None, 3)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (
            dict(methods=['Deepfakes', 'NoSuch']),
            r"--methods: no manipulation 'NoSuch'.* it has Deepfakes, Face2",
        ),
        (
            dict(test_methods=['NoSuch']),
            r"--test-methods: no manipulation 'NoSuch'.* it has Deepfakes, Face2",
        ),
        (dict(methods=['Deepfakes', 'Deepfakes']), 'name each manipulation once'),
        (dict(methods=['Deepfakes']), 'needs at least two manipulations'),
        (dict(kind='num-seen', num_seen=3), 'leaves none that is unseen'),
        (dict(kind='train-sets', train_sets=['Deepfakes+X']), "training set 'Deepfakes.X'"),
        (dict(seeds=[1, 1]), r'seeds=\[1, 1\]'),
        (dict(seeds=[-1]), r'seeds=\[-1\]'),
        (dict(processes=0), 'processes=0'),
    ],
)
def test_refused(options: Any, message: str, write_config: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        plan_of(write_config(), tmp_path, **options)
    assert not (tmp_path / 'work').exists()


def test_methods_limit_the_columns_too(write_config: Callable[..., Path], tmp_path: Path) -> None:
    methods = ['FaceSwap', 'Deepfakes']
    plan = plan_of(write_config(), tmp_path, methods=methods)
    assert [column.name for column in plan.columns] == methods
    assert [s.methods for s in plan.train_sets] == [('Deepfakes',), ('FaceSwap',)]


def test_empty_validation_of_a_trained_manipulation(
    write_config: Callable[..., Path], tmp_path: Path
) -> None:
    rows = index_rows('train', 2) + index_rows('val', 1, METHODS[:2]) + index_rows('test', 1)
    message = (
        r"arm: split 'val' of .* \(val_dataloader\) has no fakes of FaceSwap; it has Deepfakes, Face2Face"
    )
    with pytest.raises(InputError, match=message):
        plan_of(write_config(rows), tmp_path)
    # Not needed where it is not trained on.
    plan_of(write_config(rows), tmp_path, kind='train-sets', train_sets=['Deepfakes'])


def test_no_genuine_videos(write_config: Callable[..., Path], tmp_path: Path) -> None:
    rows = index_rows('train', 2) + index_rows('val', 1) + index_rows('test', 1)
    rows = [row for row in rows if row['label'] or row['split'] != 'test']
    with pytest.raises(InputError, match='has no genuine videos'):
        plan_of(write_config(rows), tmp_path)


def test_missing_index_and_config(write_config: Callable[..., Path], tmp_path: Path) -> None:
    config = write_config()
    (tmp_path / 'prepared' / 'index.parquet').unlink()
    with pytest.raises(FileNotFoundError, match='make it with tools/prepare_data'):
        plan_of(config, tmp_path)
    with pytest.raises(FileNotFoundError, match='does not exist'):
        plan_of(tmp_path / 'none.py', tmp_path)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (
            "val_dataloader['dataset']['split'] = 'test'",
            "reads the split 'test', which is for the metrics alone",
        ),
        ('default_hooks = dict(checkpoint=dict(save_best=None))', 'does not name one metric'),
        ("default_hooks = dict(checkpoint=dict(save_best='auto'))", 'does not name one metric'),
        ("val_dataloader['dataset'] = dict(_delete_=True, type='Other')", 'is no ForgeryDataset'),
        ('train_dataloader = None', 'has no train_dataloader.dataset'),
    ],
)
def test_configs_that_do_not_fit(
    change: str, message: str, write_config: Callable[..., Path], tmp_path: Path
) -> None:
    config = write_config()
    config.write_text(f'{config.read_text()}\n{change}\n')
    with pytest.raises(InputError, match=message):
        plan_of(config, tmp_path)


def test_configs_of_one_name_and_of_other_test_videos(
    write_config: Callable[..., Path], tmp_path: Path
) -> None:
    first = write_config()
    with pytest.raises(InputError, match='two have the same name'):
        plan_of([first, first], tmp_path)
    second = tmp_path / 'second.py'
    (tmp_path / 'prepared').rename(tmp_path / 'other')
    second.write_text(first.read_text().replace(f'{tmp_path}/prepared', f'{tmp_path}/other'))
    first = write_config(index_rows('train', 4) + index_rows('val', 1) + index_rows('test', 3))
    with pytest.raises(InputError, match=r"read different test videos \(e.g. 'ffpp/Deepfakes/c23/test002'"):
        plan_of([first, second], tmp_path)


def test_foreign_work_dir(write_config: Callable[..., Path], tmp_path: Path) -> None:
    config = write_config()
    (tmp_path / 'work').mkdir()
    plan_of(config, tmp_path)
    (tmp_path / 'work' / 'thesis.txt').touch()
    with pytest.raises(InputError, match='holds other files'):
        plan_of(config, tmp_path)


def test_work_dir_of_another_protocol(write_config: Callable[..., Path], tmp_path: Path) -> None:
    config = write_config()
    plan_of(config, tmp_path).write()
    plan_of(config, tmp_path, seeds=[0, 1, 2])  # More seeds are no other protocol.
    with pytest.raises(InputError, match=r'holds another protocol \(kind: .leave-one-out. -> .one-vs-rest.'):
        plan_of(config, tmp_path, kind='one-vs-rest')
    plan_of(config, tmp_path, kind='one-vs-rest', overwrite=True)
