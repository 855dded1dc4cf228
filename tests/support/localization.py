# SPDX-License-Identifier: Apache-2.0
"""Data samples of a model, and what the localization metric keeps of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from mmengine.evaluator import BaseMetric
from mmengine.structures import InstanceData

from iid_mm.evaluation.localization.maps import CENTER_SHARES, GRID, LEVELS
from iid_mm.evaluation.localization.samples import SCORED, LocalizationSample
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


def feed(metric: BaseMetric, samples: list[ForgeryDataSample], batch: int = 4) -> None:
    for start in range(0, len(samples), batch):
        metric.process(None, [sample.to_dict() for sample in samples[start : start + batch]])


def map_vector(pointing: float, energy: float, iou: float) -> np.ndarray:
    return np.array([pointing, energy, *[iou] * len(LEVELS)])


def square(row: int, column: int, side: int = 7) -> np.ndarray:
    cells = np.zeros((GRID, GRID), dtype=np.uint8)
    cells[row : row + side, column : column + side] = 1
    return cells


def make_frame(
    method: str = 'FaceSwap',
    video: str = '000_001',
    frame: int = 0,
    state: int = SCORED,
    boxes: Any = (),
    own: Any = (1.0, 0.8, 0.6),
    **changes: Any,
) -> LocalizationSample:
    maps = np.stack([map_vector(*own), map_vector(0.5, 0.4, 0.3), map_vector(0.25, 0.25, 0.25)])
    values: dict[str, Any] = dict(
        video_key=f'ffpp/{method}/c23/{video}',
        frame=frame,
        image=f'{method}/{video}/{frame}.png',
        dataset='ffpp',
        method=method,
        target_id=video[:3],
        state=state,
        score=0.9 if state else 0.1,
        boxes=np.array(boxes, dtype=np.float64).reshape(-1, 3),
        maps=maps if state == SCORED else np.empty((0, 2 + len(LEVELS))),
        center=np.linspace(0.1, 1.0, 10) if state == SCORED else np.zeros(len(CENTER_SHARES)),
        grid=b'',
        mask_grid=np.packbits(square(0, 0)).tobytes() if state == SCORED else b'',
    )
    return LocalizationSample(**(values | changes))
