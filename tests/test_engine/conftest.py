# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mmengine.config import Config
from mmengine.hooks import Hook

from iid_mm.engine import ForgeryRunner

_numbers = itertools.count()


class Killed(RuntimeError):
    """What a run dies of in these tests."""


class Recorder(Hook):
    """Keep the losses of every iteration; end the run after ``kill_after`` iterations."""

    priority = 'LOWEST'

    def __init__(self, kill_after: int | None = None) -> None:
        self.kill_after = kill_after
        self.losses: dict[int, dict[str, float]] = {}
        self.paths: dict[int, list[str]] = {}

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        done = runner.iter + 1
        self.losses[done] = {name: float(value.detach()) for name, value in outputs.items()}
        self.paths[done] = [sample.img_path for sample in data_batch['data_samples']]
        if done == self.kill_after:
            raise Killed


@pytest.fixture(scope='session')
def new_runner(tiny_config: Path) -> Callable[..., ForgeryRunner]:
    """Make a runner of the tiny config; keyword arguments replace values, with __ for dots."""

    def make(
        work_dir: Path, resume: bool | Path = False, save_every: int = 500, **options: Any
    ) -> ForgeryRunner:
        cfg = Config.fromfile(str(tiny_config))
        cfg.merge_from_dict({name.replace('__', '.'): value for name, value in options.items()})
        next(h for h in cfg.custom_hooks if h.type == 'IterationCheckpointHook').interval = save_every
        cfg.work_dir = str(work_dir)
        # MMEngine's shared state goes by this name, which otherwise is the time in seconds.
        cfg.experiment_name = f'test_{next(_numbers)}'
        cfg.launcher = 'none'
        cfg.resume = resume is not False
        cfg.load_from = str(resume) if isinstance(resume, Path) else None
        return ForgeryRunner.from_cfg(cfg)

    return make


@pytest.fixture
def make_runner(new_runner: Callable[..., ForgeryRunner], tmp_path: Path) -> Callable[..., ForgeryRunner]:
    """As ``new_runner``, with a work directory below the test's folder."""

    def make(work_dir: str = 'work', **options: Any) -> ForgeryRunner:
        return new_runner(tmp_path / work_dir, **options)

    return make


@pytest.fixture(scope='session')
def recorder() -> type[Recorder]:
    return Recorder


@pytest.fixture
def killed() -> type[Exception]:
    return Killed
