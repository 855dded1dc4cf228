# SPDX-License-Identifier: Apache-2.0
"""Predictions of a model on samples of a dataset, as one picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from mmengine.dataset import pseudo_collate
from mmengine.model import BaseModel

from iid_mm.utils.typing import ImageArray
from iid_mm.visualization.drawing import image_grid
from iid_mm.visualization.forgery_visualizer import ForgeryVisualizer


def prediction_grid(
    model: BaseModel,
    dataset: Any,
    indices: Sequence[int],
    *,
    columns: int = 6,
    cell: int = 224,
    score_thr: float = 0.3,
    batch_size: int = 32,
) -> ImageArray:
    """Draw score and artifact boxes on samples.

    Args:
        model: The detector, in evaluation mode.
        dataset: The dataset, with its test pipeline.
        indices: The samples.
        columns: Samples in a row.
        cell: Edge of a sample, pixels.
        score_thr: Boxes with a lower score are not drawn.
        batch_size: Samples that go through the model at once.

    Returns:
        The picture, BGR.
    """
    visualizer = ForgeryVisualizer(size=cell)
    panels = []
    for start in range(0, len(indices), batch_size):
        batch = [dataset[index] for index in indices[start : start + batch_size]]
        with torch.no_grad():
            predictions = model.test_step(pseudo_collate(batch))
        for item, sample in zip(batch, predictions, strict=True):
            image = np.ascontiguousarray(item['inputs'].numpy().transpose(1, 2, 0))
            panels.append(visualizer.draw(image, sample, pred_score_thr=score_thr))
    height, width = np.max([panel.shape[:2] for panel in panels], axis=0)
    return image_grid(panels, columns=columns, cell=(int(width), int(height)))
