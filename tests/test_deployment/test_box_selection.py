# SPDX-License-Identifier: Apache-2.0
"""Choosing boxes, worked by hand and against mmdet."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from mmengine.config import ConfigDict

from iid_mm.deployment.box_selection import select_boxes
from iid_mm.models.heat_maps import all_boxes
from iid_mm.registry import MODELS

BOXES = torch.tensor(
    [[0, 0, 10, 10], [1, 0, 11, 10], [50, 50, 60, 60], [20, 20, 20, 40], [70, 70, 90, 90]],
    dtype=torch.float32,
)
SCORES = torch.tensor([0.6, 0.8, 0.3, 0.9, 0.04])
SETTINGS = dict(
    score_thr=0.05, nms_pre=10, min_bbox_size=0, nms=dict(type='nms', iou_threshold=0.45), max_per_img=10
)


def chosen(factors: torch.Tensor | None = None, **settings: Any) -> list[list[float]]:
    found = select_boxes(BOXES, SCORES, factors, [2, 3], SETTINGS | settings)
    assert torch.equal(found.labels, torch.zeros(len(found), dtype=torch.int64))
    return [
        [round(float(score), 3), float(box[0])] for score, box in zip(found.scores, found.bboxes, strict=True)
    ]


def test_by_hand() -> None:
    # The first box overlaps the second, the fourth is empty, the fifth below the threshold.
    assert chosen() == [[0.8, 1], [0.3, 50]]
    assert chosen(nms=dict(type='nms', iou_threshold=0.9)) == [[0.8, 1], [0.6, 0], [0.3, 50]]
    assert chosen(max_per_img=1) == [[0.8, 1]]
    assert chosen(min_bbox_size=-1) == [[0.9, 20], [0.8, 1], [0.3, 50]]
    # One candidate a level: in the second it is the empty box.
    assert chosen(nms_pre=1) == [[0.8, 1]]
    assert chosen(score_thr=0.95) == []
    # Factors come after the threshold.
    assert chosen(torch.tensor([1.0, 0.5, 0.1, 1.0, 1.0])) == [[0.6, 0], [0.03, 50]]


@pytest.mark.parametrize(
    'settings', [{}, dict(nms_pre=7), dict(score_thr=0.3, max_per_img=3), dict(nms_pre=-1)]
)
def test_as_mmdet(settings: dict[str, Any], tiny_model_cfg: Any) -> None:
    torch.manual_seed(0)
    test_cfg = tiny_model_cfg['test_cfg'] | settings
    head = MODELS.build(ConfigDict(tiny_model_cfg['artifact_head'] | dict(test_cfg=test_cfg)))
    sides = (7, 5, 3, 1)
    outs = [[torch.randn(1, 2 * width, side, side) for side in sides] for width in (2, 4)]
    metas = [dict(img_shape=(112, 112))]
    (expected,) = head.predict_by_feat(*outs, batch_img_metas=metas)
    # Of all boxes mmdet gives those of a level best first: the order in a level does not matter here.
    (every,) = all_boxes(head, outs, metas)
    found = select_boxes(every.bboxes, every.scores, None, [2 * side**2 for side in sides], test_cfg)
    assert len(found) > 1
    torch.testing.assert_close(found.bboxes, expected.bboxes)
    torch.testing.assert_close(found.scores, expected.scores)
