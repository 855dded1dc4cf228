# SPDX-License-Identifier: Apache-2.0
"""Runs on the tiny set, of one process or several, that can be killed."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config
from mmengine.dist import get_rank
from mmengine.hooks import Hook

from iid_mm.engine import SafeRunner, build_runner
from iid_mm.errors import StoppedError
from iid_mm.registry import HOOKS

_numbers = itertools.count()


class Killed(RuntimeError):
    """What a run dies of in these tests."""


class Recorder(Hook):
    """Keep the losses of every iteration; end the run after ``kill_after`` iterations.

    ``asked`` is the iteration in which the process of this rank gets SIGTERM.
    """

    priority = 'LOWEST'

    def __init__(self, kill_after: int | None = None, asked: int | None = None, rank: int = 0) -> None:
        self.kill_after = kill_after
        self.asked = asked
        self.rank = rank
        self.losses: dict[int, dict[str, float]] = {}
        self.paths: dict[int, list[str]] = {}

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        if runner.iter + 1 == self.asked and get_rank() == self.rank:
            os.kill(os.getpid(), signal.SIGTERM)

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        done = runner.iter + 1
        self.losses[done] = {name: float(value.detach()) for name, value in outputs.items()}
        self.paths[done] = [sample.img_path for sample in data_batch['data_samples']]
        if done == self.kill_after:
            raise Killed


@HOOKS.register_module(force=True)
class SpoilSecond(Hook):
    """Make a loss of the second process NaN in iteration 2."""

    def before_train(self, runner: Any) -> None:
        head = getattr(runner.model, 'module', runner.model).forgery_head
        original = head.loss

        def loss(*args: Any, **kwargs: Any) -> Any:
            found = original(*args, **kwargs)
            if runner.iter == 1 and get_rank() == 1:
                found['loss_cls'] = found['loss_cls'] * torch.nan
            return found

        head.loss = loss


@pytest.fixture(scope='session')
def new_runner(tiny_config: Path) -> Callable[..., SafeRunner]:
    """Make a runner of the tiny config; keyword arguments replace values, with __ for dots."""

    def make(
        work_dir: Path,
        resume: bool | Path = False,
        save_every: int = 500,
        launcher: str = 'none',
        **options: Any,
    ) -> Any:
        cfg = Config.fromfile(str(tiny_config))
        cfg.merge_from_dict({name.replace('__', '.'): value for name, value in options.items()})
        if cfg.default_hooks.checkpoint is not None:
            cfg.default_hooks.checkpoint.iteration_interval = save_every
        cfg.work_dir = str(work_dir)
        # MMEngine's shared state goes by this name, which otherwise is the time in seconds.
        cfg.experiment_name = f'test_{next(_numbers)}'
        cfg.launcher = launcher
        cfg.resume = resume is not False
        cfg.load_from = str(resume) if isinstance(resume, Path) else None
        return build_runner(cfg)

    return make


@dataclass
class Run:
    """What a run of several processes gave: the losses of every iteration, averaged over the processes."""

    losses: dict[int, dict[str, float]]
    paths: dict[int, set[str]]

    def difference(self, other: Run, first: int = 1) -> float:
        """Largest difference of a loss from iteration ``first`` on."""
        ours, theirs = ({i: row for i, row in run.losses.items() if i >= first} for run in (self, other))
        assert ours.keys() == theirs.keys()
        assert all(self.paths[i] == other.paths[i] for i in ours)
        return max(abs(row[k] - theirs[i][k]) for i, row in ours.items() for k in row)


def _train(connection: Any, rank: int, processes: int, port: int, make: Any, hook: Recorder) -> None:
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(processes))
    os.environ.update(MASTER_ADDR='127.0.0.1', MASTER_PORT=str(port), CUDA_VISIBLE_DEVICES='')
    torch.set_num_threads(1)
    try:
        runner = make(launcher='pytorch' if processes > 1 else 'none')
        runner.register_hook(hook)
        with suppress(Killed, StoppedError):
            runner.train()
        connection.send((hook.losses, hook.paths))
        if processes > 1:
            torch.distributed.destroy_process_group()
    except BaseException as error:
        connection.send(error)
        raise


@pytest.fixture(scope='session')
def train_processes(new_runner: Callable[..., Any]) -> Callable[..., Run]:
    """Train with several processes; arguments are those of ``new_runner``."""

    def run(
        processes: int,
        work_dir: Path,
        kill_after: int | None = None,
        asked: int | None = None,
        asked_rank: int = 0,
        **options: Any,
    ) -> Run:
        with socket.socket() as probe:
            probe.bind(('127.0.0.1', 0))
            port = probe.getsockname()[1]
        # Forked processes have everything imported.
        context = multiprocessing.get_context('fork')
        make = partial(new_runner, work_dir, **options)
        children, results = [], []
        for rank in range(processes):
            ours, theirs = context.Pipe(duplex=False)
            hook = Recorder(kill_after, asked, asked_rank)
            child = context.Process(target=_train, args=(theirs, rank, processes, port, make, hook))
            child.start()
            theirs.close()
            children.append((child, ours))
        for child, connection in children:
            results.append(connection.recv())
            child.join()
        for result in results:
            if isinstance(result, BaseException):
                raise result
        rows = zip(*[losses.items() for losses, _ in results], strict=True)
        losses = {
            row[0][0]: {key: sum(values[key] for _, values in row) / processes for key in row[0][1]}
            for row in rows
        }
        paths = {i: {path for _, seen in results for path in seen[i]} for i in losses}
        return Run(losses, paths)

    return run


@pytest.fixture
def make_runner(new_runner: Callable[..., SafeRunner], tmp_path: Path) -> Callable[..., SafeRunner]:
    """As ``new_runner``, with a work directory below the test's folder."""

    def make(work_dir: str = 'work', **options: Any) -> SafeRunner:
        return new_runner(tmp_path / work_dir, **options)

    return make


@pytest.fixture(scope='session')
def recorder() -> type[Recorder]:
    return Recorder


@pytest.fixture
def killed() -> type[Exception]:
    return Killed
