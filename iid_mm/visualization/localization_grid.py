# SPDX-License-Identifier: Apache-2.0
"""Where a detector looks, beside where a fake was manipulated, as one picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from mmengine.dataset import pseudo_collate
from mmengine.model import BaseModel

from iid_mm.errors import InputError
from iid_mm.evaluation.localization.maps import mask_box
from iid_mm.structures import ForgeryDataSample
from iid_mm.utils.typing import FloatArray, ImageArray
from iid_mm.visualization.dataset_grid import evenly_chosen
from iid_mm.visualization.drawing import (
    BLUE,
    GREEN,
    INK,
    VERMILION,
    add_caption,
    draw_boxes,
    fit_image,
    image_grid,
)

_GAP = 6
_LEGEND = (
    'Left: mask (green). Middle: heat map.',
    'Right: predicted boxes (orange) and the box of the mask (green).',
    'One scale of colors for all maps; "hottest" is the highest value of a map.',
)


def overlay_heat(image: ImageArray, heat: FloatArray, opacity: float = 0.6) -> ImageArray:
    """Lay a heat map over an image; where it is 0 the image stays as it is.

    Args:
        image: (H, W, 3).
        heat: (h, w), 0 to 1; it is enlarged to the image.
        opacity: Of the hottest places.

    Returns:
        A new image.
    """
    size = (image.shape[1], image.shape[0])
    share = cv2.resize(np.asarray(heat, dtype=np.float32), size, interpolation=cv2.INTER_LINEAR).clip(0, 1)
    # Dark violet to yellow: its brightness rises with the value, also in print.
    colors = cv2.applyColorMap((255 * share).round().astype(np.uint8), cv2.COLORMAP_INFERNO)
    weight = opacity * np.sqrt(share)[..., None]
    return ((1 - weight) * image + weight * colors).round().astype(np.uint8)


def outline(image: ImageArray, mask: npt.NDArray[Any]) -> ImageArray:
    """Draw the outline of a mask, (h, w), not 0 = inside, which is enlarged to the image."""
    size = (image.shape[1], image.shape[0])
    large = cv2.resize((mask > 0).astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
    contours, _ = cv2.findContours(large, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    drawn = image.copy()
    thickness = max(2, round(min(size) / 100))
    cv2.drawContours(drawn, contours, -1, INK, thickness + 1)
    cv2.drawContours(drawn, contours, -1, GREEN, thickness)
    return drawn


def localization_panel(
    image: ImageArray,
    sample: ForgeryDataSample,
    *,
    top: float | None = None,
    cell: int = 224,
    score_thr: float = 0.3,
) -> ImageArray:
    """Draw one face three times: with its mask, with the heat map, with the predicted boxes.

    Args:
        image: (H, W, 3), the canvas.
        sample: With ``pred_score``, ``pred_instances`` and ``pred_heat``; ``gt_artifact_mask`` where the
            face has one.
        top: Value of the map that gets the brightest color; None: its maximum.
        cell: Longer edge of a drawn face, pixels.
        score_thr: Boxes with a lower score are not drawn.

    Returns:
        The three in a row above a caption.
    """
    face, factor = fit_image(image, (cell, cell))
    truth = sample.gt_artifact_mask.numpy() if 'gt_artifact_mask' in sample else np.zeros(image.shape[:2])
    masked = outline(face, truth)
    heat = sample.pred_heat.float().numpy()
    hottest = float(heat.max())
    scale = hottest if top is None else top
    hot = outline(overlay_heat(face, heat / scale if scale > 0 else heat), truth)
    found = sample.pred_instances
    scores = found.scores.float().numpy()
    kept = scores >= score_thr
    boxed = draw_boxes(
        face, found.bboxes.float().numpy()[kept] * factor, scores=scores[kept], color=VERMILION
    )
    box = mask_box(truth.astype(np.uint8))
    if box is not None:
        boxed = draw_boxes(boxed, box[None] * factor, color=GREEN)
    gap = np.full((face.shape[0], _GAP, 3), 255, dtype=np.uint8)
    row = np.concatenate([masked, gap, hot, gap, boxed], axis=1)
    fake = int(sample.gt_label) == 1
    title = f'{sample.get("method", "")}  P(fake) {100 * float(sample.pred_score[1]):.0f} %'
    video = str(sample.get('video_key', '')).split('/')[-1]
    caption = f'{video} frame {sample.get("frame", "?")}, hottest {hottest:.2g}'
    return add_caption(row, [title, caption], size=14, accent=VERMILION if fake else BLUE)


def chosen_fakes(dataset: Any, num: int) -> list[int]:
    """Up to ``num`` evenly spaced fakes of every manipulation that have a mask, and genuine faces.

    Args:
        dataset: A :class:`~iid_mm.datasets.ForgeryDataset`.
        num: Samples of each kind.

    Returns:
        Numbers of the samples, manipulation by manipulation, genuine ones last.

    Raises:
        InputError: No fake has a mask.
    """
    kinds: dict[str, list[int]] = {}
    for index in range(len(dataset)):
        info = dataset.get_data_info(index)
        if info['gt_label'] == 0:
            kinds.setdefault('', []).append(index)
        elif info.get('mask_path') is not None:
            kinds.setdefault(f'{info["dataset"]}/{info["method"]}', []).append(index)
    names = sorted(kinds, key=lambda name: (name == '', name))
    if names in ([], ['']):
        raise InputError('no fake of the set has a mask; prepare the set again with --masks')
    return [kinds[name][i] for name in names for i in evenly_chosen(len(kinds[name]), num)]


def localization_grid(
    model: BaseModel,
    dataset: Any,
    indices: Sequence[int],
    *,
    columns: int = 2,
    cell: int = 224,
    score_thr: float = 0.3,
    batch_size: int = 32,
) -> ImageArray:
    """Draw masks, heat maps and boxes of samples.

    Args:
        model: The detector in evaluation mode, with ``heat_map`` in its test config.
        dataset: The dataset, whose test pipeline loads masks.
        indices: The samples.
        columns: Samples in a row.
        cell: Longer edge of a drawn face, pixels.
        score_thr: Boxes with a lower score are not drawn.
        batch_size: Samples that go through the model at once.

    Returns:
        The picture, BGR.

    Raises:
        InputError: The model makes no heat maps.
    """
    shown = []
    for start in range(0, len(indices), batch_size):
        batch = [dataset[index] for index in indices[start : start + batch_size]]
        with torch.no_grad():
            predictions = model.test_step(pseudo_collate(batch))
        for item, sample in zip(batch, predictions, strict=True):
            if 'pred_heat' not in sample:
                raise InputError(
                    'the model makes no heat maps; set model.test_cfg.heat_map (add_localization does) '
                    'and use an ArtifactHead'
                )
            image = np.ascontiguousarray(item['inputs'].numpy().transpose(1, 2, 0))
            shown.append((image, sample.cpu()))
    # One scale for all, so that a face that leaves the detector cold looks cold.
    top = max(float(sample.pred_heat.max()) for _, sample in shown)
    panels = [
        localization_panel(image, sample, top=top, cell=cell, score_thr=score_thr) for image, sample in shown
    ]
    height, width = np.max([panel.shape[:2] for panel in panels], axis=0)
    picture = image_grid(panels, columns=columns, cell=(int(width), int(height)))
    return add_caption(picture, _LEGEND, size=15)
