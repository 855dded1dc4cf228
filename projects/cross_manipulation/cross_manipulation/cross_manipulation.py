# SPDX-License-Identifier: Apache-2.0
"""The cross-manipulation protocol as a whole: runs, metrics, tables and plot."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TextIO

from cross_manipulation.heat_map import plot_matrix
from cross_manipulation.matrix import Matrix, Metrics, Result, build_matrix, run_metrics
from cross_manipulation.matrix_text import matrix_csv, matrix_json, matrix_markdown
from cross_manipulation.plan import Plan
from cross_manipulation.processes import devices
from cross_manipulation.run_queue import RunQueue
from cross_manipulation.run_state import FAILED, SCORES, Status
from cross_manipulation.run_task import Report, RunTask
from iid_mm.errors import InputError
from iid_mm.utils.files import write_json, write_text
from iid_mm.utils.finished import read_record

_WORDS: dict[Status, str] = {
    'finished': 'finished',
    'trained': 'to test',
    'partial': 'to resume',
    'new': 'to start',
    'changed': 'to restart',
}


class CrossManipulation:
    """Execute a plan and keep its tables up to date.

    Args:
        plan: The plan.
        tools: Folder of ``train.py`` and ``test.py``.
        jobs: Runs at a time.
        out: Where lines are printed.

    Raises:
        InputError: The machine has fewer GPUs than processes of a run.
    """

    def __init__(self, plan: Plan, tools: Path, jobs: int = 1, out: TextIO | None = None) -> None:
        if jobs < 1:
            raise InputError(f'jobs={jobs}: at least one run is worked on at a time')
        self.plan = plan
        self.out = out or sys.stdout
        self.queue = RunQueue(jobs, self.out)
        gpus = devices()
        if gpus and plan.options.processes > len(gpus):
            raise InputError(f'--gpus {plan.options.processes}: the machine has {len(gpus)} GPU(s)')
        self.tasks = [RunTask(run, plan, tools, jobs, gpus) for run in plan.runs]
        self._metrics: dict[tuple[str, str, int], tuple[str, Metrics]] = {}

    def describe(self) -> str:
        """Count the runs by state."""
        states = [task.state.status() for task in self.tasks]
        counts = [f'{states.count(status)} {_WORDS[status]}' for status in _WORDS if status in states]
        return f'{len(states)} runs in {self.plan.work_dir}: {", ".join(counts)}'

    def commands(self) -> list[str]:
        """Training and test of every run, with its state, for a dry run."""
        lines = []
        for task in self.tasks:
            status = task.state.status()
            lines.append(f'# {task.run.title}: {_WORDS[status]}')
            if status == 'finished':
                continue
            steps = [] if status == 'trained' else [task.train_command()]
            lines += [' '.join(command) for command in [*steps, task.test_command()]]
        return lines

    def execute(self) -> int:
        """Execute the remaining runs; the tables are written after each.

        Returns:
            The exit status: 0, 1 if a run has failed, 130 if the queue was stopped.
        """
        self.plan.write()
        print(self.describe(), file=self.out, flush=True)
        left = [task for task in self.tasks if not task.state.finished]
        self.write_tables()
        reports = self.queue.run(left, self._after_run) if left else {}
        matrix = self.write_tables()
        print(f'\n{matrix_markdown(matrix, self.plan, short=True)}', file=self.out)
        for name in ('matrix.md', 'matrix.json', 'matrix.csv', 'matrix.png'):
            print(self.plan.work_dir / name, file=self.out)
        if self.queue.stop.is_set():
            print('stopped; run the same command to resume', file=self.out)
            return 130
        failed = [task for task, report in reports.items() if report.result == 'failed']
        for task in failed:
            print(f'error: {task.run.title}: {reports[task].message}', file=sys.stderr)
        return 1 if failed else 0

    def _after_run(self, task: RunTask, report: Report) -> None:
        self.write_tables()

    def matrix(self) -> Matrix:
        """Compute the matrix of what is finished."""
        results: dict[tuple[str, str, int], Result] = {}
        for run in self.plan.runs:
            marker = run.state.finished
            if marker:
                cached = self._metrics.get(run.key)
                if cached is None or cached[0] != marker['files'][SCORES]:
                    metrics = run_metrics(run.state.scores, self.plan.columns, self.plan.options.how)
                    cached = self._metrics[run.key] = (marker['files'][SCORES], metrics)
                results[run.key] = Result('finished', cached[1])
            elif read_record(run.state.directory / FAILED):
                results[run.key] = Result('failed')
        names = [arm.name for arm in self.plan.arms]
        return build_matrix(names, self.plan.train_sets, self.plan.columns, self.plan.options.seeds, results)

    def write_tables(self) -> Matrix:
        """Write the matrix as JSON, Markdown, CSV and plot.

        Returns:
            The matrix.
        """
        matrix, folder = self.matrix(), self.plan.work_dir
        write_json(folder / 'matrix.json', matrix_json(matrix, self.plan))
        write_text(folder / 'matrix.md', matrix_markdown(matrix, self.plan))
        write_text(folder / 'matrix.csv', matrix_csv(matrix))
        plot_matrix(matrix, folder / 'matrix.png')
        return matrix
