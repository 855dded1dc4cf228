# SPDX-License-Identifier: Apache-2.0
"""Configs whose ``backend_args`` hold for their datasets, and settings that nothing reads."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest
from mmengine.config import Config
from torch.utils.data import DataLoader

from iid_mm.errors import InputError
from iid_mm.utils.config import dataset_of, datasets_of, find_config, insert_step, load_config
from iid_mm.utils.config_keys import SECTIONS
from iid_mm.utils.config_keys import SETTINGS as SETTINGS_KNOWN
from support.paths import REPOSITORY

LMDB = dict(backend='lmdb', db_path='a.lmdb')
OTHER = dict(backend='lmdb', db_path='other.lmdb')
TEXT = """
{top}
train_dataloader = dict(dataset=dict(type='ForgeryDataset', ann_file='a'{train}))
val_dataloader = dict(dataset=dict(type='ForgeryDataset', ann_file='a'{val}))
other = dict(type='Writer', ann_file='a')
"""


def read(
    folder: Path, top: Any = None, train: str = '', val: str = '', options: dict[str, Any] | None = None
) -> list[Any]:
    path = folder / 'config.py'
    path.write_text(TEXT.format(top='' if top is None else f'backend_args = {top!r}', train=train, val=val))
    cfg = load_config(path, options)
    assert 'backend_args' not in cfg.other
    return [cfg[name].dataset.get('backend_args') for name in ('train_dataloader', 'val_dataloader')]


@pytest.mark.parametrize(
    ('given', 'expected'),
    [
        (dict(), [None, None]),
        (dict(top=LMDB), [LMDB, LMDB]),
        (dict(top=LMDB, val=f', backend_args={OTHER!r}'), [LMDB, OTHER]),
        # None is an answer, too: this set reads files.
        (dict(top=LMDB, val=', backend_args=None'), [LMDB, None]),
        (dict(top=LMDB, options={'val_dataloader.dataset.backend_args': None}), [LMDB, None]),
        (dict(options={'backend_args': LMDB}), [LMDB, LMDB]),
        (dict(top=LMDB, options={'backend_args.db_path': 'b'}), [{**LMDB, 'db_path': 'b'}] * 2),
        (dict(top=LMDB, options={'backend_args': None}), [None, None]),
        (dict(val=f', backend_args={OTHER!r}', options={'backend_args': LMDB}), [LMDB, OTHER]),
    ],
)
def test_backend_args_reach_the_data_sets_without_their_own(
    given: dict[str, Any], expected: list[Any], tmp_path: Path
) -> None:
    assert read(tmp_path, **given) == expected


def test_modules_that_are_not_there(tmp_path: Path) -> None:
    path = tmp_path / 'config.py'
    path.write_text("custom_imports = dict(imports=['no_such_module'], allow_failed_imports=False)\n")
    with pytest.raises(
        InputError, match=r'imports missing modules: .*no_such_module.*PYTHONPATH=projects/self_blended$'
    ):
        load_config(path)


SETTINGS = """
variable = 3
data_root = 'a'
sync_bn = None
model = dict(type='Detector', neck=None, parts=(1, 2))
train_dataloader = dict(batch_size=4, dataset=dict(type='Set'))
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='AdamW'))
default_hooks = dict(logger=dict(type='LoggerHook'))
custom_hooks = [dict(type='A', interval=1), dict(type='B')]
"""


def load(folder: Path, text: str = SETTINGS, **options: Any) -> Any:
    path = folder / 'settings.py'
    path.write_text(text)
    return load_config(path, {key.replace('__', '.'): value for key, value in options.items()})


@pytest.mark.parametrize(
    ('options', 'parts'),
    [
        (dict(train_dataloder__batch_size=4), ("'train_dataloder'", "did you mean 'train_dataloader'?")),
        (dict(modle=1), ("'modle'", "did you mean 'model'?")),
        (dict(val_evaluater__type='X'), ("did you mean 'val_evaluator'?",)),
        (dict(zzz=1), ("neither the config nor the runner has 'zzz'",)),
        (
            dict(train_dataloader__batch_sise=4),
            ("train_dataloader has no 'batch_sise'; did you mean 'batch_size'?",),
        ),
        (
            dict(env_cfg__cudnn_benchmrk=True),
            ("env_cfg has no 'cudnn_benchmrk'; did you mean 'cudnn_benchmark'?",),
        ),
        (dict(randomness__sed=1), ("did you mean 'seed'?",)),
        (dict(auto_scale_lr__enabel=True), ("did you mean 'enable'?",)),
        (dict(default_hooks__loger__interval=1), ("default_hooks has no 'loger'; did you mean 'logger'?",)),
        (dict(custom_hooks__9__interval=1), ('custom_hooks is a list of 2', 'from 0 to 1')),
        (dict(custom_hooks__x__interval=1), ('custom_hooks is a list of 2',)),
        (dict(custom_hooks__0=3), ('give custom_hooks whole',)),
        (dict(data_root__x=1), ('data_root is a str and has no keys',)),
        (dict(model__neck__channels=1), ('model.neck is None', 'give model.neck whole')),
        (dict(model__parts__0=1), ('model.parts is a tuple',)),
        (dict(train_dataloader=5), ('train_dataloader is a dictionary', 'train_dataloader.type')),
        (dict(model____neck=1), ('a part of the key is empty', 'KEY=VALUE')),
    ],
    ids=str,
)
def test_options_that_would_do_nothing(
    options: dict[str, Any], parts: tuple[str, ...], tmp_path: Path
) -> None:
    with pytest.raises(InputError) as caught:
        load(tmp_path, **options)
    message = str(caught.value)
    assert '\n' not in message
    for part in ('--cfg-options', *parts):
        assert part in message, message


def test_an_empty_key(tmp_path: Path) -> None:
    path = tmp_path / 'settings.py'
    path.write_text(SETTINGS)
    for key in ('', '.a', 'a.', 'a..b'):
        with pytest.raises(InputError, match='part of the key is empty'):
            load_config(path, {key: 1})


def test_new_keys_that_components_know(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Settings that the config leaves out, sections that it has not, and parts that are taken out."""
    cfg = load(
        tmp_path,
        optim_wrapper__clip_grad__max_norm=1.0,
        train_dataloader__timeout=5,
        train_dataloader__dataset__methods=['A'],
        val_dataloader__num_workers=0,
        randomness__seed=3,
        custom_hooks__1__interval=7,
        default_hooks__checkpoint__interval=3,
        model__backbone__depth=18,
        resume=True,
        sync_bn='torch',
        custom_hooks=[],
        default_hooks=None,
    )
    assert cfg.optim_wrapper.clip_grad.max_norm == 1.0
    assert (cfg.resume, cfg.sync_bn, cfg.default_hooks) == (True, 'torch', None)
    assert capsys.readouterr().err == ''


def test_variables_of_a_file_change_nothing_from_outside(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    load(tmp_path, variable=4)
    assert capsys.readouterr().err == (
        'warning: --cfg-options variable: a variable of the config file; changing it here has no effect\n'
    )


@pytest.mark.parametrize(
    ('line', 'warning'),
    [
        (
            'train_dataloder = dict(batch_size=4)',
            "unknown setting 'train_dataloder'; did you mean",
        ),
        ('custom_hook = []', "did you mean 'custom_hooks'?"),
        (
            'val_dataloader = dict(batchsize=4)',
            "val_dataloader has no 'batchsize'; did you mean 'batch_size'?",
        ),
        ('size = (2, 2)\ntrain_pipeline = []\nlr = 3', ''),
    ],
)
def test_names_in_a_file_that_nothing_reads(
    line: str, warning: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    load(tmp_path, SETTINGS + line)
    told = capsys.readouterr().err
    assert told.count('\n') == bool(warning)
    assert warning in told


def test_environment_variables_that_nothing_reads(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv('IID_DATAROOT', 'x')
    monkeypatch.setenv('IID_MINE', 'x')
    load(tmp_path, SETTINGS + "mine = '{{$IID_MINE:}}'")
    # Not what MMEngine logs to the stream of an earlier test.
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith('warning: ')]
    assert len(told) == 1
    assert "unknown environment variable IID_DATAROOT; did you mean 'IID_DATA_ROOT'?" in told[0]


def test_settings_are_those_of_the_runners() -> None:
    from mmengine.runner import Runner

    assert set(inspect.signature(Runner).parameters) - {'cfg'} <= SETTINGS_KNOWN
    loader = set(inspect.signature(DataLoader).parameters)
    assert loader <= SECTIONS['train_dataloader']


def test_settings_of_all_configs_are_known(capsys: pytest.CaptureFixture[str]) -> None:
    for path in sorted((REPOSITORY / 'configs').glob('*.py')):
        load_config(path)
    assert capsys.readouterr().err == ''


def test_datasets_are_found_below_their_wrappers() -> None:
    leaves = [dict(type='ForgeryDataset', ann_file=name) for name in 'abc']
    both = dict(type='ConcatDataset', datasets=[dict(type='RepeatDataset', dataset=leaves[0]), leaves[1]])
    cfg = Config(dict(train_dataloader=dict(dataset=both), test_dataloader=dict(dataset=leaves[2])))
    assert [dataset.ann_file for dataset in datasets_of(cfg, 'train_dataloader')] == ['a', 'b']
    dataset_of(cfg).split = 'val'
    assert cfg.test_dataloader.dataset.split == 'val'
    assert datasets_of(cfg, 'val_dataloader') == []
    with pytest.raises(InputError, match=r'no val_dataloader\.dataset'):
        dataset_of(cfg, 'val_dataloader')


def test_steps_are_inserted_beside_others() -> None:
    pipeline = [dict(type='Load'), dict(type='iid_mm.AlignFace'), dict(type='Pack')]
    step = dict(type='New')
    assert insert_step(pipeline, step, after='AlignFace') == [*pipeline[:2], step, pipeline[2]]
    assert insert_step(pipeline, step, before='Load') == [step, *pipeline]
    assert len(pipeline) == 3
    with pytest.raises(InputError, match=r'\(Load, AlignFace, Pack\) has no Swap, beside which New belongs'):
        insert_step(pipeline, step, after='Swap')


def test_configs_by_name() -> None:
    path = find_config('iid_effb4_ffpp')
    assert Path(path).name == 'iid_effb4_ffpp.py'  # type: ignore[arg-type]
    with pytest.raises(FileNotFoundError, match=r'nothing does not exist; known names: .*iid_effb4_ffpp'):
        find_config('nothing')
