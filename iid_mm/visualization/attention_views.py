# SPDX-License-Identifier: Apache-2.0
"""Maps of many faces, batch by batch: those of the decision beside those of the artifact head."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from mmengine.config import ConfigDict
from mmengine.dataset import pseudo_collate

from iid_mm.errors import InputError
from iid_mm.models import IIDDetector
from iid_mm.models.heat_maps import DEFAULT_HEAT_MAP, check_heat_map
from iid_mm.structures import ForgeryDataSample
from iid_mm.utils.typing import FloatArray, ImageArray
from iid_mm.visualization.attention import (
    BACKBONE,
    CAM_METHODS,
    TARGETS,
    check_attention_extra,
    class_maps,
)

ADM = 'adm'
METHODS = (*CAM_METHODS, ADM)
"""Methods of the tool."""


@dataclass(frozen=True)
class AttentionSettings:
    """Which maps are made.

    Attributes:
        method: One of :data:`METHODS`; ``adm`` makes the artifact head's map alone.
        layer: See :func:`~iid_mm.visualization.attention.usable_layers`.
        target: One of :data:`~iid_mm.visualization.attention.TARGETS`.
        heat_map: Kind of the artifact head's map, see :mod:`iid_mm.models.heat_maps`.
    """

    method: str = 'gradcam'
    layer: str = BACKBONE
    target: str = 'fake'
    heat_map: str = DEFAULT_HEAT_MAP


@dataclass(frozen=True)
class FaceView:
    """One face and its maps.

    Attributes:
        image: (H, W, 3), the canvas.
        sample: With the prediction.
        maps: (H, W) maps by method, not negative.
    """

    image: ImageArray
    sample: ForgeryDataSample
    maps: dict[str, FloatArray]

    @property
    def mask(self) -> FloatArray | None:
        """(H, W), 1 = manipulated; None on genuine faces and where there is none."""
        if 'gt_artifact_mask' not in self.sample or int(self.sample.get('gt_label', torch.zeros(1))) == 0:
            return None
        mask: FloatArray = self.sample.gt_artifact_mask.numpy()
        return mask if mask.any() else None


def check_settings(model: IIDDetector, settings: AttentionSettings) -> tuple[str, ...]:
    """Check settings against a model, and make the artifact head give its map.

    Args:
        model: The detector.
        settings: What is asked for.

    Returns:
        Methods whose maps every face gets: the chosen one, and ``adm`` where there is an artifact head.

    Raises:
        InputError: A name is unknown, or ``adm`` is asked of a detector without an artifact head.
        MissingExtraError: grad-cam is needed and not installed.
    """
    if settings.method not in METHODS:
        raise InputError(f'method={settings.method!r} is unknown; choose one of {", ".join(METHODS)}')
    if settings.target not in TARGETS:
        raise InputError(f'target={settings.target!r} is unknown; choose one of {", ".join(TARGETS)}')
    check_heat_map(settings.heat_map)
    if model.artifact_head is None and settings.method == ADM:
        raise InputError(
            "method='adm': the model has no artifact_head, whose map this is; choose one of "
            f'{", ".join(CAM_METHODS)}'
        )
    if settings.method != ADM:
        check_attention_extra()
    if model.artifact_head is None:
        return (settings.method,)
    head = model.artifact_head
    head.test_cfg = ConfigDict({**(head.test_cfg or {}), 'heat_map': settings.heat_map})
    return (settings.method,) if settings.method == ADM else (settings.method, ADM)


def face_views(
    model: IIDDetector,
    dataset: Any,
    indices: Sequence[int],
    settings: AttentionSettings,
    batch_size: int = 16,
) -> Iterator[FaceView]:
    """Make the maps of faces.

    Args:
        model: The detector in evaluation mode, for which :func:`check_settings` was called.
        dataset: Gives packed samples by number.
        indices: Which.
        settings: Which maps.
        batch_size: Faces that go through the model at once.

    Yields:
        The faces in order.
    """
    for start in range(0, len(indices), batch_size):
        batch = [dataset[index] for index in indices[start : start + batch_size]]
        data = model.data_preprocessor(pseudo_collate(batch), False)
        with torch.no_grad():
            predictions = model.predict(data['inputs'], data['data_samples'])
        cams = None
        if settings.method != ADM:
            cams = class_maps(model, data['inputs'], settings.method, settings.layer, settings.target)
        for number, (item, sample) in enumerate(zip(batch, predictions, strict=True)):
            maps: dict[str, FloatArray] = {}
            if cams is not None:
                maps[settings.method] = cams[number]
            if 'pred_heat' in sample:
                maps[ADM] = sample.pred_heat.detach().float().cpu().numpy()
            image = np.ascontiguousarray(item['inputs'].numpy().transpose(1, 2, 0))
            yield FaceView(image, sample.cpu().detach(), maps)


def method_title(method: str, settings: AttentionSettings) -> str:
    """What to write over a map."""
    if method == ADM:
        return f'ADM ({settings.heat_map})'
    return CAM_METHODS[method][1]
