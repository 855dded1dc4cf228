# SPDX-License-Identifier: Apache-2.0
"""Grids of samples: as the model gets them, with predictions, and with heat maps beside masks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from mmengine.dataset import pseudo_collate
from mmengine.model import BaseModel

from iid_mm.errors import InputError
from iid_mm.evaluation.localization.maps import mask_box
from iid_mm.structures import ForgeryDataSample
from iid_mm.utils.sampling import evenly_spaced
from iid_mm.utils.typing import ImageArray
from iid_mm.visualization.drawing import (
    BLUE,
    GREEN,
    SKY,
    VERMILION,
    Color,
    draw_boxes,
    draw_outline,
    fit_image,
    overlay_heat,
)
from iid_mm.visualization.forgery_visualizer import ForgeryVisualizer
from iid_mm.visualization.image_grid import add_caption, image_grid, side_by_side

CELL = 224
"""Longer edge of a drawn face, pixels."""
_BATCH = 32
_LEGEND = (
    'Left: mask (green). Middle: heat map.',
    'Right: predicted boxes (orange) and the box of the mask (green).',
    'One scale of colors for all maps; "hottest" is the highest value of a map.',
)


def sample_panel(sample: Mapping[str, Any], cell: int = CELL) -> tuple[ImageArray, list[str], Color]:
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
            f'inputs are {inputs.dtype}; images need torch.uint8, leave normalizing to the data preprocessor'
        )
    drawn, factor = fit_image(canvas_of(sample), (cell, cell))
    fake = 'gt_label' in data_sample and int(data_sample.gt_label) == 1
    if 'gt_instances' in data_sample and len(data_sample.gt_instances) > 0:
        boxes = np.asarray(data_sample.gt_instances.bboxes, dtype=np.float64) * factor
        # The whole-canvas box is on most fakes: pale, so that the window stands out.
        area = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
        colors = [SKY if part > 0.95 * drawn.shape[0] * drawn.shape[1] else VERMILION for part in area]
        drawn = draw_boxes(drawn, boxes, color=colors)
    title = f'{"fake" if fake else "genuine"}  {data_sample.get("method", "")}'.strip()
    caption = [title, f'{video_name(data_sample)}  frame {data_sample.get("frame", "?")}']
    if fake and 'swap_kind' in data_sample:
        caption.append(str(data_sample.swap_kind).replace('_', ' '))
    return drawn, caption, VERMILION if fake else BLUE


def dataset_grid(dataset: Any, indices: Sequence[int], *, columns: int = 8, cell: int = CELL) -> ImageArray:
    """Draw samples as a dataset gives them to the model.

    Args:
        dataset: The dataset, with its pipeline.
        indices: The samples.
        columns: Samples in a row.
        cell: Longer edge of a sample, pixels.

    Returns:
        The grid, BGR.
    """
    panels = [sample_panel(dataset[index], cell) for index in indices]
    captions, accents = [caption for _, caption, _ in panels], [color for *_, color in panels]
    return image_grid([image for image, *_ in panels], captions, columns, cell, accents=accents)


def prediction_grid(
    model: BaseModel,
    dataset: Any,
    indices: Sequence[int],
    *,
    columns: int = 6,
    score_thr: float = 0.3,
) -> ImageArray:
    """Draw score and artifact boxes on samples.

    Args:
        model: The detector, in evaluation mode.
        dataset: The dataset, with its test pipeline.
        indices: The samples.
        columns: Samples in a row.
        score_thr: Boxes with a lower score are not drawn.

    Returns:
        The grid, BGR.
    """
    visualizer = ForgeryVisualizer(size=CELL)
    panels = [
        visualizer.draw(image, sample, pred_score_thr=score_thr)
        for image, sample in _predicted(model, dataset, indices)
    ]
    return image_grid(panels, columns=columns, cell=None)


def localization_panel(
    image: ImageArray, sample: ForgeryDataSample, *, top: float, score_thr: float = 0.3
) -> ImageArray:
    """Draw one face three times: with its mask, with the heat map, with the predicted boxes.

    Args:
        image: (H, W, 3), the canvas.
        sample: With ``pred_score``, ``pred_instances`` and ``pred_heat``; ``gt_artifact_mask`` where the
            face has one.
        top: Value of the map that gets the brightest color.
        score_thr: Boxes with a lower score are not drawn.

    Returns:
        The three in a row above a caption.
    """
    face, factor = fit_image(image, (CELL, CELL))
    truth = sample.gt_artifact_mask.numpy() if 'gt_artifact_mask' in sample else np.zeros(image.shape[:2])
    heat = sample.pred_heat.float().numpy()
    hot = draw_outline(overlay_heat(face, heat / top if top > 0 else heat), truth)
    found = sample.pred_instances
    scores = found.scores.float().numpy()
    kept = scores >= score_thr
    boxes = found.bboxes.float().numpy()[kept] * factor
    boxed = draw_boxes(face, boxes, scores[kept], VERMILION)
    box = mask_box(truth.astype(np.uint8))
    if box is not None:
        boxed = draw_boxes(boxed, box[None] * factor, color=GREEN)
    title = f'{sample.get("method", "")}  P(fake) {100 * float(sample.pred_score[1]):.0f} %'
    where = f'{video_name(sample)} frame {sample.get("frame", "?")}, hottest {float(heat.max()):.2g}'
    row = side_by_side([draw_outline(face, truth), hot, boxed])
    return add_caption(row, [title, where], size=14, accent=VERMILION if int(sample.gt_label) == 1 else BLUE)


def localization_grid(
    model: BaseModel,
    dataset: Any,
    indices: Sequence[int],
    *,
    columns: int = 2,
    score_thr: float = 0.3,
) -> ImageArray:
    """Draw masks, heat maps and boxes of samples.

    Args:
        model: The detector in evaluation mode, with ``heat_map`` in its test config.
        dataset: The dataset, whose test pipeline loads masks.
        indices: The samples.
        columns: Samples in a row.
        score_thr: Boxes with a lower score are not drawn.

    Returns:
        The grid, BGR.

    Raises:
        InputError: The model makes no heat maps.
    """
    shown = []
    for image, sample in _predicted(model, dataset, indices):
        if 'pred_heat' not in sample:
            raise InputError(
                'the model makes no heat maps; set model.test_cfg.heat_map (add_localization does) '
                'and use an ArtifactHead'
            )
        shown.append((image, sample))
    # One scale for all, so that a face without a response looks cold.
    top = max(float(sample.pred_heat.max()) for _, sample in shown)
    panels = [localization_panel(*part, top=top, score_thr=score_thr) for part in shown]
    return add_caption(image_grid(panels, columns=columns, cell=None), _LEGEND, size=15)


def chosen_samples(dataset: Any, num: int, *, masked: bool = False) -> list[int]:
    """Choose up to ``num`` evenly spaced samples of every manipulation, and as many genuine ones.

    Args:
        dataset: A :class:`~iid_mm.datasets.forgery_dataset.ForgeryDataset`.
        num: Samples of each kind.
        masked: Leave out fakes without a mask.

    Returns:
        Numbers of the samples, manipulation by manipulation, genuine ones last.

    Raises:
        InputError: ``masked``, and no fake has a mask.
    """
    kinds: dict[str, list[int]] = {}
    for index in range(len(dataset)):
        info = dataset.get_data_info(index)
        genuine = info['gt_label'] == 0
        if genuine or not masked or info.get('mask_path') is not None:
            kinds.setdefault('' if genuine else f'{info["dataset"]}/{info["method"]}', []).append(index)
    if masked and not any(kinds):
        raise InputError('no fake of the dataset has a mask; prepare it again with --masks')
    names = sorted(kinds, key=lambda name: (name == '', name))
    return [kinds[name][i] for name in names for i in evenly_spaced(len(kinds[name]), num)]


def _predicted(
    model: BaseModel, dataset: Any, indices: Sequence[int]
) -> Iterator[tuple[ImageArray, ForgeryDataSample]]:
    """Canvas and prediction of samples."""
    for start in range(0, len(indices), _BATCH):
        batch = [dataset[index] for index in indices[start : start + _BATCH]]
        with torch.no_grad():
            predictions = model.test_step(pseudo_collate(batch))
        for item, sample in zip(batch, predictions, strict=True):
            yield canvas_of(item), sample.cpu()


def canvas_of(item: Mapping[str, Any]) -> ImageArray:
    """Image of a packed sample, (H, W, 3)."""
    return np.ascontiguousarray(item['inputs'].numpy().transpose(1, 2, 0))


def video_name(sample: ForgeryDataSample) -> str:
    """Last part of the sample's video key."""
    return str(sample.get('video_key', '')).split('/')[-1]
