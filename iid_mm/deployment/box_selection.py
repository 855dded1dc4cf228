# SPDX-License-Identifier: Apache-2.0
"""Choice of boxes among all anchors, as in mmdet's dense heads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmengine.structures import InstanceData

# Registers a stand-in for mmcv.ops if mmcv has no compiled operators.
import iid_mm.models  # noqa: F401


def select_boxes(
    boxes: torch.Tensor,
    scores: torch.Tensor,
    factors: torch.Tensor | None,
    level_sizes: Sequence[int],
    test_cfg: Mapping[str, Any],
) -> InstanceData:
    """Apply score threshold, limits and non-maximum suppression to one image.

    Args:
        boxes: (M, 4) xyxy in pixels, level by level.
        scores: (M,) probabilities of artifact.
        factors: (M,) that scores are multiplied by after the threshold, or None.
        level_sizes: Number of anchors of each level.
        test_cfg: ``score_thr``, ``nms_pre`` (boxes a level before suppression), ``min_bbox_size``,
            ``nms`` and ``max_per_img``, as in the test config of an mmdet head.

    Returns:
        ``bboxes`` (m, 4), ``scores`` (m,) and ``labels`` (m,) of the chosen boxes, best first.
    """
    from mmcv.ops import batched_nms

    kept = _candidates(scores, level_sizes, test_cfg.get('score_thr', 0), test_cfg.get('nms_pre', -1))
    found = InstanceData()
    found.bboxes = boxes[kept]
    found.scores = scores[kept]
    found.labels = torch.zeros_like(kept)
    if factors is not None:
        found.scores = found.scores * factors[kept]
    smallest = test_cfg.get('min_bbox_size', -1)
    if smallest >= 0:
        found = found[(found.bboxes[:, 2:] - found.bboxes[:, :2] > smallest).all(dim=1)]
    if not len(found):
        return found
    scored, chosen = batched_nms(found.bboxes, found.scores, found.labels, dict(test_cfg['nms']))
    found = found[chosen]
    found.scores = scored[:, -1]
    return found[: test_cfg['max_per_img']]


def _candidates(
    scores: torch.Tensor, level_sizes: Sequence[int], threshold: float, limit: int
) -> torch.Tensor:
    """Indices of the boxes above the threshold, at most ``limit`` a level, best first."""
    chosen = []
    start = 0
    for level in scores.split(list(level_sizes)):
        above = (level > threshold).nonzero()[:, 0]
        order = level[above].sort(descending=True)[1]
        # As in mmdet, where -1 (no limit) drops the weakest box of each level.
        chosen.append(start + above[order[: min(limit, len(order))]])
        start += len(level)
    return torch.cat(chosen)
