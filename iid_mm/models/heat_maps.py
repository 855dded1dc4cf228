# SPDX-License-Identifier: Apache-2.0
"""Heat maps of manipulation from all boxes of a dense head.

Letters: M boxes, H and W the height and width of the canvas in pixels. A box has the corners
(x0, y0, x1, y1), which are pixel edges: pixel (row r, column c) is the square from (c, r) to
(c + 1, r + 1). ``a_i(p)`` is the part of pixel p that box i covers (1 inside, 0 outside), ``A_i`` the
area of the box on the canvas and ``s_i`` its probability of being an artifact. The kinds of maps:

* ``noisy_or``: ``h(p) = 1 - prod_i (1 - s_i) ** a_i(p)``, the probability that at least one box at the pixel
  is an artifact if they are independent. Near 0 on a face without artifacts.
* ``density``: ``h(p) = sum_i s_i a_i(p) / A_i``. Each box spreads its probability evenly over its area, so
  that the map sums to ``sum_i s_i`` and small boxes stand out.
* ``max``: ``h(p) = max_i s_i a_i(p)``.
* ``mean``: ``h(p) = sum_i s_i a_i(p) / sum_i a_i(p)``; equal scores give a flat map.

A box of (almost) the whole canvas says that a face was manipulated, not where, and the training gives one to
every fake. Such boxes are left out, since they would hide all others in ``max`` and ``noisy_or``. Pixels
outside all boxes are 0.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from mmdet.models.dense_heads.base_dense_head import BaseDenseHead
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData

from iid_mm.errors import InputError
from iid_mm.utils.typing import Size

DEFAULT_HEAT_MAP = 'noisy_or'
CANVAS_SHARE = 0.9
"""Boxes with at least this share of the canvas count as the whole canvas."""
_TINY = torch.finfo(torch.float32).tiny
_CHUNK = 64
"""Boxes whose maps are in memory at the same time for ``max``."""


def _coverage(low: torch.Tensor, high: torch.Tensor, length: int) -> torch.Tensor:
    """Covered part of every pixel along one axis, (M, length)."""
    edge = torch.arange(length, device=low.device, dtype=low.dtype)
    overlap = torch.minimum(high[:, None], edge + 1) - torch.maximum(low[:, None], edge)
    return overlap.clamp(min=0)


def _sum_of(weights: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
    """Sum of separable maps, ``sum_i weights_i rows_i(y) columns_i(x)``, (H, W)."""
    return (rows * weights[:, None]).T @ columns


def _noisy_or(boxes: torch.Tensor, scores: torch.Tensor, size: Size) -> torch.Tensor:
    rows, columns = _coverages(boxes, size)
    # The logarithm must stay finite for a score of 1.
    evidence = -torch.log1p(-scores.clamp(max=1 - 1e-6))
    return -torch.expm1(-_sum_of(evidence, rows, columns))


def _density(boxes: torch.Tensor, scores: torch.Tensor, size: Size) -> torch.Tensor:
    rows, columns = _coverages(boxes, size)
    area = rows.sum(dim=1) * columns.sum(dim=1)
    return _sum_of(torch.where(area > 0, scores / area.clamp(min=_TINY), 0.0), rows, columns)


def _mean(boxes: torch.Tensor, scores: torch.Tensor, size: Size) -> torch.Tensor:
    rows, columns = _coverages(boxes, size)
    count = _sum_of(torch.ones_like(scores), rows, columns)
    return torch.where(count > 0, _sum_of(scores, rows, columns) / count.clamp(min=_TINY), 0.0)


def _max(boxes: torch.Tensor, scores: torch.Tensor, size: Size) -> torch.Tensor:
    heat = boxes.new_zeros(size[1], size[0])
    for start in range(0, len(boxes), _CHUNK):
        chosen = slice(start, start + _CHUNK)
        rows, columns = _coverages(boxes[chosen], size)
        maps = (rows * scores[chosen, None])[:, :, None] * columns[:, None, :]
        heat = torch.maximum(heat, maps.amax(dim=0))
    return heat


def _coverages(boxes: torch.Tensor, size: Size) -> tuple[torch.Tensor, torch.Tensor]:
    """Coverage of each box along y, (M, H), and along x, (M, W)."""
    return _coverage(boxes[:, 1], boxes[:, 3], size[1]), _coverage(boxes[:, 0], boxes[:, 2], size[0])


_KINDS: dict[str, Callable[[torch.Tensor, torch.Tensor, Size], torch.Tensor]] = {
    'noisy_or': _noisy_or,
    'density': _density,
    'max': _max,
    'mean': _mean,
}
HEAT_MAPS = tuple(_KINDS)
"""Names of the kinds of maps."""


def check_heat_map(kind: object) -> str:
    """Check the name of a kind of map.

    Raises:
        InputError: If it is unknown.
    """
    if not isinstance(kind, str) or kind not in _KINDS:
        raise InputError(f'heat_map={kind!r} is unknown; choose one of {", ".join(HEAT_MAPS)}')
    return kind


def box_heat_map(
    boxes: torch.Tensor,
    scores: torch.Tensor,
    size: Size,
    kind: str = DEFAULT_HEAT_MAP,
    canvas_share: float = CANVAS_SHARE,
) -> torch.Tensor:
    """Turn scored boxes into one map.

    Args:
        boxes: (M, 4) xyxy in pixels of the canvas; parts outside the canvas do not count.
        scores: (M,) probabilities of artifact.
        size: Canvas (w, h).
        kind: One of :data:`HEAT_MAPS`, see the module.
        canvas_share: Boxes that cover at least this share of the canvas are left out.

    Returns:
        (H, W) float32, not negative.

    Raises:
        InputError: ``kind`` is unknown.
    """
    make = _KINDS[check_heat_map(kind)]
    # Box coders may return half precision, in which areas overflow.
    corners, probabilities = boxes.float(), scores.float()
    limit = corners.new_tensor([size[0], size[1], size[0], size[1]])
    inside = torch.minimum(corners.clamp(min=0), limit)
    area = (inside[:, 2:] - inside[:, :2]).clamp(min=0).prod(dim=1)
    local = area < canvas_share * size[0] * size[1]
    return make(inside[local], probabilities[local], size)


def all_boxes(
    head: BaseDenseHead, outs: Sequence[Any], batch_img_metas: Sequence[dict[str, Any]]
) -> list[InstanceData]:
    """Decode the boxes of all anchors, without a threshold and without suppression.

    Args:
        head: Any dense head that predicts with the common routine of mmdet.
        outs: What its ``forward`` returned.
        batch_img_metas: For each image ``img_shape``, (h, w), to which boxes are clipped.

    Returns:
        For each image ``bboxes`` (M, 4) xyxy and ``scores`` (M,). With several classes every anchor
        appears once for each of them.
    """
    cfg = ConfigDict(copy.deepcopy(dict(head.test_cfg or {})))
    cfg.update(score_thr=-1.0, nms_pre=2**31 - 1, min_bbox_size=-1)
    found: list[InstanceData] = head.predict_by_feat(
        *outs, batch_img_metas=list(batch_img_metas), cfg=cfg, rescale=False, with_nms=False
    )
    return found


def head_heat_maps(
    head: BaseDenseHead,
    outs: Sequence[Any],
    batch_img_metas: Sequence[dict[str, Any]],
    kind: str = DEFAULT_HEAT_MAP,
) -> list[torch.Tensor]:
    """Heat maps of a batch, from all anchors of a dense head.

    Args:
        head: See :func:`all_boxes`.
        outs: What its ``forward`` returned.
        batch_img_metas: For each image ``img_shape``, (h, w).
        kind: One of :data:`HEAT_MAPS`.

    Returns:
        For each image an (H, W) float32 map on its canvas.

    Raises:
        InputError: ``kind`` is unknown.
    """
    check_heat_map(kind)
    maps = []
    for found, meta in zip(all_boxes(head, outs, batch_img_metas), batch_img_metas, strict=True):
        height, width = meta['img_shape'][:2]
        maps.append(box_heat_map(found.bboxes, found.scores, (int(width), int(height)), kind))
    return maps
