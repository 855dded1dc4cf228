# SPDX-License-Identifier: Apache-2.0
"""Several processes on CPUs."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from iid_mm.evaluation.scores import read_scores
from iid_mm.utils.latest_checkpoint import stored_position
from support.paths import REPOSITORY

ENDLESS = ('train_cfg.max_epochs=1000', 'train_cfg.val_interval=1000')


def several_processes(test: Any) -> Any:
    """Mark a test that starts several processes."""
    return pytest.mark.slow(pytest.mark.distributed(test))


@pytest.fixture(autouse=True)
def _no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '')


def start_script(config: Path, processes: int, work_dir: Path, *options: str) -> subprocess.Popen[str]:
    """Start tools/dist_train.sh without waiting for it."""
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        port = probe.getsockname()[1]
    tools = REPOSITORY / 'tools'
    path = f'{Path(sys.executable).parent}{os.pathsep}{os.environ["PATH"]}'
    return subprocess.Popen(
        [
            *('bash', str(tools / 'dist_train.sh'), str(config), str(processes), '--work-dir', str(work_dir)),
            *('--cfg-options', 'train_dataloader.batch_size=2', *options),
        ],
        env={**os.environ, 'PATH': path, 'PORT': str(port), 'OMP_NUM_THREADS': '1'},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_iterations(work_dir: Path) -> None:
    for _ in range(600):
        if any('Epoch(train)' in log.read_text() for log in work_dir.glob('*/*.log')):
            return
        time.sleep(0.2)
    raise AssertionError('training has not begun')


def children(process: int) -> list[int]:
    found = [path.read_text().split() for path in Path(f'/proc/{process}/task').glob('*/children')]
    return sorted(int(number) for numbers in found for number in numbers)


def metrics(work_dir: Path) -> dict[str, float]:
    return json.loads(next(work_dir.glob('2*/2*.json')).read_text())


@several_processes
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


@several_processes
def test_two_processes_give_the_metrics_of_one(
    run_script: Any, call_tool: Any, tiny_config: Path, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    """27 samples do not divide evenly among two processes: one of them is scored twice."""
    arguments = ['--work-dir', tmp_path / 'one', '--out', tmp_path / 'one.parquet']
    status, message = call_tool('test.py', tiny_config, tiny_checkpoint, *arguments)
    assert (status, message) == (0, '')
    arguments = ['--work-dir', tmp_path / 'two', '--out', tmp_path / 'two.parquet']
    result = run_script('dist_test.sh', tiny_config, tiny_checkpoint, 2, *arguments)
    assert result.returncode == 0, result.stderr[-3000:]
    one, two = read_scores(tmp_path / 'one.parquet'), read_scores(tmp_path / 'two.parquet')
    assert len(one) == len(two) == 27
    for name in ('video_key', 'frame', 'label', 'method', 'image'):
        assert getattr(one, name).tolist() == getattr(two, name).tolist()
    # Batches differ, and with them the last bits of the scores.
    assert one.score == pytest.approx(two.score, abs=1e-6)
    expected, found = metrics(tmp_path / 'one'), metrics(tmp_path / 'two')
    for values in (expected, found):
        del values['data_time'], values['time']
    assert found == expected
    assert 'forgery/video_auc' in found


@several_processes
def test_an_error_in_two_processes_ends_both(run_script: Any, tiny_config: Path, tmp_path: Path) -> None:
    arguments = ('--work-dir', tmp_path, '--cfg-options', 'data_root=/nowhere')
    result = run_script('dist_train.sh', tiny_config, 2, *arguments, timeout=120)
    assert result.returncode == 1
    assert result.stderr.count("error: index '/nowhere/index.parquet' does not exist") == 1
    assert 'Traceback' not in result.stderr


@several_processes
@pytest.mark.parametrize(
    ('number', 'status'), [(signal.SIGTERM, 75), (signal.SIGUSR1, 75), (signal.SIGINT, 130)], ids=str
)
def test_a_signal_to_the_script_saves_and_ends_all(
    number: signal.Signals, status: int, tiny_config: Path, tmp_path: Path
) -> None:
    """As a cluster, a scheduler or a terminal sends it: to the launcher, which has started two processes."""
    process = start_script(tiny_config, 2, tmp_path, *ENDLESS)
    wait_for_iterations(tmp_path)
    process.send_signal(number)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == status, errors[-3000:]
    name = 'Ctrl+C' if number == signal.SIGINT else number.name
    told = [line for line in errors.splitlines() if 'training stopped' in line]
    assert told == [
        f'{name}: training stopped, {tmp_path}/interrupted.pth holds its state; continue with --resume'
    ]
    assert 'Traceback' not in errors
    assert 'error:' not in errors
    assert stored_position(tmp_path / 'interrupted.pth') is not None
    assert not list(tmp_path.glob('.*'))


@several_processes
def test_a_killed_loader_worker_of_one_process_ends_both(tiny_config: Path, tmp_path: Path) -> None:
    options = (*ENDLESS, 'default_hooks.checkpoint.interval=1000')
    workers = ('train_dataloader.num_workers=1', 'train_dataloader.persistent_workers=True')
    process = start_script(tiny_config, 2, tmp_path, *options, *workers)
    wait_for_iterations(tmp_path)
    second = children(process.pid)[-1]
    os.kill(children(second)[0], signal.SIGKILL)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 1
    told = [line for line in errors.splitlines() if line.startswith('error: ')]
    assert len(told) == 1, errors
    assert told[0].startswith('error: data loader worker')
    assert 'Traceback' not in errors


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


@several_processes
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
    assert arguments[:9] == [
        '--partition=queue',
        '--job-name=job',
        '--ntasks=2',
        '--ntasks-per-node=2',
        '--cpus-per-task=8',
        '--kill-on-bad-exit=1',
        '--signal=USR1@120',
        '--a=1',
        '--b=2',
    ]
    steps = next((tmp_path / 'work').glob('*/vis_data/scalars.json')).read_text().count('"loss"')
    # 24 samples in batches of 4 for each of two tasks.
    assert steps == 3
    assert (tmp_path / 'work' / 'epoch_1.pth').is_file()


@pytest.mark.skipif(shutil.which('shellcheck') is None, reason='shellcheck is not installed')
def test_scripts_are_clean() -> None:
    scripts = sorted((REPOSITORY / 'tools').glob('*.sh'))
    result = subprocess.run(['shellcheck', *map(str, scripts)], capture_output=True, text=True, check=False)
    assert result.stdout == ''
