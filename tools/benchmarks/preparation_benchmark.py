# SPDX-License-Identifier: Apache-2.0
"""How fast videos become crops."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any

from iid_mm.errors import InputError
from iid_mm.preparation.driver import RunOptions, make_settings, prepare
from iid_mm.preparation.settings import Settings


def check_numbers(workers: Sequence[int], frames: int) -> None:
    """Check the arguments of :func:`measure_preparation`, before a set is made for it."""
    if min(workers, default=-1) < 0 or frames < 1:
        raise InputError(
            f'workers={list(workers)}, frames={frames}: workers must be 0 or more, and frames at least 1'
        )


def measure_preparation(
    root: Path,
    layout: str,
    *,
    analyzer: str | None = None,
    frames: int = 16,
    workers: Sequence[int] = (0, 2),
    rounds: int = 3,
    **choices: Any,
) -> dict[str, Any]:
    """Time the preparation of a dataset, again and again from nothing.

    Args:
        root: The dataset as downloaded.
        layout: Its layout.
        analyzer: What finds faces; None takes the layout's own.
        frames: Frames of each video.
        workers: Numbers of worker processes; the first is the baseline. 0 works in this process.
        rounds: Rounds, in which the numbers of workers take turns; the median of each counts.
        **choices: Further attributes of :class:`~iid_mm.preparation.settings.Settings`.

    Returns:
        ``runs``: for each number of workers ``seconds``, ``frames_per_second``, ``ratio`` to the baseline,
        ``cpu_ms`` a frame and ``stages_ms`` a frame (time within the workers).

    Raises:
        InputError: If a number is not possible, or an argument is bad (see
            :func:`~iid_mm.preparation.driver.prepare`).
    """
    check_numbers(workers, frames)
    if rounds < 1:
        raise InputError(f'rounds={rounds}: must be at least 1')
    settings = make_settings(layout, RunOptions(progress=False), analyzer=analyzer, frames=frames, **choices)
    counts = list(dict.fromkeys(workers))
    # Not counted: models are loaded, files come into the cache.
    report = _prepare_once(root, settings, counts[0])[1]
    measured: dict[int, list[tuple[float, dict[str, Any]]]] = {count: [] for count in counts}
    for _ in range(rounds):
        for count in counts:
            measured[count].append(_prepare_once(root, settings, count))
    runs: dict[str, Any] = {}
    for count, results in measured.items():
        seconds, report = sorted(results, key=itemgetter(0))[rounds // 2]
        analyzed = report['frames_analyzed']
        runs[str(count)] = {
            'seconds': seconds,
            'frames_per_second': analyzed / seconds,
            'cpu_ms': 1e3 * report['cpu_seconds'] / analyzed,
            'stages_ms': {stage: 1e3 * value / analyzed for stage, value in report['seconds'].items()},
        }
    baseline = next(iter(runs))
    for metrics in runs.values():
        metrics['ratio'] = metrics['frames_per_second'] / runs[baseline]['frames_per_second']
    return {
        'analyzer': settings.analyzer,
        'frames': report['frames_analyzed'],
        'baseline': f'{baseline} workers',
        'runs': runs,
    }


def _prepare_once(root: Path, settings: Settings, workers: int) -> tuple[float, dict[str, Any]]:
    """Prepare from nothing; seconds and report."""
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        report = prepare(root, Path(folder), settings, RunOptions(num_workers=workers, progress=False))
        return time.perf_counter() - started, report
