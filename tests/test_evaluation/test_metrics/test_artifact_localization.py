# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as torch_dist
from mmengine.evaluator import Evaluator
from mmengine.structures import InstanceData

from iid_mm.errors import InputError
from iid_mm.evaluation.localization.file import read_localization
from iid_mm.evaluation.localization.table import localization_rows
from iid_mm.evaluation.metrics import ArtifactLocalization
from iid_mm.registry import METRICS
from iid_mm.structures import ForgeryDataSample

SIDE = 56
METHODS = ('youtube', 'Deepfakes', 'FaceSwap')


def make_sample(method: str, video: int, frame: int, seed: int | None = None) -> ForgeryDataSample:
    """A face with a square mask; without a seed the prediction is exactly right."""
    fake = method != 'youtube'
    name = f'ffpp/{method}/c23/{video:03d}'
    sample = ForgeryDataSample(
        metainfo=dict(
            video_key=name,
            frame=frame,
            dataset='ffpp',
            method=method,
            target_id=f'{video:03d}',
            img_path=f'/data/{name}/{frame}.png',
            img_shape=(SIDE, SIDE),
        )
    )
    mask = torch.zeros(SIDE, SIDE, dtype=torch.uint8)
    if fake:
        mask[14:28, 14:42] = 1
    heat = mask.float() if fake else torch.ones(SIDE, SIDE)
    boxes = torch.tensor([[14.0, 14, 42, 28]] if fake else []).reshape(-1, 4)
    if seed is not None:
        generator = torch.Generator().manual_seed(seed + 7 * video + 101 * frame + 1009 * len(method))
        heat = torch.rand(SIDE, SIDE, generator=generator)
        corner = 30 * torch.rand(3, 2, generator=generator)
        boxes = torch.cat([corner, corner + 5 + 20 * torch.rand(3, 2, generator=generator)], dim=1)
    sample.gt_label = torch.tensor([int(fake)])
    sample.pred_score = torch.tensor([0.25, 0.75] if fake else [0.75, 0.25])
    sample.gt_artifact_mask = mask
    sample.pred_heat = heat
    sample.pred_instances = InstanceData(
        bboxes=boxes, scores=torch.linspace(0.9, 0.5, len(boxes)), labels=torch.zeros(len(boxes)).long()
    )
    return sample


def make_samples(seed: int | None = None) -> list[ForgeryDataSample]:
    return [make_sample(m, v, f, seed) for m in METHODS for v in range(3) for f in range(5)]


def feed(metric: ArtifactLocalization, samples: list[ForgeryDataSample], batch: int = 4) -> None:
    for start in range(0, len(samples), batch):
        metric.process(None, [sample.to_dict() for sample in samples[start : start + batch]])


def test_a_perfect_prediction() -> None:
    samples = make_samples()
    evaluator = Evaluator(METRICS.build({'type': 'ArtifactLocalization', 'num_resamples': 50}))
    for sample in samples:
        evaluator.process([sample])
    metrics = evaluator.evaluate(len(samples))
    share = 14 * 28 / SIDE**2
    for name in ('box_ap50', 'box_ap', 'box_ap_local', 'pointing', 'energy', 'iou_half', 'iou_best'):
        assert metrics[f'localization/{name}'] == 1.0
    for name in ('pointing', 'energy', 'iou_half'):
        # The genuine faces' maps are flat.
        assert metrics[f'localization/chance_{name}'] == share
        assert metrics[f'localization/genuine_{name}'] == pytest.approx(share)
        assert metrics[f'localization/gain_{name}'] == pytest.approx(1 - share)
    # The middle of the canvas is just below the mask: half of the four middle pixels lie in it.
    assert metrics['localization/center_pointing'] == 0.5
    assert metrics['localization/chance_box_ap50'] == 0.0
    assert metrics['localization/num_scored'] == 30
    assert metrics['localization/num_paired'] == 30
    assert metrics['localization/num_genuine'] == 15
    assert metrics['localization/energy/FaceSwap'] == 1.0


def test_tolerance_and_canvas_share() -> None:
    sample = make_sample('FaceSwap', 0, 0)
    sample.pred_heat = torch.zeros(SIDE, SIDE)
    sample.pred_heat[30, 20] = 1.0  # three rows below the mask
    metrics = []
    for tolerance in (2.0, 3.0):
        metric = ArtifactLocalization(tolerance=tolerance, num_resamples=0, print_table=False)
        feed(metric, [sample])
        metrics.append(metric.evaluate(1))
    assert [m['localization/pointing'] for m in metrics] == [0.0, 1.0]
    # Rows 11 to 30 and columns 11 to 44 without the four corners' outermost pixels.
    grown = 14 * 28 + 2 * 3 * (14 + 28) + 4 * np.sum(np.hypot(*np.mgrid[1:4, 1:4]) <= 3)
    assert metrics[1]['localization/chance_pointing'] == grown / SIDE**2
    metric = ArtifactLocalization(canvas_share=0.1, num_resamples=0, print_table=False)
    feed(metric, [make_sample('FaceSwap', 0, 0)])
    assert metric.evaluate(1)['localization/box_ap50_local'] == 0.0


def test_missing_and_empty_masks_are_counted() -> None:
    samples = [make_sample('FaceSwap', 0, frame) for frame in range(4)]
    del samples[1].gt_artifact_mask
    samples[2].gt_artifact_mask = torch.zeros(SIDE, SIDE, dtype=torch.uint8)
    metric = ArtifactLocalization(num_resamples=0)
    feed(metric, samples)
    metrics = metric.evaluate(4)
    assert metrics['localization/num_scored'] == 2
    assert metrics['localization/num_without_mask'] == metrics['localization/num_empty_masks'] == 1
    assert metrics['localization/box_ap50'] == 1.0
    assert metric.rows[-1].name == 'overall'


def test_without_maps_and_without_boxes() -> None:
    samples = make_samples()
    for sample in samples:
        del sample.pred_heat
    samples[-1].pred_instances = samples[-1].pred_instances[:0]
    metric = ArtifactLocalization(num_resamples=5, print_table=False)
    feed(metric, samples)
    metrics = metric.evaluate(len(samples))
    assert metrics['localization/box_ap50'] == pytest.approx(29 / 30)
    assert 'localization/pointing' not in metrics


def test_the_file_gives_the_same_metrics(tmp_path: Path) -> None:
    samples = make_samples(seed=1)
    metric = ArtifactLocalization(samples_file=tmp_path / 's.parquet', image_root='/data', print_table=False)
    feed(metric, samples)
    metric.evaluate(len(samples))
    stored = read_localization(tmp_path / 's.parquet')
    assert stored[0].image == 'ffpp/Deepfakes/c23/000/0.png'
    assert localization_rows(stored) == metric.rows


def test_memory_of_a_frame() -> None:
    metric = ArtifactLocalization()
    feed(metric, make_samples(seed=1))
    sizes = [
        sum(v.nbytes if isinstance(v, np.ndarray) else sys.getsizeof(v) for v in result[6:])
        for result in metric.results
    ]
    assert max(sizes) < 2500


def test_bad_input_is_refused() -> None:
    for options in (dict(tolerance=-1), dict(num_resamples=-1), dict(canvas_share=0.0), dict(canvas_share=2)):
        with pytest.raises(InputError, match=next(iter(options))):
            ArtifactLocalization(**options)
    metric = ArtifactLocalization(print_table=False)
    sample = make_sample('FaceSwap', 0, 0).to_dict()
    for key in ('video_key', 'pred_score', 'pred_instances'):
        with pytest.raises(InputError, match=f'no {key}'):
            metric.process(None, [{k: v for k, v in sample.items() if k != key}])
    with pytest.raises(InputError, match=r'heat map of shape \(4, 4\)'):
        metric.process(None, [sample | {'pred_heat': torch.ones(4, 4)}])
    feed(metric, [make_sample('youtube', 0, 0)])
    with pytest.raises(InputError, match='of 0 fake frames 0 have no mask'):
        metric.evaluate(1)
    assert metric.results == []


def _worker(rank: int, world: int, folder: Path) -> None:
    """One process of the distributed test below."""
    os.chdir(folder)
    torch_dist.init_process_group(
        'gloo', init_method=f'file://{folder}/rendezvous', rank=rank, world_size=world
    )
    samples = make_samples(seed=1)
    # Like a sampler that rounds up, the last slots repeat the first samples.
    padded = samples + samples[: -len(samples) % world]
    metric = ArtifactLocalization(samples_file=folder / 'shared.parquet', print_table=False)
    feed(metric, padded[rank::world])
    results: dict[str, Any] = {'metrics': metric.evaluate(len(samples))}
    # An error on the main process must end the other one too, not leave it waiting.
    metric = ArtifactLocalization()
    feed(metric, [sample for sample in padded[rank::world] if sample.method == 'youtube'])
    try:
        metric.evaluate(len(samples))
    except InputError as error:
        results['error'] = str(error)
    torch.save(results, folder / f'rank{rank}.pt')
    torch_dist.destroy_process_group()


def test_two_processes_give_the_metrics_of_one(tmp_path: Path) -> None:
    env = {**os.environ, 'OMP_NUM_THREADS': '1'}
    workers = [
        subprocess.Popen([sys.executable, __file__, str(rank), '2', str(tmp_path)], env=env)
        for rank in range(2)
    ]
    assert [worker.wait(timeout=120) for worker in workers] == [0, 0]
    samples = make_samples(seed=1)
    alone = ArtifactLocalization(samples_file=tmp_path / 'alone.parquet', print_table=False)
    feed(alone, samples)
    metrics = alone.evaluate(len(samples))
    assert (tmp_path / 'shared.parquet').read_bytes() == (tmp_path / 'alone.parquet').read_bytes()
    for rank in range(2):
        results = torch.load(tmp_path / f'rank{rank}.pt', weights_only=True)
        assert results['metrics'] == metrics
        assert 'nothing to compare' in results['error']


if __name__ == '__main__':
    _worker(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
