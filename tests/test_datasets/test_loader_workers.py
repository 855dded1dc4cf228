# SPDX-License-Identifier: Apache-2.0
"""Workers of data loaders: few open files, and no waiting without end."""

from __future__ import annotations

import os
import pickle
import signal
import time
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.dataset import pseudo_collate
from mmengine.structures import InstanceData
from torch.utils.data import DataLoader, Dataset

from iid_mm.datasets.loader_workers import TIMEOUT, harden_loader, pack, unpack
from iid_mm.structures import ForgeryDataSample


def sample(index: int) -> dict[str, Any]:
    found = ForgeryDataSample(metainfo=dict(img_path=f'{index}.png', array=np.arange(3)))
    found.gt_label = torch.tensor([index % 2])
    found.gt_instances = InstanceData(
        bboxes=torch.full((index % 2, 4), 0.5), labels=torch.zeros(index % 2).long()
    )
    return dict(inputs=torch.full((3, 8, 8), index % 256, dtype=torch.uint8), data_samples=found)


class Samples(Dataset[Any]):
    def __init__(self, size: int = 64) -> None:
        self.size = size

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> Any:
        return sample(index)


class OpenFiles(Samples):
    """Each sample is the number of files that its worker has open."""

    def __getitem__(self, index: int) -> Any:
        return dict(**super().__getitem__(index), opened=len(os.listdir('/proc/self/fd')))


class Stuck(Samples):
    def __getitem__(self, index: int) -> Any:
        time.sleep(60)


class Unsendable(Samples):
    def __getitem__(self, index: int) -> Any:
        return dict(value=lambda: None)


class Killed(Samples):
    """The worker that loads sample 5 gets a signal, as from a lack of memory."""

    number = signal.SIGKILL

    def __getitem__(self, index: int) -> Any:
        if index == 5:
            os.kill(os.getpid(), self.number)
            time.sleep(0.5)
        return super().__getitem__(index)


class Asked(Killed):
    number = signal.SIGTERM


def loader(dataset: Dataset[Any], **options: Any) -> DataLoader[Any]:
    options = dict(batch_size=16, num_workers=2, collate_fn=pseudo_collate) | options
    return harden_loader(DataLoader(dataset, **options))


def equal(one: Any, two: Any) -> bool:
    """Whether two batches are the same."""
    if isinstance(one, torch.Tensor):
        return one.dtype == two.dtype and torch.equal(one, two)
    if isinstance(one, dict):
        return one.keys() == two.keys() and all(equal(one[key], two[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return type(one) is type(two) and len(one) == len(two) and all(map(equal, one, two))
    if isinstance(one, ForgeryDataSample):
        return one.img_path == two.img_path and equal(
            [one.gt_label, one.gt_instances.bboxes, one.gt_instances.labels],
            [two.gt_label, two.gt_instances.bboxes, two.gt_instances.labels],
        )
    return bool(one == two)


def test_batches_are_those_of_a_single_process() -> None:
    alone, workers = loader(Samples(), num_workers=0), loader(Samples(), persistent_workers=True)
    for _ in range(2):
        for one, two in zip(alone, workers, strict=True):
            assert equal(one, two)
    assert workers.timeout == TIMEOUT
    assert alone.timeout == 0
    assert loader(Samples(), timeout=7).timeout == 7


@pytest.mark.parametrize(
    'value',
    [
        torch.zeros(0, 4),
        torch.tensor(3.5, dtype=torch.float64),
        torch.tensor([True, False]),
        torch.arange(6).reshape(2, 3).T,
        torch.ones(2, 2, dtype=torch.bfloat16),
        torch.tensor([1 + 2j]),
        torch.nn.Parameter(torch.ones(2)),
        np.arange(3),
    ],
    ids=str,
)
def test_any_value_travels(value: Any) -> None:
    first, again = unpack(*pickle.loads(pickle.dumps(pack([value, dict(x=value)]))))
    assert type(first) is type(value)
    assert first.dtype == value.dtype
    assert first.shape == value.shape
    assert bool((first == value).all())
    assert again['x'] is first


def test_open_files_do_not_grow_with_the_batch() -> None:
    """128 samples of four tensors each were 512 a batch."""
    most = {}
    for batch_size in (2, 128):
        here, there = 0, 0
        for batch in loader(OpenFiles(1024), batch_size=batch_size, prefetch_factor=4):
            here, there = max(here, len(os.listdir('/proc/self/fd'))), max(there, *batch['opened'])
        most[batch_size] = here, there
    # What is under way varies by a few.
    assert max(most[128]) - max(most[2]) <= 16, most


def test_a_killed_worker_is_an_error() -> None:
    with pytest.raises(
        RuntimeError, match=r'DataLoader worker .* (is killed by signal: Killed|exited unexpectedly)'
    ):
        list(loader(Killed()))


def test_a_job_that_is_asked_to_stop_keeps_its_workers() -> None:
    """Schedulers send SIGTERM to all processes, and the run still needs these for its checkpoint."""
    assert len(list(loader(Asked()))) == 4


def test_workers_end_when_their_parent_says_so() -> None:
    iterator = iter(loader(Samples(1024), batch_size=1))
    next(iterator)
    workers = iterator._workers  # type: ignore[attr-defined]
    for worker in workers:
        worker.terminate()
        worker.join(10)
    assert [worker.exitcode for worker in workers] == [0, 0]


@pytest.mark.slow
def test_a_batch_that_does_not_come_is_an_error() -> None:
    with pytest.raises(RuntimeError, match='timed out after 1'):
        next(iter(loader(Stuck(), timeout=1)))


def test_a_batch_that_cannot_be_sent_is_an_error(capfd: pytest.CaptureFixture[str]) -> None:
    started = time.monotonic()
    with pytest.raises(RuntimeError, match=r'DataLoader worker .* exited unexpectedly'):
        next(iter(loader(Unsendable(), timeout=30)))
    assert time.monotonic() - started < 25
    assert 'error: a data loader worker could not send a batch' in capfd.readouterr().err
