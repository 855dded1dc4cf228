# SPDX-License-Identifier: Apache-2.0
"""Measure what a training sample costs, transform by transform."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from iid_mm.datasets.forgery_dataset import ForgeryDataset
from iid_mm.datasets.index import make_video_key, write_index
from iid_mm.errors import InputError
from iid_mm.utils.files import write_bytes
from iid_mm.utils.typing import FloatArray, ImageArray

Summary = dict[str, float]


def summarize(seconds: Sequence[float]) -> Summary:
    """Mean, median and 95th percentile in milliseconds, and the number of values."""
    values = 1e3 * np.asarray(seconds)
    return {
        'mean_ms': float(values.mean()),
        'median_ms': float(np.median(values)),
        'p95_ms': float(np.percentile(values, 95)),
        'count': len(values),
    }


def measure_pipeline(
    dataset: ForgeryDataset, samples: int = 400, fakes_per_genuine: float = 4.0, seed: int = 0
) -> dict[str, Any]:
    """Run the pipeline of a dataset on some of its samples, in this process.

    Genuine and fake samples are measured apart and mixed by weight, so that the mixture of the metrics
    does not depend on the set. Every sample is run once before, so that its file is in the page cache.

    Args:
        dataset: Set with genuine and fake samples.
        samples: How many samples to measure, half genuine and half fake; a small set is run repeatedly.
        fakes_per_genuine: Fakes for every genuine sample in the mixture.
        seed: Seed of the draws.

    Returns:
        For ``genuine`` and ``fake``: ``total`` and each transform with :func:`summarize` metrics, and
        ``cpu_mean_ms``, the processor time of a sample, which other processes on the machine disturb
        less; ``mix_mean_ms`` and ``mix_cpu_mean_ms``.

    Raises:
        InputError: If the set lacks genuine or fake samples.
    """
    labels = np.array([dataset.get_cat_ids(i)[0] for i in range(len(dataset))])
    result: dict[str, Any] = {}
    for label, name in enumerate(('genuine', 'fake')):
        members = np.flatnonzero(labels == label)
        if not len(members):
            raise InputError(f'the set has no {name} sample to measure')
        spread = np.linspace(0, len(members), min(len(members), samples // 2), endpoint=False)
        chosen = members[spread.astype(int)]
        for idx in chosen:
            dataset.prepare_data(int(idx))
        np.random.seed(seed)
        times: dict[str, list[float]] = defaultdict(list)
        start = time.thread_time()
        count = max(1, samples // 2)
        for number in range(count):
            _run_once(dataset, int(chosen[number % len(chosen)]), times)
        cpu = 1e3 * (time.thread_time() - start) / count
        result[name] = {key: summarize(values) for key, values in times.items()}
        result[name]['cpu_mean_ms'] = cpu
    weight = fakes_per_genuine / (1 + fakes_per_genuine)
    genuine, fake = result['genuine'], result['fake']
    for key, values in (
        ('mix_mean_ms', [part['total']['mean_ms'] for part in (genuine, fake)]),
        ('mix_cpu_mean_ms', [part['cpu_mean_ms'] for part in (genuine, fake)]),
    ):
        result[key] = float((1 - weight) * values[0] + weight * values[1])
    return result


def _run_once(dataset: ForgeryDataset, idx: int, times: dict[str, list[float]]) -> None:
    """Run one sample and append the seconds of each transform."""
    begin = last = time.perf_counter()
    data: Any = dataset.get_data_info(idx)
    for transform in dataset.pipeline.transforms:
        data = transform(data)
        now = time.perf_counter()
        times[type(transform).__name__].append(now - last)
        last = now
    times['total'].append(last - begin)


def write_generated_set(folder: Path, crop: int = 320, people: int = 20, seed: int = 0) -> Path:
    """Write a small set of crops that cost about as much to decode and to swap as photographs.

    Args:
        folder: Where to write.
        crop: Side of the square crops in pixels.
        people: One genuine and one fake frame for each.
        seed: Seed of the images.

    Returns:
        Path of the index.
    """
    rng = np.random.default_rng(seed)
    rows: list[dict[str, Any]] = []
    for number in range(people):
        genuine, fake = _draw_pair(crop, rng)
        for method, image in (('youtube', genuine), ('Deepfakes', fake)):
            video = f'{number:03d}' if method == 'youtube' else f'{number:03d}_{number + 1:03d}'
            path = f'frames/generated/{method}/native/{video}/00000.png'
            write_bytes(folder / path, cv2.imencode('.png', image)[1].tobytes())
            rows.append(
                {
                    'image': path,
                    'source_image': rows[-1]['image'] if method == 'Deepfakes' else None,
                    'landmarks': (_FACE * crop).astype(np.float32).ravel(),
                    'label': int(method == 'Deepfakes'),
                    'dataset': 'generated',
                    'method': method,
                    'compression': 'native',
                    'video_key': make_video_key('generated', method, 'native', video),
                    'frame': 0,
                    'split': 'train',
                    'target_id': f'{number:03d}',
                    'source_id': f'{number + 1:03d}' if method == 'Deepfakes' else None,
                    'crop_window': [0, 0, crop, crop],
                    'detector_score': 1.0,
                }
            )
    write_index(rows, folder / 'index.parquet')
    return folder / 'index.parquet'


def _draw_pair(crop: int, rng: np.random.Generator) -> tuple[ImageArray, ImageArray]:
    """A smooth image with sensor noise, and the same with another oval in its middle."""

    def smooth(cells: int) -> FloatArray:
        coarse = rng.uniform(40, 210, (cells, cells, 3)).astype(np.float32)
        return cv2.resize(coarse, (crop, crop), interpolation=cv2.INTER_CUBIC)

    genuine, other = smooth(12), smooth(20)
    oval = np.zeros((crop, crop, 1), dtype=np.float32)
    center, axes = (crop // 2, crop // 2), (int(crop * 0.24), int(crop * 0.3))
    cv2.ellipse(oval, center, axes, 0, 0, 360, 1.0, -1)
    noise = rng.normal(0, 1.5, genuine.shape)
    pair = (genuine + noise, oval * other + (1 - oval) * genuine + noise)
    first, second = (np.clip(image, 0, 255).astype(np.uint8) for image in pair)
    return first, second


def _face_layout() -> FloatArray:
    """Landmarks of an upright face in a unit square, (68, 2)."""
    angle = np.linspace(0, np.pi, 17)
    jaw = np.stack([0.5 - 0.24 * np.cos(angle), 0.45 + 0.3 * np.sin(angle)], axis=1)
    brows = np.stack([np.linspace(0.3, 0.7, 10), np.full(10, 0.36)], axis=1)
    nose = np.stack([np.full(9, 0.5), np.linspace(0.42, 0.6, 9)], axis=1)
    turn = np.linspace(0, 2 * np.pi, 6, endpoint=False)
    ring = np.stack([0.04 * np.cos(turn), 0.015 * np.sin(turn)], axis=1)
    mouth = np.stack([np.linspace(0.42, 0.58, 20), np.full(20, 0.66)], axis=1)
    mouth[6] = (0.58, 0.66)
    eyes = [ring + np.array((x, 0.43)) for x in (0.4, 0.6)]
    return np.concatenate([jaw, brows, nose, *eyes, mouth])


_FACE = _face_layout()
