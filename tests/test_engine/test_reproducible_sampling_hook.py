# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch

from iid_mm.engine import ReproducibleSamplingHook


class Seeded:
    epoch = -1

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch


def runner(iteration: int = 0, seed: int = 0, dataset: Any = None, epoch: int = 0) -> Any:
    loop = SimpleNamespace(dataloader=SimpleNamespace(dataset=dataset))
    return SimpleNamespace(iter=iteration, seed=seed, train_loop=loop, epoch=epoch)


def draw(**where: int) -> float:
    ReproducibleSamplingHook().before_train_iter(runner(**where), 0)
    return float(torch.rand(()))


def test_draws_follow_from_seed_and_iteration() -> None:
    assert draw(iteration=5) == draw(iteration=5)
    assert len({draw(iteration=i, seed=s) for i in range(5) for s in range(5)}) == 25


def test_data_sets_are_told_the_epoch_through_wrappers() -> None:
    inner = [Seeded(), Seeded()]
    wrapped = SimpleNamespace(dataset=SimpleNamespace(datasets=[*inner, object()]))
    ReproducibleSamplingHook().before_train_epoch(runner(dataset=wrapped, epoch=7))
    assert [dataset.epoch for dataset in inner] == [7, 7]
