# SPDX-License-Identifier: Apache-2.0
"""Runs of the controlled study: training, metrics, report."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from cross_manipulation.processes import StoppedError, environment_of, last_error, run_logged
from cross_manipulation.run_task import clock
from identity_leakage.leakage_report import METRICS, write_report
from iid_mm.errors import InputError
from iid_mm.utils.run_lock import RunLock

PROJECT = Path(__file__).resolve().parents[1]
REPOSITORY = PROJECT.parents[1]
ARMS = ('baseline', 'mfs', 'adm', 'iid')
MORE_ARMS = ('iid_local', 'baseline_paired', 'iid_paired')
"""Not in the paper: the finest level joins the global head; batches have the genuine frames of fakes."""


@dataclass(frozen=True)
class StudyRun:
    """One training and its metrics."""

    root: Path
    arm: str
    confound: float
    seed: int

    @property
    def folder(self) -> Path:
        """Folder of the run."""
        return self.root / 'runs' / self.arm / f'confound_{self.confound:g}' / f'seed_{self.seed}'

    @property
    def config(self) -> Path:
        """Config of the arm."""
        return PROJECT / 'configs' / f'toy_{self.arm}.py'

    @property
    def is_finished(self) -> bool:
        """Whether the metrics, which are written last, exist."""
        return (self.folder / METRICS).is_file()

    def train_command(self) -> list[str]:
        """Command that trains, or resumes the training."""
        dataset = 'train_dataloader.dataset'
        return [
            *(sys.executable, str(REPOSITORY / 'tools/train.py'), str(self.config)),
            *('--work-dir', str(self.folder), '--resume', '--cfg-options'),
            *(f'{dataset}.confound={self.confound}', f'{dataset}.seed={self.seed}'),
            *(f'{dataset}.group_seed={self.seed}', f'randomness.seed={self.seed}'),
        ]

    def metrics_command(self) -> list[str]:
        """Command that evaluates the last checkpoint."""
        checkpoint = max(self.folder.glob('epoch_*.pth'), key=lambda path: int(path.stem.split('_')[1]))
        return [
            *(sys.executable, '-m', 'identity_leakage.study_metrics', str(self.config), str(checkpoint)),
            *('--root', str(self.root / 'prepared'), '--out', str(self.folder)),
            *('--group-seed', str(self.seed)),
        ]

    def execute(self, jobs: int, stop: threading.Event) -> str:
        """Finish the run.

        Args:
            jobs: Number of parallel runs.
            stop: Set to end the run early.

        Returns:
            A line on the outcome.
        """
        if self.is_finished:
            return 'was finished before'
        if stop.is_set():
            return 'not started'
        started = time.monotonic()
        environment = environment_of(0, jobs, 1, ())
        environment |= {
            'IID_STUDY_ROOT': str((self.root / 'prepared').resolve()),
            'OMP_NUM_THREADS': os.environ.get('OMP_NUM_THREADS', '1'),
        }
        with RunLock(self.folder / 'lock') as lock:
            if not lock.acquire():
                return f'in progress in {lock.owner()}'
            for name, make in (('train', self.train_command), ('metrics', self.metrics_command)):
                log = self.folder / f'{name}.log'
                try:
                    status = run_logged(make(), log, environment=environment, stop=stop, lock=lock)
                except StoppedError:
                    return 'stopped'
                if status:
                    return f'FAILED: {last_error(log)} (see {log})'
        return f'done in {clock(time.monotonic() - started)}'


def check_data(root: Path) -> None:
    """Check that the prepared takes exist.

    Raises:
        InputError: One is missing.
    """
    for take in range(5):
        index = root / 'prepared' / f'take{take}' / 'index.parquet'
        if not index.is_file():
            raise InputError(
                f'{index} does not exist; make the data first: '
                f'projects/identity_leakage/prepare_toy.sh {root}'
            )


def run_all(runs: Sequence[StudyRun], jobs: int) -> bool:
    """Execute runs and update the report after each one.

    Args:
        runs: The runs.
        jobs: Number of parallel runs.

    Returns:
        Whether all are finished.
    """
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    with ThreadPoolExecutor(jobs) as executor:
        futures = {executor.submit(run.execute, jobs, stop): run for run in runs}
        for count, future in enumerate(as_completed(futures), 1):
            run = futures[future]
            title = f'{run.arm}, confound {run.confound:g}, seed {run.seed}'
            print(f'[{count}/{len(runs)}] {title}: {future.result()}', flush=True)
            if run.is_finished:
                write_report(run.root)
    return all(run.is_finished for run in runs)
