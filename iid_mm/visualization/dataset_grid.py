# SPDX-License-Identifier: Apache-2.0
"""A picture of the samples that a dataset gives to the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch

from iid_mm.errors import InputError
from iid_mm.structures import ForgeryDataSample
from iid_mm.utils.typing import ImageArray
from iid_mm.visualization.drawing import (
    BLUE,
    SKY,
    VERMILION,
    Color,
    draw_boxes,
    fit_image,
    image_grid,
)


class Dataset(Protocol):
    """What is needed of a dataset: a length and packed samples."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Mapping[str, Any]: ...


def evenly_chosen(total: int, num: int) -> list[int]:
    """Up to ``num`` different indices, evenly spaced from the first to the last of ``total``."""
    if total < 1 or num < 1:
        raise InputError(f'num={num} samples of {total}: both must be at least 1')
    return np.unique(np.linspace(0, total - 1, min(num, total)).round().astype(int)).tolist()


def sample_panel(sample: Mapping[str, Any], cell: int = 224) -> tuple[ImageArray, list[str], Color]:
    """Draw one packed sample.

    Args:
        sample: ``inputs`` (3, H, W) uint8, BGR, and ``data_samples``, a ``ForgeryDataSample``.
        cell: Longer edge of the drawn image, pixels.

    Returns:
        The image with the artifact boxes, its caption (class and method, video and frame, and for
        fakes what the facial swap did), and the color of its class.

    Raises:
        InputError: The sample is not packed as above.
    """
    inputs, data_sample = sample.get('inputs'), sample.get('data_samples')
    if not isinstance(inputs, torch.Tensor) or not isinstance(data_sample, ForgeryDataSample):
        raise InputError(
            f'a sample has {", ".join(sorted(sample))}; the pipeline must end with a packing '
            'transform that gives inputs (tensor) and data_samples (ForgeryDataSample)'
        )
    if inputs.dtype != torch.uint8:
        raise InputError(
            f'inputs are {inputs.dtype}; pictures need torch.uint8, leave normalizing to the '
            'data preprocessor'
        )
    image = np.ascontiguousarray(inputs.permute(1, 2, 0).numpy())
    drawn, factor = fit_image(image, (cell, cell))
    fake = 'gt_label' in data_sample and int(data_sample.gt_label) == 1
    if 'gt_instances' in data_sample and len(data_sample.gt_instances) > 0:
        boxes = np.asarray(data_sample.gt_instances.bboxes, dtype=np.float64) * factor
        # The whole-canvas box is on most fakes: pale, so that the window stands out.
        area = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
        colors = [SKY if part > 0.95 * drawn.shape[0] * drawn.shape[1] else VERMILION for part in area]
        drawn = draw_boxes(drawn, boxes, color=colors)
    method = str(data_sample.get('method', ''))
    title = f'{"fake" if fake else "genuine"}  {method}'.strip()
    video = str(data_sample.get('video_key', '')).split('/')[-1]
    caption = [title, f'{video}  frame {data_sample.get("frame", "?")}']
    if fake and 'swap_kind' in data_sample:
        caption.append(str(data_sample.swap_kind).replace('_', ' '))
    return drawn, caption, VERMILION if fake else BLUE


def dataset_grid(
    dataset: Dataset, indices: Sequence[int], *, columns: int = 8, cell: int = 224
) -> ImageArray:
    """Draw samples of a dataset in a grid.

    Args:
        dataset: The dataset, with its pipeline.
        indices: The samples, see :func:`evenly_chosen`.
        columns: Samples in a row.
        cell: Longer edge of a sample, pixels.

    Returns:
        The picture, BGR.
    """
    panels = [sample_panel(dataset[index], cell) for index in indices]
    images, captions, accents = zip(*panels, strict=True)
    return image_grid(images, captions, columns, cell, accents=accents)
