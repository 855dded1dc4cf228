# SPDX-License-Identifier: Apache-2.0
"""The tool from the command line to the tables, with a real training and a real test."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from iid_mm.evaluation.scores import read_scores
from iid_mm.utils.cli import run_tool
from support.paths import REPOSITORY

TOOL = REPOSITORY / 'projects' / 'cross_manipulation' / 'run.py'


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """Run the tool in this process: exit status, what it printed, its error."""
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '')
    monkeypatch.setenv('OMP_NUM_THREADS', '1')

    def run(*arguments: Any) -> tuple[int, str, str]:
        spec = importlib.util.spec_from_file_location('cross_manipulation_tool', TOOL)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        monkeypatch.setattr(sys, 'argv', [str(TOOL), *map(str, arguments)])
        capsys.readouterr()
        status = run_tool(module.main)
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


def test_one_training_and_its_table(call: Callable[..., Any], tiny_config: Path, tmp_path: Path) -> None:
    arguments = [tiny_config, '--train-sets', 'Deepfakes', '--work-dir', tmp_path / 'work']
    options = ['--cfg-options', 'train_cfg.max_epochs=1', 'train_dataloader.num_workers=0']
    status, out, err = call(*arguments, *options)
    assert status == 0, err
    assert '[1/1] done: tiny, trained on Deepfakes, seed 0: trained in' in out
    folder = tmp_path / 'work' / 'runs' / 'tiny' / 'Deepfakes' / 'seed_0'
    scores = read_scores(folder / 'scores.parquet')
    assert set(scores.method.tolist()) == {'youtube', 'Deepfakes', 'FaceSwap'}
    assert len(scores) == 27
    record = json.loads((folder / 'selection.json').read_text())
    assert record['data']['val']['fakes'] == {'Deepfakes': 2}
    found = json.loads((tmp_path / 'work' / 'matrix.json').read_text())
    cells = found['sections'][0]['rows'][0]['cells']
    assert [cells[name]['seen'] for name in ('Deepfakes', 'FaceSwap')] == [True, False]
    assert 0 <= cells['FaceSwap']['video_auc']['mean'] <= 1
    assert {path.name for path in folder.glob('*.pth')} == {
        'epoch_1.pth',
        'best_forgery_video_auc_epoch_1.pth',
    }
    # By hand with another length: not the same run.
    assert call(*arguments)[2].count('config.train_cfg.max_epochs: 1 -> 2') == 1


def test_dry_run(call: Callable[..., Any], tiny_config: Path, tmp_path: Path) -> None:
    work = tmp_path / 'work'
    status, out, _ = call(tiny_config, '--one-vs-rest', '--seeds', 0, 1, '--work-dir', work, '--dry-run')
    assert status == 0
    assert f'4 runs in {work}: 4 to start' in out
    assert out.count('tools/train.py') == out.count('tools/test.py') == 4
    assert sorted(path.name for path in (work / 'configs' / 'tiny').iterdir()) == [
        *('Deepfakes_seed_0.py', 'Deepfakes_seed_1.py', 'FaceSwap_seed_0.py', 'FaceSwap_seed_1.py'),
    ]
    assert not (work / 'runs').exists()


def test_bad_input(call: Callable[..., Any], tiny_config: Path, tmp_path: Path) -> None:
    status, _, err = call(tiny_config, '--train-sets', 'Face2Face', '--work-dir', tmp_path / 'work')
    assert status == 1
    message = "training set 'Face2Face': no manipulation 'Face2Face' in the index; it has Deepfakes, FaceSwap"
    assert err.strip().endswith(f'error: {message}')
    status, _, err = call(tiny_config, '--leave-one-out', '--jobs', 0, '--work-dir', tmp_path / 'work')
    assert (status, 'jobs=0' in err) == (1, True)
    assert not (tmp_path / 'work').exists()
