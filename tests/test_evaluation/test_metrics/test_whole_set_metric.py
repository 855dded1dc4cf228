# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as torch_dist

from iid_mm.errors import InputError
from iid_mm.evaluation.metrics import ArtifactLocalization, ForgeryAUC
from iid_mm.structures import ForgeryDataSample
from support.localization import feed, make_samples


def samples_with_scores() -> list[ForgeryDataSample]:
    samples = make_samples(seed=1)
    for sample, logit in zip(samples, torch.randn(len(samples), generator=torch.manual_seed(0)), strict=True):
        probability = torch.sigmoid(logit + sample.gt_label[0])
        sample.pred_score = torch.stack([1 - probability, probability])
    return samples


def metrics_of(folder: Path, name: str) -> list[ForgeryAUC | ArtifactLocalization]:
    return [
        ForgeryAUC(scores_file=folder / f'{name}_scores.parquet', print_table=False),
        ArtifactLocalization(samples_file=folder / f'{name}_samples.parquet', print_table=False),
    ]


def _worker(rank: int, world: int, folder: Path) -> None:
    """One process of the distributed test below."""
    os.chdir(folder)
    # Not mmengine's init_dist: it selects a CUDA device even for gloo.
    torch_dist.init_process_group(
        'gloo', init_method=f'file://{folder}/rendezvous', rank=rank, world_size=world
    )
    samples = samples_with_scores()
    # 45 samples, 46 slots: like a sampler that rounds up, the last slot repeats the first sample.
    padded = samples + samples[: -len(samples) % world]
    per_rank = len(padded) // world
    parts = {'interleaved': padded[rank::world], 'contiguous': padded[rank * per_rank :][:per_rank]}
    results: dict[str, Any] = {}
    for name, mine in parts.items():
        results[name] = []
        for metric in metrics_of(folder, name):
            feed(metric, mine)
            results[name].append(metric.evaluate(len(samples)))
    # An error in the main process must end the other one too, not leave it waiting.
    results['errors'] = []
    for metric in (ForgeryAUC(), ArtifactLocalization()):
        feed(metric, [sample for sample in parts['interleaved'] if sample.method == 'youtube'])
        try:
            metric.evaluate(len(samples))
        except InputError as error:
            results['errors'].append(str(error))
    torch.save(results, folder / f'rank{rank}.pt')
    torch_dist.destroy_process_group()


@pytest.mark.slow
@pytest.mark.distributed
def test_two_processes_give_the_metrics_of_one(tmp_path: Path) -> None:
    env = {**os.environ, 'OMP_NUM_THREADS': '1', 'PYTHONPATH': os.pathsep.join(filter(None, sys.path))}
    workers = [
        subprocess.Popen([sys.executable, __file__, str(rank), '2', str(tmp_path)], env=env)
        for rank in range(2)
    ]
    assert [worker.wait(timeout=120) for worker in workers] == [0, 0]
    samples = samples_with_scores()
    expected = []
    for metric in metrics_of(tmp_path, 'alone'):
        feed(metric, samples)
        expected.append(metric.evaluate(len(samples)))
    ranks = [torch.load(tmp_path / f'rank{rank}.pt', weights_only=True) for rank in range(2)]
    for name in ('interleaved', 'contiguous'):
        assert [rank[name] for rank in ranks] == [expected, expected]
        for kind in ('scores', 'samples'):
            shared, alone = (tmp_path / f'{of}_{kind}.parquet' for of in (name, 'alone'))
            assert shared.read_bytes() == alone.read_bytes()
    for rank in ranks:
        one_class, no_masks = rank['errors']
        assert 'are genuine' in one_class
        assert 'nothing to compare' in no_masks


if __name__ == '__main__':
    _worker(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
