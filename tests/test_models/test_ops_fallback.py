# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import importlib.util
import sys
import types
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from mmdet.models.losses.focal_loss import py_sigmoid_focal_loss

from iid_mm.models import ops_fallback

BOXES = torch.tensor([[0.0, 0, 10, 10], [1, 0, 11, 10], [20, 0, 30, 10], [0, 0, 10, 5]])
SCORES = torch.tensor([0.6, 0.9, 0.3, 0.5])
# Overlaps with the best box (1): box 0 90/110, box 3 45/105.


def random_boxes(n: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    corner = 80 * torch.rand(n, 2, generator=generator) - 20
    boxes = torch.cat([corner, corner + 5 + 40 * torch.rand(n, 2, generator=generator)], dim=1)
    return boxes, torch.rand(n, generator=generator), torch.randint(0, 3, (n,), generator=generator)


def test_nms_by_hand() -> None:
    dets, inds = ops_fallback.nms(BOXES, SCORES, 0.5)
    assert inds.tolist() == [1, 3, 2]
    assert torch.equal(dets, torch.cat([BOXES, SCORES[:, None]], dim=1)[[1, 3, 2]])


def test_nms_options() -> None:
    assert ops_fallback.nms(BOXES, SCORES, 0.5, score_threshold=0.4)[1].tolist() == [1, 3]
    assert ops_fallback.nms(BOXES, SCORES, 0.5, max_num=1)[1].tolist() == [1]
    # Counting the end pixel: boxes [0, 9] and [9, 18] overlap in one column of 10, 10 / 190.
    touching = torch.tensor([[0.0, 0, 9, 9], [9, 0, 18, 9]])
    assert ops_fallback.nms(touching, torch.tensor([0.9, 0.8]), 0.05)[1].tolist() == [0, 1]
    assert ops_fallback.nms(touching, torch.tensor([0.9, 0.8]), 0.05, offset=1)[1].tolist() == [0]


def test_nms_of_arrays_gives_arrays() -> None:
    dets, inds = ops_fallback.nms(BOXES.numpy(), SCORES.numpy(), 0.5)
    assert isinstance(dets, np.ndarray)
    assert isinstance(inds, np.ndarray)
    assert inds.tolist() == [1, 3, 2]


def test_nms_of_nothing() -> None:
    dets, inds = ops_fallback.nms(torch.zeros(0, 4), torch.zeros(0), 0.5)
    assert tuple(dets.shape) == (0, 5)
    assert tuple(inds.shape) == (0,)


@pytest.mark.parametrize('seed', range(3))
def test_nms_against_torchvision(seed: int) -> None:
    boxes, scores, _ = random_boxes(60, seed)
    assert torch.equal(ops_fallback.nms(boxes, scores, 0.4)[1], torchvision.ops.nms(boxes, scores, 0.4))


@pytest.mark.parametrize('seed', range(3))
def test_batched_nms_against_torchvision(seed: int) -> None:
    boxes, scores, classes = random_boxes(60, seed)
    dets, inds = ops_fallback.batched_nms(boxes, scores, classes, dict(type='nms', iou_threshold=0.4))
    # Class by class, so that the oracle shares no trick with the function.
    kept = [
        rows[torchvision.ops.nms(boxes[rows], scores[rows], 0.4)]
        for rows in (torch.nonzero(classes == c)[:, 0] for c in range(3))
    ]
    expected = torch.cat(kept)
    expected = expected[scores[expected].argsort(descending=True)]
    assert torch.equal(inds, expected)
    assert torch.equal(dets[:, :4], boxes[expected])
    assert torch.equal(dets[:, 4], scores[expected])


def test_batched_nms_options() -> None:
    classes = torch.tensor([0, 1, 0, 0])
    cfg = dict(type='nms', iou_threshold=0.4)
    assert ops_fallback.batched_nms(BOXES, SCORES, classes, cfg)[1].tolist() == [1, 0, 2]
    agnostic = ops_fallback.batched_nms(BOXES, SCORES, classes, cfg, class_agnostic=True)
    assert agnostic[1].tolist() == [1, 2]
    assert ops_fallback.batched_nms(BOXES, SCORES, classes, cfg | dict(class_agnostic=True))[1].tolist() == [
        1,
        2,
    ]
    assert ops_fallback.batched_nms(BOXES, SCORES, classes, cfg | dict(max_num=2))[1].tolist() == [1, 0]
    assert ops_fallback.batched_nms(BOXES, SCORES, classes, None)[1].tolist() == [1, 0, 3, 2]
    assert cfg == dict(type='nms', iou_threshold=0.4)


def test_batched_nms_of_nothing() -> None:
    cfg = dict(type='nms', iou_threshold=0.4)
    empty = torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.int64)
    assert tuple(ops_fallback.batched_nms(*empty, cfg)[0].shape) == (0, 5)


def test_unknown_nms_type() -> None:
    with pytest.raises(NotImplementedError, match="'soft_nms' needs mmcv with compiled operators"):
        ops_fallback.batched_nms(BOXES, SCORES, torch.zeros(4), dict(type='soft_nms', iou_threshold=0.4))


@pytest.mark.parametrize('reduction', ['none', 'mean', 'sum'])
def test_focal_loss_against_mmdet(reduction: str) -> None:
    generator = torch.Generator().manual_seed(0)
    pred = torch.randn(20, 3, generator=generator)
    target = torch.randint(0, 4, (20,), generator=generator)
    one_hot = torch.nn.functional.one_hot(target, 4)[:, :3]
    expected = py_sigmoid_focal_loss(pred, one_hot, gamma=1.5, alpha=0.3, reduction=reduction)
    loss = ops_fallback.sigmoid_focal_loss(pred, target, 1.5, 0.3, None, reduction)
    assert torch.allclose(loss, expected, rtol=1e-5)


def test_focal_loss_weights_the_class_of_the_target() -> None:
    pred, target = torch.zeros(2, 2), torch.tensor([0, 1])
    plain = ops_fallback.sigmoid_focal_loss(pred, target, reduction='none')
    weighted = ops_fallback.sigmoid_focal_loss(
        pred, target, weight=torch.tensor([1.0, 3.0]), reduction='none'
    )
    assert torch.allclose(weighted, plain * torch.tensor([[1.0], [3.0]]))


def test_stands_in_only_without_compiled_operators(monkeypatch: pytest.MonkeyPatch) -> None:
    import mmcv

    compiled = types.ModuleType('mmcv.ops')
    monkeypatch.setitem(sys.modules, 'mmcv.ops', compiled)
    monkeypatch.setattr(mmcv, 'ops', compiled, raising=False)
    real = importlib.util.find_spec

    def find_spec(name: str, *args: Any) -> Any:
        return object() if name == 'mmcv._ext' else real(name, *args)

    monkeypatch.setattr(importlib.util, 'find_spec', find_spec)
    assert ops_fallback.install() is False
    assert sys.modules['mmcv.ops'] is compiled


@pytest.mark.skipif(
    importlib.util.find_spec('mmcv._ext') is not None, reason='mmcv has compiled operators here'
)
def test_stand_in_is_in_place() -> None:
    import mmcv.ops
    from mmcv.ops import batched_nms, nms, sigmoid_focal_loss
    from mmcv.ops.nms import batched_nms as from_module

    assert ops_fallback.IS_FALLBACK
    assert ops_fallback.install() is True
    assert mmcv.ops.nms is nms is ops_fallback.nms
    assert batched_nms is from_module is ops_fallback.batched_nms
    assert sigmoid_focal_loss is ops_fallback.sigmoid_focal_loss
    with pytest.raises(ImportError):
        from mmcv.ops import deform_conv2d  # noqa: F401
