# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import argparse
import errno
import io
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from iid_mm.errors import InputError, MissingExtraError, StoppedError
from iid_mm.utils.cli import add_run_options, load_run_config, run_tool
from iid_mm.utils.user_errors import KEPT


def raising(error: BaseException) -> Any:
    def main() -> None:
        raise error

    return main


@pytest.mark.parametrize(('returned', 'status'), [(None, 0), (0, 0), (3, 3)])
def test_status_of_a_tool_that_ends(returned: int | None, status: int) -> None:
    assert run_tool(lambda: returned) == status


@pytest.mark.parametrize(
    ('error', 'line'),
    [
        (InputError('size=0: must be positive'), 'size=0: must be positive'),
        (FileNotFoundError('index x does not exist'), 'index x does not exist'),
        (MissingExtraError.of('mediapipe', 'mediapipe'), "pip install 'iid-mm[mediapipe]'"),
        (KeyError('X is not in the iid_mm::model registry.'), 'X is not in the iid_mm::model registry.'),
    ],
)
def test_errors_of_users_become_one_line(
    error: Exception, line: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv('IID_DEBUG', raising=False)
    assert run_tool(raising(error)) == 1
    written = capsys.readouterr()
    assert written.out == ''
    assert written.err.startswith('error: ')
    assert written.err.rstrip().endswith(line)
    assert written.err.count('\n') == 1


@pytest.mark.parametrize('error', [ValueError('x'), KeyError('x'), RuntimeError('x'), ZeroDivisionError()])
def test_defects_keep_their_traceback(error: Exception) -> None:
    with pytest.raises(type(error)):
        run_tool(raising(error))


@pytest.mark.parametrize(
    ('error', 'parts'),
    [
        (
            OSError(errno.ENOSPC, 'No space left on device', 'a.json'),
            ('No space left', '(a.json)', 'make room'),
        ),
        (OSError(errno.EMFILE, 'Too many open files'), ('Too many open files', 'ulimit -n', 'num_workers')),
        (
            PermissionError(errno.EACCES, 'Permission denied', '/x'),
            ('Permission denied (/x)', 'another folder'),
        ),
        (RuntimeError('received 0 items of ancdata'), ('too many open files', 'ulimit -n')),
        (
            RuntimeError('DataLoader worker (pid 7) is killed by signal: Killed. '),
            ('data loader worker 7 is killed by signal: Killed; ', 'memory', '--resume'),
        ),
        (
            RuntimeError('DataLoader worker (pid(s) 7, 8) exited unexpectedly'),
            ('data loader worker 7, 8 exited unexpectedly; ', 'num_workers'),
        ),
        (
            RuntimeError('DataLoader worker (pid 7) is killed by signal: Bus error. It is possible that ...'),
            ('Bus error; shared memory (/dev/shm) is full',),
        ),
        (
            RuntimeError('DataLoader timed out after 600 seconds'),
            ('waited 600 s', 'train_dataloader.timeout'),
        ),
        (
            OSError(
                'Caught OSError in DataLoader worker process 0.\n'
                'Original Traceback (most recent call last):\n'
                '  File "x"\nOSError: [Errno 24] Too many open files: \'a.png\''
            ),
            ("Too many open files: 'a.png'", 'ulimit -n'),
        ),
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_the_system_refuses_becomes_one_line(
    error: Exception, parts: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_tool(raising(error), KEPT) == 1
    written = capsys.readouterr().err
    assert written.startswith('error: ')
    assert written.count('\n') == 1
    for part in (*parts, f'. {KEPT}\n'):
        assert part in written, written
    # Only tools that train may say so.
    assert run_tool(raising(error)) == 1
    assert capsys.readouterr().err == written.replace(f'. {KEPT}', '')


@pytest.mark.parametrize('kind', [ConnectionResetError, BrokenPipeError])
def test_a_worker_killed_while_it_sends_becomes_one_line(
    kind: type[OSError], capsys: pytest.CaptureFixture[str]
) -> None:
    """PyTorch may see the broken connection first, and the end of the worker while that is reported."""
    error = kind(errno.ECONNRESET, 'Connection reset by peer')
    code = 'def get(error):\n    raise error\n'
    names: dict[str, Any] = {}
    exec(compile(code, '/lib/torch/utils/data/dataloader.py', 'exec'), names)
    before = signal.getsignal(signal.SIGCHLD)
    assert run_tool(lambda: names['get'](error), KEPT) == 1
    written = capsys.readouterr().err
    assert written.startswith(
        'error: data loader worker ended while it sent a batch; the machine may be out of'
    )
    assert written.endswith(f'. {KEPT}\n')
    assert signal.getsignal(signal.SIGCHLD) == before
    # Elsewhere a broken connection is no worker's.
    with pytest.raises(kind):
        run_tool(raising(kind(errno.ECONNRESET, 'Connection reset by peer')))


def test_a_worker_that_ends_while_an_error_is_reported_raises_no_second_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def handler(*args: Any) -> None:
        raise RuntimeError('DataLoader worker (pid 7) is killed by signal: Killed. ')

    monkeypatch.setenv('LOCAL_RANK', '1')
    monkeypatch.setattr('iid_mm.utils.cli.time.sleep', lambda seconds: os.kill(os.getpid(), signal.SIGCHLD))
    before = signal.signal(signal.SIGCHLD, handler)
    try:
        assert run_tool(raising(InputError('x: wrong'))) == 1
    finally:
        signal.signal(signal.SIGCHLD, before)
    assert capsys.readouterr().err == 'error: x: wrong\n'


def test_processes_that_wait_for_one_that_has_ended_let_it_speak(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    waited: list[float] = []
    monkeypatch.setattr(time, 'sleep', waited.append)
    error = RuntimeError('[/gloo/transport/tcp/pair.cc:547] Connection closed by peer [127.0.0.1]:208')
    assert run_tool(raising(error)) == 1
    assert waited == [30.0]
    assert capsys.readouterr().err.startswith('error: another process of this run has ended')


@pytest.mark.parametrize(
    ('error', 'status', 'line'),
    [
        (StoppedError('SIGTERM: stopped', 75), 75, 'SIGTERM: stopped\n'),
        (KeyboardInterrupt(), 130, 'interrupted\n'),
    ],
)
def test_being_asked_to_stop_is_no_error(
    error: BaseException, status: int, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_tool(raising(error)) == status
    assert capsys.readouterr().err == line


def test_debugging_shows_the_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('IID_DEBUG', '1')
    with pytest.raises(InputError):
        run_tool(raising(InputError('x')))


def test_other_processes_let_the_first_one_speak(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    waited: list[float] = []
    monkeypatch.setattr(time, 'sleep', waited.append)
    for rank, expected in (('0', []), ('1', [5.0])):
        monkeypatch.setenv('LOCAL_RANK', rank)
        waited.clear()
        assert run_tool(raising(InputError('x'))) == 1
        assert waited == expected
        # Where the first process did not end the run, the other one speaks for itself.
        assert capsys.readouterr().err == 'error: x\n'


class Broken(Dataset[torch.Tensor]):
    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> torch.Tensor:
        raise InputError("image 'a: b.png' cannot be decoded: prepare the set again")


def test_error_of_a_worker_loses_its_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    def main() -> None:
        next(iter(DataLoader(Broken(), num_workers=1)))

    assert run_tool(main) == 1
    expected = "error: image 'a: b.png' cannot be decoded: prepare the set again\n"
    assert capsys.readouterr().err == expected


def parse(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument('config')
    add_run_options(parser)
    return parser.parse_args(arguments)


def test_run_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('LOCAL_RANK', '1')
    path = tmp_path / 'some.py'
    path.write_text('a = dict(b=1)\n')
    cfg = load_run_config(parse(str(path), '--cfg-options', 'a.b=2'))
    assert (cfg.a.b, cfg.launcher, cfg.work_dir) == (2, 'none', 'work_dirs/some')
    path.write_text("work_dir = 'of_config'\n")
    assert load_run_config(parse(str(path))).work_dir == 'of_config'
    assert load_run_config(parse(str(path), '--work-dir', 'given')).work_dir == 'given'


def test_no_workers_cannot_persist(tmp_path: Path) -> None:
    path = tmp_path / 'c.py'
    loader = 'dict(num_workers=4, persistent_workers=True)'
    path.write_text(f'train_dataloader = {loader}\ntest_dataloader = {loader}\nval_dataloader = None\n')
    cfg = load_run_config(parse(str(path), '--cfg-options', 'train_dataloader.num_workers=0'))
    assert cfg.train_dataloader.persistent_workers is False
    assert cfg.test_dataloader.persistent_workers is True


def test_missing_run_config() -> None:
    with pytest.raises(FileNotFoundError, match=r'/nowhere\.py'):
        load_run_config(parse('/nowhere.py'))


@pytest.mark.parametrize(('error', 'status'), [(None, 0), (InputError('bad'), 1)])
def test_the_process_group_ends_with_the_tool(
    error: Exception | None, status: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from torch import distributed

    def main() -> None:
        distributed.init_process_group('gloo', init_method=f'file://{tmp_path}/store', rank=0, world_size=1)
        if error is not None:
            raise error

    assert run_tool(main) == status
    assert not distributed.is_initialized()


def test_names_in_errors_command_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_tool(raising(InputError('file a\x1b[2J\u202e\udce9.mp4 is bad\nsecond line'))) == 1
    assert capsys.readouterr().err == 'error: file a%1B[2J%E2%80%AE%E9.mp4 is bad\nsecond line\n'


def test_what_the_terminal_cannot_show_ends_no_tool(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, 'stdout', io.TextIOWrapper(written, encoding='ascii'))
    assert run_tool(lambda: print('Gr\xfc\xdfe \udce9', flush=True)) == 0
    assert written.getvalue() == b'Gr\\xfc\\xdfe \\udce9\n'
