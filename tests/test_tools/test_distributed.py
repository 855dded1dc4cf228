# SPDX-License-Identifier: Apache-2.0
"""Several processes on CPUs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch

from iid_mm.evaluation.scores import read_scores


@pytest.fixture(autouse=True)
def _no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '')


def metrics(work_dir: Path) -> dict[str, float]:
    return json.loads(next(work_dir.glob('2*/2*.json')).read_text())


def test_two_processes_train(run_script: Any, tiny_config: Path, tmp_path: Path) -> None:
    work_dir = tmp_path / 'work'
    options = ('--cfg-options', 'train_cfg.max_epochs=1')
    result = run_script('dist_train.sh', tiny_config, 2, '--work-dir', work_dir, *options)
    assert result.returncode == 0, result.stderr[-3000:]
    scalars = next(work_dir.glob('*/vis_data/scalars.json')).read_text().splitlines()
    steps = [json.loads(line) for line in scalars if '"loss"' in line]
    # 24 samples in batches of 4 for each of two processes.
    assert len(steps) == 3
    assert (work_dir / 'epoch_1.pth').is_file()
    state = torch.load(work_dir / 'epoch_1.pth', weights_only=False)['state_dict']
    assert not any(name.startswith('module.') for name in state)


def test_two_processes_give_the_metrics_of_one(
    run_script: Any, call_tool: Any, tiny_config: Path, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    """27 samples do not divide evenly among two processes: one of them is scored twice."""
    arguments = ['--work-dir', tmp_path / 'one', '--out', tmp_path / 'one.parquet']
    status, message = call_tool('test.py', tiny_config, tiny_checkpoint, *arguments)
    assert (status, message) == (0, '')
    result = run_script(
        'dist_test.sh',
        tiny_config,
        tiny_checkpoint,
        2,
        '--work-dir',
        tmp_path / 'two',
        '--out',
        tmp_path / 'two.parquet',
    )
    assert result.returncode == 0, result.stderr[-3000:]
    one, two = read_scores(tmp_path / 'one.parquet'), read_scores(tmp_path / 'two.parquet')
    assert len(one) == len(two) == 27
    for name in ('video_key', 'frame', 'label', 'method', 'image'):
        assert getattr(one, name).tolist() == getattr(two, name).tolist()
    # Batches differ, and with them the last bits of the scores.
    assert one.score == pytest.approx(two.score, abs=1e-6)
    expected, found = metrics(tmp_path / 'one'), metrics(tmp_path / 'two')
    timing = {'data_time', 'time'}
    assert {k: v for k, v in found.items() if k not in timing} == {
        k: v for k, v in expected.items() if k not in timing
    }
    assert 'forgery/video_auc' in found


def test_an_error_in_two_processes_ends_both(run_script: Any, tiny_config: Path, tmp_path: Path) -> None:
    result = run_script(
        'dist_train.sh',
        tiny_config,
        2,
        '--work-dir',
        tmp_path,
        '--cfg-options',
        'data_root=/nowhere',
        timeout=120,
    )
    assert result.returncode == 1
    assert result.stderr.count("error: index '/nowhere/index.parquet' does not exist") == 1
    assert 'Traceback' not in result.stderr


@pytest.mark.parametrize('script', ['dist_train.sh', 'dist_test.sh', 'slurm_train.sh', 'slurm_test.sh'])
def test_scripts_explain_themselves(script: str, run_script: Any) -> None:
    result = run_script(script)
    assert result.returncode == 1
    assert f'Usage: {"GPUS=8 " if "slurm" in script else "tools/"}' in result.stderr
    assert 'set -e' not in result.stderr


SRUN = r"""#!/usr/bin/env bash
# Stands in for Slurm: starts --ntasks tasks on this machine.
printf '%s\n' "$@" > "$SRUN_LOG"
tasks=1
while [[ $1 == -* ]]; do
  [[ $1 == --ntasks=* ]] && tasks=${1#*=}
  shift
done
pids=()
for ((task = 0; task < tasks; task++)); do
  SLURM_PROCID=$task SLURM_LOCALID=$task SLURM_NTASKS=$tasks SLURM_NODELIST='node[1-2]' "$@" &
  pids+=($!)
done
status=0
for pid in "${pids[@]}"; do wait "$pid" || status=$?; done
exit "$status"
"""


def test_slurm_on_nodes_without_gpus(
    run_script: Any, tiny_config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in (('srun', SRUN), ('scontrol', '#!/usr/bin/env bash\necho 127.0.0.1\n')):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv('PATH', f'{tmp_path}{os.pathsep}{os.environ["PATH"]}')
    for name, value in dict(GPUS='2', GRES='', SRUN_ARGS='--a=1 --b=2', SRUN_LOG=tmp_path / 'log').items():
        monkeypatch.setenv(name, str(value))
    options = ('--work-dir', tmp_path / 'work', '--cfg-options', 'train_cfg.max_epochs=1')
    result = run_script('slurm_train.sh', 'queue', 'job', tiny_config, *options)
    assert result.returncode == 0, result.stderr[-3000:]
    arguments = (tmp_path / 'log').read_text().splitlines()
    assert arguments[:8] == [
        '--partition=queue',
        '--job-name=job',
        '--ntasks=2',
        '--ntasks-per-node=2',
        '--cpus-per-task=8',
        '--kill-on-bad-exit=1',
        '--a=1',
        '--b=2',
    ]
    steps = next((tmp_path / 'work').glob('*/vis_data/scalars.json')).read_text().count('"loss"')
    # 24 samples in batches of 4 for each of two tasks.
    assert steps == 3
    assert (tmp_path / 'work' / 'epoch_1.pth').is_file()


@pytest.mark.skipif(shutil.which('shellcheck') is None, reason='shellcheck is not installed')
def test_scripts_are_clean() -> None:
    scripts = sorted((Path(__file__).resolve().parents[2] / 'tools').glob('*.sh'))
    result = subprocess.run(['shellcheck', *map(str, scripts)], capture_output=True, text=True, check=False)
    assert result.stdout == ''
