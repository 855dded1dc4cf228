# SPDX-License-Identifier: Apache-2.0
"""Working the runs off: resume, skip, overwrite, failures, stops."""

from __future__ import annotations

import io
import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cross_manipulation import cross_manipulation
from cross_manipulation.cross_manipulation import CrossManipulation
from cross_manipulation.plan import ProtocolOptions, make_plan
from cross_manipulation.processes import environment_of, last_error
from iid_mm.errors import InputError
from iid_mm.utils.run_lock import RunLock

from .conftest import METHODS, index_rows

Execute = Callable[..., tuple[int, dict[str, Any]]]


@pytest.fixture
def config(write_config: Callable[..., Path]) -> Path:
    return write_config()


@pytest.fixture
def execute(
    config: Path,
    fake_tools: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> Execute:
    """Execute leave-one-out of two manipulations with tools that only pretend; status and matrix.json."""
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '')
    if request.node.name != 'test_everything_once':
        monkeypatch.setattr(cross_manipulation, 'plot_matrix', lambda matrix, path: path)

    def run(jobs: int = 2, **options: Any) -> tuple[int, dict[str, Any]]:
        (fake_tools / 'calls.txt').write_text('')
        values = dict(configs=[config], work_dir=tmp_path / 'work', methods=METHODS[:2]) | options
        protocol = CrossManipulation(make_plan(ProtocolOptions(**values)), fake_tools, jobs, io.StringIO())
        status = protocol.execute()
        return status, json.loads((tmp_path / 'work' / 'matrix.json').read_text())

    return run


@pytest.fixture
def calls(fake_tools: Path) -> Callable[[], list[str]]:
    """First words of the calls of the tools since the last execution."""
    return lambda: [line.split()[0] for line in (fake_tools / 'calls.txt').read_text().splitlines()]


def run_dirs(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / 'work' / 'runs').glob('*/*/*'))


def test_everything_once(execute: Execute, calls: Callable[[], list[str]], tmp_path: Path) -> None:
    status, found = execute()
    assert status == 0
    assert sorted(calls()) == ['test', 'test', 'train', 'train']
    row = found['sections'][0]['rows'][0]
    assert row['trained_on'] == ['Face2Face']
    # Seen: 0.9 and 0.8 against 0.2 and 0.2. Unseen: one of two fakes ties with both genuine videos.
    assert row['cells']['Face2Face']['video_auc']['mean'] == 1.0
    assert row['cells']['Deepfakes']['video_auc']['mean'] == 0.75
    assert row['mean_of_unseen']['video_auc'] == {'mean': 0.75, 'std': None, 'values': [0.75]}
    assert found['runs'][0]['validation_score'] == 0.75
    assert len(found['runs'][0]['checkpoint_sha256']) == 64
    for folder in run_dirs(tmp_path):
        assert {p.name for p in folder.glob('*.pth')} == {'epoch_2.pth', 'best_forgery_video_auc_epoch_2.pth'}
    text = (tmp_path / 'work' / 'matrix.md').read_text()
    assert 'restricted to the manipulations the run is trained on' in text
    assert '_100.00_' in text
    assert {p.name for p in (tmp_path / 'work').iterdir()} == {
        *('configs', 'runs', 'protocol.json', 'matrix.json', 'matrix.md', 'matrix.csv', 'matrix.png'),
    }

    assert execute()[0] == 0
    assert calls() == []
    # A further seed is two further runs.
    status, found = execute(seeds=[0, 1])
    assert sorted(calls()) == ['test', 'test', 'train', 'train']
    assert found['sections'][0]['rows'][0]['cells']['Deepfakes']['video_auc']['std'] == 0.0


@pytest.mark.parametrize(
    ('keep', 'left'),
    [
        ('none', set()),
        ('best', {'best_forgery_video_auc_epoch_2.pth'}),
        ('all', {'best_forgery_video_auc_epoch_2.pth', 'epoch_2.pth', 'interrupted.pth'}),
    ],
)
def test_keep(
    keep: str, left: set[str], execute: Execute, calls: Callable[[], list[str]], tmp_path: Path
) -> None:
    execute(keep=keep)
    assert {path.name for path in run_dirs(tmp_path)[0].glob('*.pth')} == left
    execute(keep=keep)
    assert calls() == []


def test_a_failing_run_does_not_stop_the_others(
    execute: Execute,
    calls: Callable[[], list[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv('TRAIN_FAILS', 'Face2Face_seed_0')
    status, found = execute(jobs=1)
    assert status == 1
    assert calls() == ['train', 'train', 'test']
    assert 'error: arm, trained on all but Deepfakes, seed 0: the loss is NaN' in capsys.readouterr().err
    assert [run['state'] for run in found['runs']] == ['failed', 'finished']
    assert '| failed' in (tmp_path / 'work' / 'matrix.md').read_text()
    monkeypatch.delenv('TRAIN_FAILS')
    status, found = execute()
    assert (status, calls()) == (0, ['train', 'test'])
    assert [run['state'] for run in found['runs']] == ['finished', 'finished']


def test_changed_settings_are_refused_or_overwritten(
    execute: Execute, calls: Callable[[], list[str]], tmp_path: Path
) -> None:
    execute()
    other = dict(cfg_options={'train_cfg.max_epochs': 5})
    with pytest.raises(InputError, match=r'2 of 2 runs .*config.train_cfg.max_epochs: 20 -> 5.*--overwrite'):
        execute(**other)
    (run_dirs(tmp_path)[0] / 'old.txt').touch()
    assert execute(overwrite=True, **other)[0] == 0
    assert sorted(calls()) == ['test', 'test', 'train', 'train']
    assert not (run_dirs(tmp_path)[0] / 'old.txt').exists()
    # What has not changed is kept, overwrite or not.
    execute(overwrite=True, **other)
    assert calls() == []


def test_changed_data_are_changed_settings(
    execute: Execute, write_config: Callable[..., Path], tmp_path: Path
) -> None:
    execute()
    write_config(index_rows('train', 5) + index_rows('val', 1) + index_rows('test', 2))
    with pytest.raises(InputError, match=r'index\.train'):
        execute()


def test_what_changes_no_metric_is_no_change(execute: Execute, calls: Callable[[], list[str]]) -> None:
    execute()
    execute(cfg_options={'train_dataloader.num_workers': 7, 'log_level': 'DEBUG'})
    assert calls() == []


def test_other_test_settings_are_tested_again_only(execute: Execute, calls: Callable[[], list[str]]) -> None:
    execute()
    status, found = execute(cfg_options={'test_dataloader.dataset.frames_per_video': 1})
    assert (status, sorted(calls())) == (0, ['test', 'test'])
    status, found = execute(test_methods=METHODS, overwrite=True)
    assert (status, sorted(calls())) == (0, ['test', 'test'])
    assert found['columns'] == list(METHODS)


def test_scores_that_were_changed_are_made_again(
    execute: Execute, calls: Callable[[], list[str]], tmp_path: Path
) -> None:
    execute()
    with open(run_dirs(tmp_path)[0] / 'scores.parquet', 'ab') as file:
        file.write(b'x')
    execute()
    assert calls() == ['test']


def test_training_goes_on_from_the_newest_whole_checkpoint(
    execute: Execute, fake_tools: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv('TRAIN_FAILS', 'seed_0')
    execute()
    folder = run_dirs(tmp_path)[0]
    for name, iteration in (('epoch_3.pth', 18), ('interrupted.pth', 15), ('epoch_2.pth', 12)):
        with zipfile.ZipFile(folder / name, 'w') as archive:
            content = dict(meta=dict(iter=iteration, epoch=iteration // 6), optimizer={})
            archive.writestr('archive/data.pkl', pickle.dumps(content))
    # Cut off while it was written.
    (folder / 'epoch_3.pth').write_bytes((folder / 'epoch_3.pth').read_bytes()[:60])
    monkeypatch.delenv('TRAIN_FAILS')
    execute(jobs=1)
    lines = (fake_tools / 'calls.txt').read_text().splitlines()
    resumed = [line for line in lines if '--resume' in line]
    assert len(resumed) == 1
    assert resumed[0].endswith(f'--resume {folder / "interrupted.pth"}')


def test_a_checkpoint_chosen_on_unseen_manipulations_is_refused(execute: Execute, fake_tools: Path) -> None:
    script = fake_tools / 'train.py'
    script.write_text(script.read_text().replace('in methods}', "in [*methods, 'Deepfakes']}"))
    status, found = execute()
    assert status == 1
    errors = [run['error'] for run in found['runs']]
    assert errors[0] == 'the checkpoint was chosen on Deepfakes, which are not trained on'
    assert errors[1] is None


def test_a_test_of_other_data_fails(execute: Execute, fake_tools: Path) -> None:
    script = fake_tools / 'test.py'
    script.write_text(script.read_text().replace("['methods']:", "['methods'][:1]:"))
    status, found = execute()
    assert status == 1
    assert 'has no scores of Face2Face' in found['runs'][0]['error']


def test_commands_of_several_processes(config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '')
    options = ProtocolOptions(configs=[config], work_dir=tmp_path / 'work', processes=4, flags=['--amp'])
    plan = make_plan(options)
    lines = CrossManipulation(plan, Path('tools')).commands()
    assert lines[0] == '# arm, trained on all but Deepfakes, seed 0: to start'
    run = plan.runs[0]
    assert lines[1] == f'bash tools/dist_train.sh {run.config} 4 --work-dir {run.state.directory} --amp'
    assert lines[2].startswith(f'bash tools/dist_test.sh {run.config} {run.state.directory}/CHECKPOINT 4 ')
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '0,1')
    with pytest.raises(InputError, match=r'the machine has 2 GPU'):
        CrossManipulation(plan, Path('tools'))


def test_environments_share_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv('OMP_NUM_THREADS', raising=False)
    one = environment_of(0, 1, 1, [])
    assert 'OMP_NUM_THREADS' not in one
    assert Path(one['PATH'].split(os.pathsep)[0]) == Path(sys.executable).parent
    many = [environment_of(slot, 3, 2, ['0', '1', '2', '5']) for slot in range(3)]
    assert [e['CUDA_VISIBLE_DEVICES'] for e in many] == ['0,1', '2,5', '0,1']
    assert {e['OMP_NUM_THREADS'] for e in many} == {'1'}
    assert 'PORT' in many[0]
    monkeypatch.setenv('OMP_NUM_THREADS', '4')
    assert environment_of(0, 2, 1, [])['OMP_NUM_THREADS'] == '4'


def test_a_run_that_another_process_works_on_is_waited_for(
    execute: Execute, calls: Callable[[], list[str]], tmp_path: Path
) -> None:
    execute()
    folder = run_dirs(tmp_path)[0]
    (folder / 'finished.json').unlink()
    lock = RunLock(folder / 'lock')
    assert lock.acquire()
    lock.note('process 1 on elsewhere')
    threading.Timer(2.0, lock.release).start()
    started = time.monotonic()
    assert execute()[0] == 0
    assert time.monotonic() - started > 1.5
    assert calls() == ['test']


def test_sigterm_ends_the_processes_and_the_next_call_goes_on(
    config: Path, fake_tools: Path, tmp_path: Path, execute: Execute, calls: Callable[[], list[str]]
) -> None:
    whole = (fake_tools / 'train.py').read_text()
    (fake_tools / 'train.py').write_text(f'{whole}\nimport time; time.sleep(60)\n')
    code = (
        'import sys; from pathlib import Path\n'
        'from cross_manipulation.cross_manipulation import CrossManipulation\n'
        'from cross_manipulation.plan import ProtocolOptions, make_plan\n'
        f'work = Path({str(tmp_path / "work")!r})\n'
        f'options = ProtocolOptions([Path({str(config)!r})], work_dir=work, methods={METHODS[:2]!r})\n'
        f'sys.exit(CrossManipulation(make_plan(options), Path({str(fake_tools)!r})).execute())\n'
    )
    environment = {**os.environ, 'PYTHONPATH': os.pathsep.join(sys.path)}
    process = subprocess.Popen(
        [sys.executable, '-c', code], stdout=subprocess.PIPE, text=True, env=environment
    )
    record = tmp_path / 'work' / 'runs' / 'arm' / 'Face2Face' / 'seed_0' / 'progress.json'
    deadline = time.monotonic() + 60
    while not record.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert out.endswith('stopped; run the same command to resume\n')
    # Nobody holds the lock: the training has ended too.
    with RunLock(record.with_name('lock')) as lock:
        assert lock.acquire()
    (fake_tools / 'train.py').write_text(whole)
    assert execute(jobs=1)[0] == 0
    lines = (fake_tools / 'calls.txt').read_text().splitlines()
    assert ['--resume' in line for line in lines if line.startswith('train')] == [True, False]


def test_last_error(tmp_path: Path) -> None:
    log = tmp_path / 'log'
    log.write_text('x\nerror: the real one\nE torch.distributed: exit code 1\n')
    assert last_error(log) == 'the real one'
    log.write_text('Traceback\nKeyError: 1\n\n')
    assert last_error(log) == 'KeyError: 1'
    log.write_text('')
    assert last_error(log) == '(empty log)'
