# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from iid_mm.apis import load_checkpoint_file
from iid_mm.datasets.storage import close_databases
from iid_mm.evaluation.scores import read_scores

pytest.importorskip('lmdb')

LMDB = ('backend_args.backend=lmdb', 'backend_args.db_path={root}/images.lmdb')
SHORT = ('train_cfg.max_epochs=1', 'randomness.seed=5')


@pytest.fixture(autouse=True)
def _closed() -> Any:
    yield
    close_databases()


@pytest.fixture
def packed(tiny_prepared: Path, tmp_path: Path, call_tool: Any) -> Path:
    """A copy of the tiny set whose images are in an LMDB database only."""
    root = Path(shutil.copytree(tiny_prepared, tmp_path / 'set'))
    assert call_tool('dataset_tools/pack_lmdb.py', root, '--compare', '--no-progress') == (0, '')
    shutil.rmtree(root / 'frames')
    return root


def train(call_tool: Any, config: Path, work_dir: Path, *options: str) -> tuple[int, str]:
    return call_tool('train.py', config, '--work-dir', work_dir, '--cfg-options', *options)


@pytest.mark.slow
def test_training_and_testing_from_lmdb_are_those_from_files(
    packed: Path, tiny_prepared: Path, tiny_config: Path, tmp_path: Path, call_tool: Any
) -> None:
    """Weights and scores are the same bit for bit."""
    weights, scores = [], []
    for name, root, storage in (('files', tiny_prepared, ()), ('stored', packed, LMDB)):
        work_dir, options = tmp_path / name, (f'data_root={root}', *storage)
        assert train(call_tool, tiny_config, work_dir, *SHORT, *options) == (0, '')
        checkpoint, file = work_dir / 'epoch_1.pth', work_dir / 'scores.parquet'
        weights.append(load_checkpoint_file(checkpoint)['state_dict'])
        more = (f'test_evaluator.scores_file={file}', f'test_evaluator.image_root={root}')
        arguments = ('--work-dir', work_dir, '--cfg-options', *options, *more)
        assert call_tool('test.py', tiny_config, checkpoint, *arguments) == (0, '')
        scores.append(read_scores(file).table)
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])
    assert scores[0].equals(scores[1])


def test_mistakes_are_one_line(packed: Path, tiny_config: Path, tmp_path: Path, call_tool: Any) -> None:
    def failed(*options: str) -> str:
        status, message = train(call_tool, tiny_config, tmp_path / 'work', f'data_root={packed}', *options)
        assert (status, message.count('\n')) == (1, 0)
        return message

    assert 'which the index lists, does not exist' in failed()
    assert "give dict(backend='lmdb', db_path=...), or None for files" in failed('backend_args.backend=lmbd')
    gone = failed(LMDB[0], 'backend_args.db_path={root}/gone.lmdb')
    assert f"db_path '{packed}/gone.lmdb' is neither a folder with a data.mdb nor a database" in gone
    assert 'pack the set with tools/dataset_tools/pack_lmdb.py' in gone
    assert not list((tmp_path / 'work').glob('*.pth'))


def test_bad_input(packed: Path, tiny_prepared: Path, tmp_path: Path, call_tool: Any) -> None:
    tool = 'dataset_tools/pack_lmdb.py'
    status, message = call_tool(tool, packed, '--compare')
    assert status == 1
    assert message.startswith(f"error: image '{packed}/frames/")
    assert call_tool(tool, tiny_prepared, '--out', tmp_path, '--no-progress')[0] == 1
    assert (
        '--time 0: read at least one'
        in call_tool(tool, tiny_prepared, '--out', tmp_path / 'x', '--time', 0)[1]
    )
    assert not (tmp_path / 'x').exists()


def test_output(tiny_prepared: Path, tmp_path: Path, call_tool: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    printed: list[str] = []
    monkeypatch.setattr('builtins.print', lambda text, **options: printed.append(text))
    arguments = (
        'dataset_tools/pack_lmdb.py',
        tiny_prepared,
        '--out',
        tmp_path / 'x',
        '--no-progress',
        '--time',
        9,
    )
    assert call_tool(*arguments)[0] == 0
    first, table = printed
    size = (tmp_path / 'x/data.mdb').stat().st_size / 2**20
    assert first == f'{tmp_path}/x: 57 images, {size:.1f} MiB, 57 packed now, checked'
    head, _, files, stored = table.splitlines()
    assert head == '| images/s | bytes, first time | bytes, again | decoded, again |'
    for name, line in (('files', files), ('LMDB', stored)):
        _, label, *rates, _ = [cell.strip() for cell in line.split('|')]
        assert label == name
        assert len(rates) == 3
        assert all(int(rate) > 0 for rate in rates)
