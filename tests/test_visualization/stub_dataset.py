# SPDX-License-Identifier: Apache-2.0
"""Packed samples without files."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from mmengine.structures import InstanceData

from iid_mm.structures import ForgeryDataSample


class StubDataset:
    """Packed samples of a random pixel each, every third one genuine."""

    def __init__(self, length: int = 20) -> None:
        self.length = length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict[str, Any]:
        fake = index % 3 > 0
        sample = ForgeryDataSample(
            metainfo={
                'method': 'A' if fake else 'youtube',
                'video_key': f'toy/A/raw/{index}',
                'frame': 7,
                'swap_kind': 'fake_into_genuine',
            }
        )
        sample.gt_label = torch.tensor([int(fake)])
        boxes = [[16.0, 8.0, 48.0, 40.0], [0.0, 0.0, 64.0, 64.0]] if fake else []
        sample.gt_instances = InstanceData(bboxes=torch.tensor(boxes).reshape(-1, 4))
        inputs = torch.full((3, 64, 64), int(np.random.randint(256)), dtype=torch.uint8)
        return {'inputs': inputs, 'data_samples': sample}
