# SPDX-License-Identifier: Apache-2.0
"""Faces with maps and masks."""

from __future__ import annotations

import numpy as np
import torch

from iid_mm.structures import ForgeryDataSample
from iid_mm.visualization.attention import FaceView

SIDE = 56


def make_view(
    method: str, video: str, heat: np.ndarray, *, target: str = '1', fake: bool = True, mask: bool = True
) -> FaceView:
    """A face of 56 px whose left half is manipulated."""
    sample = ForgeryDataSample(
        metainfo=dict(
            video_key=f'toy/{method}/c23/{video}',
            frame=3,
            dataset='toy',
            method=method,
            target_id=target,
            img_shape=(SIDE, SIDE),
            img_path=f'{video}.png',
        )
    )
    sample.gt_label = torch.tensor([int(fake)])
    sample.pred_score = torch.tensor([0.2, 0.8])
    if mask:
        region = torch.zeros(SIDE, SIDE, dtype=torch.uint8)
        region[:, : SIDE // 2] = int(fake)
        sample.gt_artifact_mask = region
    return FaceView(np.full((SIDE, SIDE, 3), 90, np.uint8), sample, {'gradcam': heat.astype(np.float32)})


def halves(left: float, right: float) -> np.ndarray:
    heat = np.full((SIDE, SIDE), right)
    heat[:, : SIDE // 2] = left
    return heat
