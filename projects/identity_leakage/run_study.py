# SPDX-License-Identifier: Apache-2.0
"""Run the controlled study: four arms, trained on sets in which identity tells the label to a known degree.

Example: python projects/identity_leakage/run_study.py work_dirs/identity_leakage/toy --jobs 2

The folder holds the prepared takes (prepared/take0 to take4, see prepare_toy.sh). Stop it at any time: the
same command goes on where it was. After every run it writes report.md and report.json from what is there.
"""

from __future__ import annotations

import argparse
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
from iid_mm.errors import InputError
from iid_mm.utils.cli import run_tool
from iid_mm.utils.run_lock import RunLock
from leakage_report import METRICS, write_report

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
ARMS = ('baseline', 'mfs', 'adm', 'iid')
MORE_ARMS = ('iid_local', 'baseline_paired', 'iid_paired')
"""Not in the paper: the finest level joins the global head; every fake brings its genuine frame along."""


@dataclass(frozen=True)
class StudyRun:
    """One training and its metrics."""

    root: Path
    arm: str
    confound: float
    seed: int

    @property
    def folder(self) -> Path:
        """Where everything of the run lies."""
        return self.root / 'runs' / self.arm / f'confound_{self.confound:g}' / f'seed_{self.seed}'

    @property
    def config(self) -> Path:
        """Config of the arm."""
        return HERE / 'configs' / f'toy_{self.arm}.py'

    @property
    def is_finished(self) -> bool:
        """The metrics are written last."""
        return (self.folder / METRICS).is_file()

    def train_command(self) -> list[str]:
        """Train, or go on."""
        dataset = 'train_dataloader.dataset'
        return [
            *(sys.executable, str(REPOSITORY / 'tools/train.py'), str(self.config)),
            *('--work-dir', str(self.folder), '--resume', '--cfg-options'),
            *(f'{dataset}.confound={self.confound}', f'{dataset}.seed={self.seed}'),
            *(f'{dataset}.group_seed={self.seed}', f'randomness.seed={self.seed}'),
        ]

    def metrics_command(self) -> list[str]:
        """Measure the last checkpoint."""
        checkpoint = max(self.folder.glob('epoch_*.pth'), key=lambda path: int(path.stem.split('_')[1]))
        return [
            *(sys.executable, str(HERE / 'study_metrics.py'), str(self.config), str(checkpoint)),
            *('--root', str(self.root / 'prepared'), '--out', str(self.folder)),
            *('--group-seed', str(self.seed)),
        ]


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('root', type=Path, help='folder of the study')
    parser.add_argument('--arms', nargs='+', default=ARMS, choices=(*ARMS, *MORE_ARMS))
    parser.add_argument('--confounds', nargs='+', type=float, default=[0.0, 0.5, 0.9], metavar='C')
    parser.add_argument('--seeds', nargs='+', type=int, default=[0, 1, 2], metavar='S')
    parser.add_argument('--jobs', type=int, default=1, help='runs at a time, one thread each')
    parser.add_argument('--report', action='store_true', help='only write the report of what is there')
    return parser.parse_args()


def execute(run: StudyRun, jobs: int, stop: threading.Event) -> str:
    """Bring a run to its end; returns a line on it."""
    if run.is_finished:
        return 'was finished before'
    if stop.is_set():
        return 'not started'
    started = time.monotonic()
    environment = environment_of(0, jobs, 1, ())
    environment |= {
        'IID_STUDY_ROOT': str((run.root / 'prepared').resolve()),
        'OMP_NUM_THREADS': os.environ.get('OMP_NUM_THREADS', '1'),
    }
    with RunLock(run.folder / 'lock') as lock:
        if not lock.acquire():
            return f'{lock.owner()} works on it'
        for name, make in (('train', run.train_command), ('metrics', run.metrics_command)):
            log = run.folder / f'{name}.log'
            try:
                status = run_logged(make(), log, environment=environment, stop=stop, lock=lock)
            except StoppedError:
                return 'stopped'
            if status:
                return f'FAILED: {last_error(log)} (see {log})'
    return f'done in {clock(time.monotonic() - started)}'


def check_data(root: Path) -> None:
    """Refuse to start without data."""
    for take in range(5):
        index = root / 'prepared' / f'take{take}' / 'index.parquet'
        if not index.is_file():
            raise InputError(
                f'{index} does not exist; make the data first: '
                f'projects/identity_leakage/prepare_toy.sh {root}'
            )


def run_all(runs: Sequence[StudyRun], jobs: int) -> bool:
    """Execute the runs, the report after each; returns whether all are finished."""
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    with ThreadPoolExecutor(jobs) as executor:
        futures = {executor.submit(execute, run, jobs, stop): run for run in runs}
        for count, future in enumerate(as_completed(futures), 1):
            run = futures[future]
            title = f'{run.arm}, confound {run.confound:g}, seed {run.seed}'
            print(f'[{count}/{len(runs)}] {title}: {future.result()}', flush=True)
            if run.is_finished:
                write_report(run.root)
    return all(run.is_finished for run in runs)


def main() -> int:
    args = parse_args()
    if args.jobs < 1:
        raise InputError(f'--jobs {args.jobs}: give at least 1')
    if args.report:
        print(write_report(args.root).read_text())
        return 0
    check_data(args.root)
    # Seed by seed, so that an unfinished table has all its rows early.
    runs = [
        StudyRun(args.root, arm, confound, seed)
        for seed in args.seeds
        for confound in sorted(args.confounds, reverse=True)
        for arm in args.arms
    ]
    if not run_all(runs, args.jobs):
        return 1
    print(write_report(args.root).read_text())
    return 0


if __name__ == '__main__':
    sys.exit(run_tool(main))
