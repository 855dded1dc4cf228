# SPDX-License-Identifier: Apache-2.0
"""Measure what evaluating a large test set costs, from the scores file to the intervals."""

from __future__ import annotations

import os
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy import special

from iid_mm.errors import InputError
from iid_mm.evaluation.functional.aggregate import AGGREGATIONS, video_scores
from iid_mm.evaluation.functional.inputs import Coded
from iid_mm.evaluation.functional.per_method import per_method, scored_set
from iid_mm.evaluation.scores import FrameScores, read_scores, write_scores
from iid_mm.evaluation.statistics.bootstrap import bootstrap_metrics

DATASETS = ('first', 'second')
METHODS = ('genuine', 'A', 'B', 'C', 'D')
METRICS = ('auc', 'eer', 'ap')
"""All metrics that can be resampled."""


def peak_memory() -> float:
    """Largest resident memory of this process so far in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Linux counts KiB, macOS bytes.
    return peak / 2**20 if sys.platform == 'darwin' else peak / 2**10


def generate_scores(frames: int, videos: int, *, seed: int = 0) -> FrameScores:
    """Scores as of a large test: two datasets, each with genuine videos and four manipulations.

    Args:
        frames: Number of frames, at least ``videos``; every video gets the same or one more.
        videos: Number of videos, at least 10.
        seed: Seed of the scores.

    Returns:
        The scores; those of a video's frames are related, as in practice.

    Raises:
        InputError: Too few videos or frames.
    """
    kinds = len(DATASETS) * len(METHODS)
    if videos < kinds or frames < videos:
        raise InputError(
            f'frames={frames}, videos={videos}: give at least {kinds} videos, and a frame for each of them'
        )
    generator = np.random.default_rng(seed)
    # Ascending keys: dataset and manipulation come first in them.
    kind = np.sort(np.arange(videos) % kinds)
    dataset, method = kind // len(METHODS), kind % len(METHODS)
    order = np.argsort([METHODS[i] for i in range(len(METHODS))])
    method = order[method]
    keys = np.array(
        [
            f'{DATASETS[d]}/{METHODS[m]}/c23/{number:07d}'
            for number, (d, m) in enumerate(zip(dataset, method, strict=True))
        ],
        dtype=object,
    )
    counts = np.full(videos, frames // videos)
    counts[: frames % videos] += 1
    video = np.repeat(np.arange(videos), counts)
    frame = 10 * (np.arange(frames) - np.repeat(np.cumsum(counts) - counts, counts))
    shift = np.where(method > 0, 1.0 + 0.5 * method, -1.0) + generator.normal(size=videos)
    names = pa.array(keys).take(pa.array(video))
    image = pc.binary_join_element_wise('frames', names, pc.cast(pa.array(frame), pa.string()), '/')
    ascending = np.argsort(order)
    return FrameScores.from_columns(
        {
            'dataset': Coded(dataset[video], np.array(DATASETS, dtype=object)),
            'method': Coded(ascending[method][video], np.array(METHODS, dtype=object)[order]),
            'video_key': Coded(video, keys),
            'frame': frame,
            'label': (method[video] > 0).astype(np.int8),
            'score': special.expit(shift[video] + 0.5 * generator.normal(size=frames)),
            'image': image,
        }
    )


def measure_evaluation(
    frames: int = 3_000_000, videos: int = 100_000, resamples: int = 1000, *, seed: int = 0
) -> dict[str, Any]:
    """Time the evaluation of a generated test set.

    Args:
        frames: Number of frames.
        videos: Number of videos.
        resamples: Resamples of every row of the table.
        seed: Seed of scores and resamples.

    Returns:
        ``seconds`` by step and ``cpu_seconds``, the time of all cores together, which other processes on the
        machine disturb less; ``total_seconds`` and ``total_cpu_seconds`` from the file to all intervals
        (without making the file and without the other aggregations), ``rows`` of the table, ``peak_mib`` in
        all, ``start_mib`` before anything was made, and ``file_mib``.
    """
    seconds: dict[str, float] = {}
    cpu_seconds: dict[str, float] = {}

    @contextmanager
    def timed(step: str) -> Iterator[None]:
        started = time.perf_counter(), time.process_time()
        yield
        seconds[step] = time.perf_counter() - started[0]
        cpu_seconds[step] = time.process_time() - started[1]

    start = peak_memory()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / 'scores.parquet'
        with timed('generate'):
            made = generate_scores(frames, videos, seed=seed)
        with timed('write'):
            write_scores(made, path)
        del made
        size = os.path.getsize(path) / 2**20
        with timed('read'):
            scores = read_scores(path)
    with timed('names to codes'):
        columns = [scores.coded(name) for name in ('video_key', 'method', 'dataset')]
    with timed('aggregate (mean)'):
        scored = scored_set(scores.score, scores.label, *columns)
    with timed('metrics of all rows'):
        rows = per_method(scored)
    with timed('bootstrap of all rows'):
        for subset in scored.subsets:
            bootstrap_metrics(*scored.videos.select(subset), METRICS, resamples=resamples, seed=seed)
    chain = [step for step in seconds if step not in ('generate', 'write')]
    totals = [sum(times[step] for step in chain) for times in (seconds, cpu_seconds)]
    for how in AGGREGATIONS:
        if how != 'mean':
            with timed(f'aggregate ({how})'):
                video_scores(scores.score, scores.label, columns[0], how)
    return {
        'frames': frames,
        'videos': videos,
        'resamples': resamples,
        'rows': len(rows),
        'seconds': seconds,
        'cpu_seconds': cpu_seconds,
        'total_seconds': totals[0],
        'total_cpu_seconds': totals[1],
        'start_mib': start,
        'peak_mib': peak_memory(),
        'file_mib': size,
    }
