# SPDX-License-Identifier: Apache-2.0
"""One run from its config to its scores."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from cross_manipulation.data_facts import file_digest
from cross_manipulation.matrix import run_metrics
from cross_manipulation.plan import Plan, Run
from cross_manipulation.processes import StoppedError, environment_of, last_error, run_logged
from cross_manipulation.run_state import FAILED, FINISHED, LOCK, TRAINED, RunState
from cross_manipulation.selection_record_hook import PROGRESS, RECORD
from iid_mm.errors import InputError
from iid_mm.utils.files import write_json
from iid_mm.utils.finished import mark_finished, read_record
from iid_mm.utils.run_lock import RunLock
from iid_mm.version import __version__

PROJECT = Path(__file__).resolve().parents[1]

TaskResult = Literal['finished', 'failed', 'busy', 'stopped']


@dataclass(frozen=True)
class Report:
    """Result of a task, and a sentence for people."""

    result: TaskResult
    message: str = ''


class StepError(RuntimeError):
    """A training or a test has ended with an error."""


class RunTask:
    """Train and test one run, resuming where it stopped.

    Args:
        run: The run.
        plan: The plan it belongs to.
        tools: Folder of ``train.py`` and ``test.py``.
        jobs: How many runs share the machine.
        gpus: The GPUs of the machine.
    """

    def __init__(self, run: Run, plan: Plan, tools: Path, jobs: int = 1, gpus: Sequence[str] = ()) -> None:
        self.run = run
        self.plan = plan
        self.tools = tools
        self.jobs = jobs
        self.gpus = gpus

    @property
    def state(self) -> RunState:
        """The folder of the run."""
        return self.run.state

    def execute(self, slot: int, stop: threading.Event, *, wait: bool) -> Report:
        """Train, choose the checkpoint, test and write the marker; what is done is not repeated.

        Args:
            slot: Which of the parallel runs this is.
            stop: Set to end it early.
            wait: Wait if another process works on the run, rather than come back at once.

        Returns:
            The report; errors of the run are part of it and never raised.
        """
        with RunLock(self.state.directory / LOCK) as lock:
            while not lock.acquire():
                if not wait:
                    return Report('busy', f'{lock.owner()} works on it')
                if stop.wait(1.0):
                    return Report('stopped')
            try:
                return self._execute(slot, stop, lock)
            except StoppedError:
                return Report('stopped')
            except (StepError, InputError, OSError) as error:
                write_json(self.state.directory / FAILED, {'error': str(error)})
                return Report('failed', str(error))

    def _execute(self, slot: int, stop: threading.Event, lock: RunLock) -> Report:
        state, options = self.state, self.plan.options
        # Another queue may have finished it meanwhile.
        if state.finished:
            return Report('finished', 'was finished before')
        if state.status() == 'changed' and not options.overwrite:
            raise InputError('the run was made with other settings meanwhile')
        environment = environment_of(slot, self.jobs, options.processes, self.gpus)
        # The config of the run imports the hook of this package.
        paths = [str(PROJECT), *filter(None, [environment.get('PYTHONPATH')])]
        environment['PYTHONPATH'] = os.pathsep.join(paths)
        state.begin()
        if not state.trained:
            started = time.monotonic()
            self._step(self.train_command(), 'train.log', environment, stop, lock)
            self._mark_trained(time.monotonic() - started)
        started = time.monotonic()
        self._step(self.test_command(), 'test.log', environment, stop, lock)
        run_metrics(state.scores, self.plan.columns, options.how)
        seconds = time.monotonic() - started
        self._mark_finished(seconds)
        state.prune(options.keep)
        trained = read_record(state.directory / TRAINED)
        return Report('finished', f'trained in {clock(trained["seconds"])}, tested in {clock(seconds)}')

    def _step(
        self,
        command: Sequence[str],
        log: str,
        environment: dict[str, str],
        stop: threading.Event,
        lock: RunLock,
    ) -> None:
        path = self.state.directory / log
        status = run_logged(command, path, environment=environment, stop=stop, lock=lock)
        if status < 0:
            raise StepError(f'ended by signal {-status} (9 is also what lack of memory does); see {path}')
        if status > 0:
            raise StepError(f'{last_error(path)} (see {path})')

    def train_command(self) -> list[str]:
        """The command that trains, or goes on with training."""
        newest = self.state.resumable()
        resume = [] if newest is None else ['--resume', str(newest)]
        arguments = ['--work-dir', str(self.state.directory), *self.plan.options.flags, *resume]
        return self._command('train', [str(self.run.config)], arguments)

    def test_command(self) -> list[str]:
        """The command that tests the chosen checkpoint."""
        checkpoint = self.state.directory / str(self.state.trained.get('checkpoint', 'CHECKPOINT'))
        out = ['--work-dir', str(self.state.directory / 'test'), '--out', str(self.state.scores)]
        return self._command('test', [str(self.run.config), str(checkpoint)], out)

    def _command(self, tool: str, files: list[str], arguments: list[str]) -> list[str]:
        if self.plan.options.processes > 1:
            script = str(self.tools / f'dist_{tool}.sh')
            return ['bash', script, *files, str(self.plan.options.processes), *arguments]
        return [sys.executable, str(self.tools / f'{tool}.py'), *files, *arguments]

    def _mark_trained(self, seconds: float) -> None:
        """Choose the checkpoint, after a look at what it was chosen on."""
        folder = self.state.directory
        seen = read_record(folder / RECORD).get('data', {}).get('val', {}).get('fakes', {})
        if foreign := sorted(set(seen) - set(self.run.train_set.methods)):
            raise InputError(f'the checkpoint was chosen on {", ".join(foreign)}, which are not trained on')
        choice = self.state.choose(self.plan.options.select)
        mark_finished(
            folder / TRAINED,
            {'train': self.state.train_hash},
            checkpoint=choice.checkpoint.name,
            checkpoint_sha256=file_digest(choice.checkpoint),
            epoch=choice.epoch,
            score=choice.score,
            # Earlier sessions of the run are part of the hook's time and not of this call's.
            seconds=round(max(seconds, read_record(folder / PROGRESS).get('seconds', 0.0)), 1),
        )

    def _mark_finished(self, seconds: float) -> None:
        trained = self.state.trained
        mark_finished(
            self.state.directory / FINISHED,
            {'train': self.state.train_hash, 'test': self.state.test_hash},
            [self.state.scores],
            **{name: value for name, value in trained.items() if name not in ('source', 'files')},
            test_seconds=round(seconds, 1),
            versions={'iid_mm': __version__, 'torch': torch.__version__},
        )


def clock(seconds: float) -> str:
    """Write a duration as ``m:ss`` or ``h:mm:ss``."""
    whole = round(seconds)
    minutes = f'{whole // 60 % 60}:{whole % 60:02d}'
    return minutes if whole < 3600 else f'{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}'
