# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from iid_mm.errors import InputError
from robustness import VideoBatchSampler, VideoForgeryDataset


@pytest.mark.parametrize('size', [1, 2, 3, 7, 64])
@pytest.mark.parametrize('processes', [1, 2, 3])
def test_batches(
    size: int, processes: int, videos: VideoForgeryDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = 'robustness.video_batch_sampler.get_dist_info'
    parts = []
    for rank in range(processes):
        monkeypatch.setattr(module, lambda rank=rank: (rank, processes))
        sampler = VideoBatchSampler(SimpleNamespace(dataset=videos), size)
        parts.append(list(sampler))
        assert len(sampler) == len(parts[-1])
    batches = [parts[n % processes][n // processes] for n in range(sum(map(len, parts)))]
    assert [i for batch in batches for i in batch] == list(range(27))
    assert max(map(len, batches)) <= size
    if size >= 3:
        # No video lies in two batches.
        assert all(batch[0] % 3 == 0 and batch[-1] % 3 == 2 for batch in batches)
    monkeypatch.setattr(module, lambda: (0, 1))
    assert list(VideoBatchSampler(SimpleNamespace(dataset=videos), size)) == batches


def test_bad_batches(videos: VideoForgeryDataset) -> None:
    with pytest.raises(InputError, match='batch_size=0'):
        VideoBatchSampler(SimpleNamespace(dataset=videos), 0)


def test_workers_give_the_same(tiny_prepared: Path, iid_scope: None) -> None:
    load = dict(type='LoadForgeryPair', with_source=False)
    pipeline = [load, dict(type='DistortFace', kind='video_compression', level=4)]
    file = str(tiny_prepared / 'index.parquet')
    dataset = VideoForgeryDataset(ann_file=file, split='test', test_mode=True, pipeline=pipeline)
    found = {}
    for workers in (0, 2):
        loader = torch.utils.data.DataLoader(
            dataset,
            batch_sampler=VideoBatchSampler(SimpleNamespace(dataset=dataset), 7),
            num_workers=workers,
            collate_fn=list,
        )
        found[workers] = [sample['img'] for batch in loader for sample in batch]
    np.testing.assert_array_equal(found[0], found[2])
