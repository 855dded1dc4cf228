# SPDX-License-Identifier: Apache-2.0
"""Mistakes of users: exit status 1 and one line that says what is wrong and where."""

from __future__ import annotations

import re
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from mmengine.config import Config
from mmengine.optim import OptimWrapper

from iid_mm.apis import init_model
from iid_mm.errors import InputError
from iid_mm.registry import OPTIM_WRAPPERS
from support.paths import REPOSITORY

BASELINE = {
    'model.neck': None,
    'model.artifact_head': None,
    'model.forgery_head.artifact_channels': None,
}

SPLIT, LABEL = pa.compute.field('split'), pa.compute.field('label')


@pytest.fixture
def fails(call_tool: Any, tmp_path: Path) -> Any:
    """Run a tool, check that it fails with one line, and return that line."""

    def run(tool: str, *arguments: Any, work_dir: bool = True) -> str:
        extra = ['--work-dir', tmp_path / 'work'] if work_dir else []
        status, message = call_tool(tool, *arguments, *extra)
        assert status == 1
        assert message.startswith('error: ')
        assert '\n' not in message
        return message

    return run


@pytest.fixture
def copied_set(tiny_prepared: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_prepared, tmp_path / 'set'))


def options(root: Path, **more: Any) -> list[str]:
    return ['--cfg-options', f'data_root={root}', *(f'{k.replace("__", ".")}={v}' for k, v in more.items())]


def test_missing_data_root(fails: Any, tiny_config: Path, tiny_checkpoint: Path) -> None:
    wanted = "index '/nowhere/index.parquet' does not exist; make it with tools/prepare_data.py"
    assert wanted in fails('train.py', tiny_config, *options(Path('/nowhere')))
    assert wanted in fails('test.py', tiny_config, tiny_checkpoint, *options(Path('/nowhere')))


def test_missing_data_root_in_preparation(fails: Any, tmp_path: Path) -> None:
    message = fails('prepare_data.py', 'ffpp', '/nowhere', tmp_path / 'out', work_dir=False)
    assert '/nowhere' in message


def test_unknown_analyzer(fails: Any, tmp_path: Path) -> None:
    arguments = ('ffpp', tmp_path, tmp_path / 'out', '--analyzer', 'magic')
    message = fails('prepare_data.py', *arguments, work_dir=False)
    assert "'magic'" in message
    assert 'mediapipe' in message


def rewrite(root: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    """Change the table of an index."""
    path = root / 'index.parquet'
    pq.write_table(change(pq.read_table(path)), path)


def short_landmarks(table: pa.Table) -> pa.Table:
    rows = table['landmarks'].to_pylist()
    rows[3] = rows[3][:10]
    column = pa.array(rows, type=pa.list_(pa.float32()))
    return table.set_column(table.column_names.index('landmarks'), 'landmarks', column)


@pytest.mark.parametrize(
    ('change', 'part'),
    [
        (
            lambda t: t.filter(SPLIT == 'val'),
            "split='train' is empty in ROOT/index.parquet; splits there: val",
        ),
        (lambda t: t.filter(SPLIT != 'val'), "split='val' is empty"),
        (lambda t: t.drop_columns(['video_key']), 'ROOT/index.parquet: missing column(s) video_key'),
        (short_landmarks, "index.parquet, row 3, column 'landmarks': needs 136 or 162 values"),
    ],
    ids=('no training', 'no validation', 'no column', 'landmarks'),
)
def test_damaged_index(change: Any, part: str, fails: Any, tiny_config: Path, copied_set: Path) -> None:
    rewrite(copied_set, change)
    assert part.replace('ROOT', str(copied_set)) in fails('train.py', tiny_config, *options(copied_set))


def test_index_that_is_no_parquet(fails: Any, tiny_config: Path, copied_set: Path) -> None:
    (copied_set / 'index.parquet').write_text('image,label\n')
    assert 'is not a readable Parquet file' in fails('train.py', tiny_config, *options(copied_set))


@pytest.mark.parametrize('workers', [0, 1])
def test_truncated_image(
    workers: int, fails: Any, tiny_config: Path, tiny_checkpoint: Path, copied_set: Path
) -> None:
    path = copied_set / 'frames/ffpp/youtube/c23/200/00001.png'
    path.write_bytes(path.read_bytes()[:-200])
    chosen = options(copied_set, test_dataloader__num_workers=workers)
    message = fails('test.py', tiny_config, tiny_checkpoint, *chosen)
    assert f"image '{path}' cannot be decoded" in message
    assert 'truncated' in message
    assert 'Traceback' not in message


def test_missing_image(fails: Any, tiny_config: Path, tiny_checkpoint: Path, copied_set: Path) -> None:
    path = copied_set / 'frames/ffpp/youtube/c23/200/00001.png'
    path.unlink()
    message = fails('test.py', tiny_config, tiny_checkpoint, *options(copied_set))
    assert f"image '{path}', which the index lists, does not exist" in message


def test_one_class_only(fails: Any, tiny_config: Path, tiny_checkpoint: Path, copied_set: Path) -> None:
    rewrite(copied_set, lambda table: table.filter(LABEL == 1))
    message = fails('test.py', tiny_config, tiny_checkpoint, *options(copied_set))
    assert 'genuine' in message


def one_class(root: Path, split: str, label: int) -> None:
    """Leave only one class in a split."""
    rewrite(root, lambda table: table.filter((split != SPLIT) | (label == LABEL)))


@pytest.mark.parametrize(('label', 'present'), [(0, 'genuine'), (1, 'fake')])
def test_validation_of_one_class(
    label: int, present: str, fails: Any, tiny_config: Path, copied_set: Path, tmp_path: Path
) -> None:
    one_class(copied_set, 'val', label)
    message = fails('train.py', tiny_config, *options(copied_set))
    assert f"val_dataloader: set 'ffpp' in split 'val' of {copied_set}/index.parquet: all " in message
    assert f'samples are {present}' in message
    # Not a single iteration was made.
    assert not list((tmp_path / 'work').rglob('scalars.json'))
    assert not list((tmp_path / 'work').glob('*.pth'))


def test_without_validation_its_split_does_not_matter(
    call_tool: Any, tiny_config: Path, copied_set: Path, tmp_path: Path
) -> None:
    one_class(copied_set, 'val', 1)
    config = tmp_path / 'child.py'
    config.write_text(
        f"_base_ = '{tiny_config}'\nval_cfg = val_dataloader = val_evaluator = None\n"
        'train_cfg = dict(max_epochs=1)\ndefault_hooks = dict(checkpoint=dict(save_best=None))\n'
    )
    arguments = (config, '--work-dir', tmp_path / 'work', *options(copied_set))
    assert call_tool('train.py', *arguments) == (0, '')


def test_each_eval_set_of_one_class_is_reported(
    call_tool: Any, tiny_config: Path, tiny_checkpoint: Path, copied_set: Path, tmp_path: Path
) -> None:
    second = Path(shutil.copytree(copied_set, tmp_path / 'second'))
    one_class(copied_set, 'test', 1)
    one_class(second, 'test', 2)
    sets = ('--test-sets', f'a={copied_set}', f'b={second}')
    status, message = call_tool('test.py', tiny_config, tiny_checkpoint, '--work-dir', tmp_path / 'w', *sets)
    assert status == 1
    first, other = message.splitlines()
    assert first.startswith("error: test set a: all videos of 'ffpp' in split 'test' are fake")
    assert other.startswith("error: test set b: split 'test' is empty")


def test_test_of_one_class_is_refused_before_it_runs(
    fails: Any, call_tool: Any, tiny_config: Path, tiny_checkpoint: Path, copied_set: Path, tmp_path: Path
) -> None:
    one_class(copied_set, 'test', 0)
    message = fails('test.py', tiny_config, tiny_checkpoint, *options(copied_set))
    assert "test_dataloader: set 'ffpp' in split 'test'" in message
    # With --out the scores are what is wanted.
    arguments = ('--work-dir', tmp_path / 'w', '--out', tmp_path / 's.parquet', *options(copied_set))
    status, message = call_tool('test.py', tiny_config, tiny_checkpoint, *arguments)
    assert status == 1
    assert 'genuine' in message
    assert (tmp_path / 's.parquet').is_file()


@pytest.mark.parametrize(
    ('option', 'part'),
    [
        ('foo', 'give KEY=VALUE'),
        ('=3', 'give KEY=VALUE'),
        ('a..b=1', 'KEY=VALUE'),
        ('model.x=[1,(2]', 'brackets do not match'),
        ('train_dataloder.batch_size=4', "did you mean 'train_dataloader'?"),
        # Known only when they are built.
        ('model.backbon.depth=18', "unexpected keyword argument 'backbon'"),
        ('model.neck.chanels=3', "unexpected keyword argument 'chanels'"),
        ('default_hooks.logger.intervall=1', "unexpected keyword argument 'intervall'"),
        ('default_hooks.extra.interval=1', "default_hooks has no 'extra'; there are checkpoint, "),
        ('train_dataloader.dataset.splitt=train', "unexpected keyword argument 'splitt'"),
        ('optim_wrapper.optimizer.lrr=1', "unexpected keyword argument 'lrr'"),
        ('optim_wrapper.clip_grd.max_norm=1', "unexpected keyword argument 'clip_grd'"),
        ('train_cfg.max_epoch=3', "unexpected keyword argument 'max_epoch'"),
        ('model.neck.type=None', 'type must be a str or valid type'),
        ('train_dataloader.batch_size=-1', 'batch_size should be a positive integer'),
        ('train_dataloader.num_workers=-1', 'num_workers option should be non-negative'),
    ],
)
def test_options_that_do_not_fit(option: str, part: str, fails: Any, tiny_config: Path) -> None:
    assert part in fails('train.py', tiny_config, '--cfg-options', option)


@pytest.mark.parametrize('tool', ['test.py', 'calibrate.py', 'deployment/export_onnx.py'])
def test_options_of_other_tools(
    tool: str, fails: Any, tiny_config: Path, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    extra = {'calibrate.py': ('--out', tmp_path / 'out'), 'deployment/export_onnx.py': (tmp_path / 'out',)}
    for option, part in (
        ('foo', 'give KEY=VALUE'),
        ('test_dataloder.batch_size=4', "did you mean 'test_dataloader'?"),
    ):
        arguments = (tiny_config, tiny_checkpoint, *extra.get(tool, ()), '--cfg-options', option)
        assert part in fails(tool, *arguments, work_dir=tool == 'test.py')


def test_unknown_method(fails: Any, tiny_config: Path, tiny_prepared: Path) -> None:
    chosen = options(tiny_prepared, train_dataloader__dataset__methods='[Magic]')
    assert 'methods: no fake of Magic' in fails('train.py', tiny_config, *chosen)


def test_baseline_checkpoint_in_an_iid_config(fails: Any, tiny_config: Path, tmp_path: Path) -> None:
    baseline = init_model(tiny_config, cfg_options=BASELINE)
    torch.save(dict(state_dict=baseline.state_dict()), tmp_path / 'b.pth')
    message = fails('test.py', tiny_config, tmp_path / 'b.pth')
    for part in ('b.pth is of another model', 'missing: ', 'neck.reduce', '(', 'Use the config'):
        assert part in message


def test_resuming_from_a_checkpoint_of_another_model(fails: Any, tiny_config: Path, tmp_path: Path) -> None:
    torch.save(dict(state_dict=dict(w=torch.ones(1)), meta=dict(epoch=1, iter=6)), tmp_path / 'b.pth')
    assert 'not of this model: w' in fails('train.py', tiny_config, '--resume', tmp_path / 'b.pth')


def test_resuming_from_bare_weights(fails: Any, tiny_config: Path, tiny_checkpoint: Path) -> None:
    message = fails('train.py', tiny_config, '--resume', tiny_checkpoint)
    assert 'holds weights only' in message
    assert 'load_from' in message


def test_checkpoint_that_is_none(fails: Any, tiny_config: Path, tmp_path: Path) -> None:
    (tmp_path / 'b.pth').write_text('no checkpoint')
    assert 'b.pth' in fails('test.py', tiny_config, tmp_path / 'b.pth')


def test_missing_files(fails: Any, tiny_config: Path, tiny_checkpoint: Path) -> None:
    assert 'config /nowhere.py does not exist' in fails('train.py', '/nowhere.py')
    assert 'config /nowhere.py does not exist' in fails('test.py', '/nowhere.py', tiny_checkpoint)
    assert 'checkpoint /nowhere.pth does not exist' in fails('test.py', tiny_config, '/nowhere.pth')
    assert '--resume /nowhere.pth: no such checkpoint' in fails(
        'train.py', tiny_config, '--resume', '/nowhere.pth'
    )
    # Nothing to resume yet: what the config starts from still counts.
    first = ('--resume', '--cfg-options', 'load_from=/nowhere.pth')
    assert '/nowhere.pth' in fails('train.py', tiny_config, *first)


def test_unknown_component(fails: Any, tiny_config: Path) -> None:
    message = fails('train.py', tiny_config, '--cfg-options', 'model.neck.type=Missing')
    assert 'Missing' in message
    assert 'registry' in message


@pytest.mark.skipif(torch.cuda.is_available(), reason='mixed precision works here')
def test_amp_without_gpu(fails: Any, tiny_config: Path) -> None:
    message = fails('train.py', tiny_config, '--amp')
    assert '--amp needs a GPU' in message


class OwnWrapper(OptimWrapper):
    pass


@OPTIM_WRAPPERS.register_module(force=True)
class Bfloat16Own(OptimWrapper):
    def __init__(self, *args: Any, dtype: str = 'float32', **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)


def test_amp_replaces_the_plain_wrapper_only() -> None:
    use_mixed_precision = runpy.run_path(str(REPOSITORY / 'tools' / 'train.py'))['use_mixed_precision']
    for given, expected in (
        ({}, 'AmpOptimWrapper'),
        (dict(type='mmengine.OptimWrapper'), 'AmpOptimWrapper'),
        (dict(type='AmpOptimWrapper', loss_scale=8.0), 'AmpOptimWrapper'),
        (dict(type='BFloat16OptimWrapper'), 'BFloat16OptimWrapper'),
    ):
        cfg = Config(dict(optim_wrapper=given))
        use_mixed_precision(cfg)
        assert cfg.optim_wrapper.type == expected
        scale = 'dynamic' if expected == 'AmpOptimWrapper' else None
        assert cfg.optim_wrapper.get('loss_scale') == given.get('loss_scale', scale)
    for kind, remedy in (
        ('Bfloat16Own', "give that optim_wrapper.dtype='bfloat16' instead"),
        (OwnWrapper, 'leave it out'),
        ('Unknown', 'leave it out'),
    ):
        with pytest.raises(InputError, match=f'would replace optim_wrapper.type=.*; {remedy}'):
            use_mixed_precision(Config(dict(optim_wrapper=dict(type=kind))))


def test_auto_scale_lr_without_base(fails: Any, tiny_config: Path) -> None:
    chosen = ('--auto-scale-lr', '--cfg-options', 'auto_scale_lr=None')
    assert 'auto_scale_lr.base_batch_size' in fails('train.py', tiny_config, *chosen)


@pytest.mark.parametrize('name', ['tiny.py', 'tiny.pth', 'index.parquet', 'folder'])
def test_no_tool_replaces_its_inputs(
    fails: Any, tiny_config: Path, tiny_checkpoint: Path, copied_set: Path, tmp_path: Path, name: str
) -> None:
    (tmp_path / 'folder').mkdir()
    weights = Path(shutil.copy(tiny_checkpoint, tmp_path / 'tiny.pth'))
    index = copied_set / 'index.parquet'
    paths = {
        'tiny.py': tiny_config,
        'tiny.pth': weights,
        'index.parquet': index,
        'folder': tmp_path / 'folder',
    }
    out = paths[name]
    before = {path: path.read_bytes() for path in (tiny_config, weights, index)}
    data = ('--cfg-options', f'data_root={copied_set}')
    known = r'is an input|is a folder|ends in \.pth|ends in \.onnx|is no scores file'
    assert re.search(known, fails('calibrate.py', tiny_config, weights, '--out', out, *data, work_dir=False))
    assert re.search(known, fails('test.py', tiny_config, weights, '--out', out))
    if name != 'folder':
        assert 'is a file' in fails('test.py', tiny_config, weights, '--out-dir', out)
    arguments = (tiny_config, weights, out)
    assert re.search(known, fails('deployment/export_onnx.py', *arguments, work_dir=False))
    if name == 'tiny.pth':
        arguments = (weights, out, '--backbone', 'resnet34')
        assert 'is an input' in fails('model_converters/caddm2iid.py', *arguments, work_dir=False)
    if name == 'index.parquet':
        for option in ('--json', '--summary', '--sheet'):
            for given in (index, copied_set):
                assert f'{option} {out} is an input' in fails(
                    'check_data.py', given, option, out, work_dir=False
                )
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.parametrize('part', ['train_dataloader', 'train_cfg', 'val_cfg', 'optim_wrapper'])
def test_a_config_without_one_of_the_parts_of_a_run(fails: Any, tiny_config: Path, part: str) -> None:
    message = fails('train.py', tiny_config, '--cfg-options', f'{part}=None')
    assert message.startswith('error: the config does not fit')
    assert part in message


@pytest.mark.slow
def test_message_and_status_of_a_real_process() -> None:
    result = subprocess.run(
        [sys.executable, str(REPOSITORY / 'tools/train.py'), '/nowhere.py'],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 1
    assert result.stderr.rstrip().splitlines()[-1] == 'error: config /nowhere.py does not exist'
    assert 'Traceback' not in result.stderr
