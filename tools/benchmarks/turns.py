# SPDX-License-Identifier: Apache-2.0
"""Time alternatives fairly on a machine that does other things, too."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

Step = Callable[[], Any]


class SkippedError(Exception):
    """An alternative cannot be measured here; the message says why."""


def take_turns(
    steps: Mapping[str, Step], items: int, rounds: int, wait: Callable[[], None] | None = None
) -> dict[str, dict[str, float]]:
    """Time alternatives that take turns, so that other processes slow all of them alike.

    Args:
        steps: What to run by name; the first is the baseline. Each runs once before, which is not counted.
        items: Images or frames that a step handles.
        rounds: Rounds that count.
        wait: Waits until a step is done, for devices that work on their own.

    Returns:
        For each ``per_second`` (items, median), ``ratio`` to the baseline (median over the rounds, above 1 is
        faster), ``cpu_ms`` an item (median; time of all threads, which other processes disturb less) and
        ``cpu_ratio`` likewise.
    """
    wall = {name: np.zeros(rounds) for name in steps}
    processor = {name: np.zeros(rounds) for name in steps}
    for number in range(-1, rounds):
        for name, step in steps.items():
            started = time.perf_counter(), time.process_time()
            step()
            if wait is not None:
                wait()
            if number >= 0:
                wall[name][number] = time.perf_counter() - started[0]
                processor[name][number] = time.process_time() - started[1]
    baseline = next(iter(steps))
    return {
        name: {
            'per_second': float(items / np.median(wall[name])),
            'ratio': float(np.median(wall[baseline] / wall[name])),
            'cpu_ms': float(1e3 * np.median(processor[name]) / items),
            'cpu_ratio': float(np.median(processor[baseline] / np.maximum(processor[name], 1e-9))),
        }
        for name in steps
    }


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Let PyTorch compute with this many threads within the block."""
    previous = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(previous)
