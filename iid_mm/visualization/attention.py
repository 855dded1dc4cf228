# SPDX-License-Identifier: Apache-2.0
"""Maps of the decision beside those of the artifact head: computed batch by batch, and drawn face by face."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import torch
from mmengine.config import Config, ConfigDict
from mmengine.dataset import pseudo_collate

from iid_mm.datasets.forgery_dataset import ForgeryDataset
from iid_mm.datasets.functional.geometry import BinaryMask
from iid_mm.datasets.index import read_index
from iid_mm.datasets.on_index import dataset_on_index
from iid_mm.errors import InputError
from iid_mm.evaluation.localization.config import with_masks
from iid_mm.evaluation.localization.maps import map_metrics
from iid_mm.models import IIDDetector
from iid_mm.models.heat_maps import DEFAULT_HEAT_MAP, check_heat_map
from iid_mm.registry import DATASETS
from iid_mm.structures import ForgeryDataSample
from iid_mm.utils.files import safe_name
from iid_mm.utils.typing import FloatArray, ImageArray, Size
from iid_mm.visualization.class_maps import BACKBONE, CAM_METHODS, check_layer, class_maps, load_library
from iid_mm.visualization.drawing import BLUE, INK, VERMILION, draw_outline, fit_image, overlay_heat
from iid_mm.visualization.image_grid import add_caption, side_by_side
from iid_mm.visualization.sample_grids import canvas_of, video_name

ADM = 'adm'
METHODS = (*CAM_METHODS, ADM)
SCALES = ('auto', 'shared', 'own')


@dataclass(frozen=True)
class AttentionSettings:
    """The requested maps.

    Attributes:
        method: One of :data:`METHODS`; ``adm`` makes the artifact head's map alone.
        layer: See :func:`~iid_mm.visualization.class_maps.usable_layers`.
        target: One of :data:`~iid_mm.visualization.class_maps.TARGETS`.
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
    def mask(self) -> BinaryMask | None:
        """(H, W), 1 = manipulated; None on genuine faces and where there is none."""
        if 'gt_artifact_mask' not in self.sample or int(self.sample.get('gt_label', torch.zeros(1))) == 0:
            return None
        mask: BinaryMask = self.sample.gt_artifact_mask.numpy()
        return mask if mask.any() else None


def check_settings(model: IIDDetector, settings: AttentionSettings, size: Size) -> dict[str, str]:
    """Check settings against a model, and make the artifact head return its map.

    Args:
        model: The detector.
        settings: The requested maps.
        size: (w, h) of the canvas.

    Returns:
        Titles of the maps of every face by method: the chosen one, and ``adm`` where there is an artifact
        head.

    Raises:
        InputError: A name is unknown, or ``adm`` is asked of a detector without an artifact head.
        MissingExtraError: grad-cam is needed and not installed.
    """
    check_heat_map(settings.heat_map)
    head = model.artifact_head
    if settings.method == ADM and head is None:
        raise InputError(
            "method='adm': the model has no artifact_head, whose map this is; choose one of "
            f'{", ".join(CAM_METHODS)}'
        )
    titles = {}
    if settings.method != ADM:
        load_library()
        check_layer(model, settings.layer, size)
        titles[settings.method] = CAM_METHODS[settings.method][1]
    if head is not None:
        head.test_cfg = ConfigDict({**(head.test_cfg or {}), 'heat_map': settings.heat_map})
        titles[ADM] = f'ADM ({settings.heat_map})'
    return titles


def index_dataset(
    cfg: Config, index: str | os.PathLike[str], split: str, frames_per_video: int | None
) -> ForgeryDataset:
    """Faces of an index, prepared as the test set of a config, with masks where the index has some.

    Args:
        cfg: The config.
        index: An ``index.parquet``, or the folder that it is in.
        split: ``train``, ``val`` or ``test``.
        frames_per_video: At most this many frames of a video, evenly spaced; None: all.

    Returns:
        The dataset.

    Raises:
        FileNotFoundError: The index does not exist.
        InputError: The index is invalid or the split empty.
    """
    settings = dataset_on_index(cfg, index, split=split, frames_per_video=frames_per_video)
    table = read_index(settings.ann_file, columns=('label', 'split', 'mask'))
    masked = (pc.field('label') == 1) & (pc.field('split') == split) & pc.field('mask').is_valid()
    if table.filter(masked).num_rows:
        settings.pipeline = with_masks(settings.pipeline)
    dataset: ForgeryDataset = DATASETS.build(settings)
    return dataset


def face_views(
    model: IIDDetector,
    dataset: Any,
    indices: Sequence[int],
    settings: AttentionSettings,
    batch_size: int = 16,
) -> Iterator[FaceView]:
    """Compute the maps of faces.

    Args:
        model: The detector in evaluation mode, for which :func:`check_settings` was called.
        dataset: Returns packed samples by number.
        indices: Numbers of the faces.
        settings: The requested maps.
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
            yield FaceView(canvas_of(item), sample.cpu().detach(), maps)


def map_tops(views: Sequence[FaceView], scale: str = 'auto') -> list[dict[str, float]]:
    """Value of each map that gets the brightest color.

    Args:
        views: The faces of one sheet.
        scale: ``'shared'``: the highest value of the method on the sheet, so that a face without
            a response looks cold. ``'own'``: the highest value of the map itself. ``'auto'``: shared
            for the artifact head's map, whose values are probabilities, and own for the others, whose
            units mean nothing and differ widely from face to face.

    Returns:
        By method, for each face.

    Raises:
        InputError: ``scale`` is unknown.
    """
    if scale not in SCALES:
        raise InputError(f'scale={scale!r} is unknown; choose one of {", ".join(SCALES)}')
    own = [{method: float(heat.max()) for method, heat in view.maps.items()} for view in views]
    shared = {method: max(tops[method] for tops in own) for method in (own[0] if own else {})}
    common = [m for m in shared if scale == 'shared' or (scale == 'auto' and m == ADM)]
    return [{**tops, **{method: shared[method] for method in common}} for tops in own]


def filled(heat: FloatArray) -> FloatArray:
    """The map itself, or a flat one where it is 0 everywhere: it contains no more than chance."""
    return heat if np.any(heat > 0) else np.ones_like(heat)


def face_panel(
    view: FaceView, tops: Mapping[str, float], titles: Mapping[str, str], cell: int = 224
) -> ImageArray:
    """Draw one face: plain with the outline of its mask, then under each map.

    Args:
        view: The face.
        tops: Value of each map that gets the brightest color.
        titles: Titles of the maps by method.
        cell: Longer edge of a drawn face, pixels.

    Returns:
        The images in a row above a caption.
    """
    face, _ = fit_image(view.image, (cell, cell))
    mask = view.mask
    outlined = face if mask is None else draw_outline(face, mask)
    share = '' if mask is None else f'region {100 * float((mask > 0).mean()):.0f} % of the image'
    parts = [add_caption(outlined, ['face', share], size=13)]
    for method, heat in view.maps.items():
        top = tops[method]
        hot = overlay_heat(face, heat / top if top > 0 else heat)
        inside = f'highest {float(heat.max()):.2g}'
        if mask is not None:
            hot = draw_outline(hot, mask)
            inside = f'{100 * map_metrics(filled(heat), mask).energy:.0f} % inside, {inside}'
        parts.append(add_caption(hot, [titles.get(method, method), inside], size=13))
    accent = INK if 'gt_label' not in view.sample else VERMILION if int(view.sample.gt_label) == 1 else BLUE
    return add_caption(side_by_side(parts), _caption(view.sample), size=14, accent=accent)


def _caption(sample: ForgeryDataSample) -> list[str]:
    score = f'P(fake) {100 * float(sample.pred_score[1]):.0f} %'
    if 'gt_label' not in sample:
        return [score, Path(str(sample.get('img_path', ''))).name]
    kind = 'fake' if int(sample.gt_label) == 1 else 'genuine'
    where = f'{video_name(sample)} frame {sample.get("frame", "?")}'
    return [f'{kind} {sample.get("method", "")}, {score}', where]


def panel_name(number: int, view: FaceView) -> str:
    """File name of a drawn face: its number and content, without characters that are special in paths."""
    sample = view.sample
    if 'video_key' in sample:
        parts = [str(sample.get('method', '')), video_name(sample), f'{sample.get("frame", 0):05d}']
    else:
        parts = [Path(str(sample.get('img_path', 'image'))).stem]
    return f'{number:03d}_' + safe_name(re.sub(r'[^\w.-]+', '-', '_'.join(parts)), 100) + '.png'
