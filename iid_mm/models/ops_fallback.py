# SPDX-License-Identifier: Apache-2.0
"""Stand-ins for the compiled mmcv operators that dense detection heads need.

mmcv installed without a compiler has no ``mmcv._ext``, so ``import mmcv.ops`` fails. mmdet guards all imports
of it but one, so ``import mmdet.models`` fails too. This module, imported before it, provides a small
``mmcv.ops`` with ``nms``, ``batched_nms`` and ``sigmoid_focal_loss`` on torchvision's kernels, which suffice
for heads in plain PyTorch (SSD, RetinaNet, ATSS, FCOS, GFL). With compiled mmcv it does nothing.
"""

from __future__ import annotations

import importlib.util
import sys
import types
import warnings
from typing import Any

import numpy as np
import torch
import torchvision


def nms(
    boxes: torch.Tensor | np.ndarray,
    scores: torch.Tensor | np.ndarray,
    iou_threshold: float,
    offset: int = 0,
    score_threshold: float = 0,
    max_num: int = -1,
) -> tuple[Any, Any]:
    """Greedy non-maximum suppression with mmcv's interface.

    Args:
        boxes: (n, 4), xyxy.
        scores: (n,).
        iou_threshold: Boxes that overlap a better one by more are dropped.
        offset: 0 or 1; 1 counts the end pixel as inside (width = x1 - x0 + 1).
        score_threshold: Boxes at or below it are dropped first; 0 keeps all.
        max_num: Number of boxes to keep at most; negative keeps all.

    Returns:
        The kept boxes with scores, (m, 5), best first, and their indices (m,); arrays if the inputs are.
    """
    is_numpy = isinstance(boxes, np.ndarray)
    boxes_t, scores_t = torch.as_tensor(boxes), torch.as_tensor(scores)
    candidates = torch.arange(len(boxes_t), device=boxes_t.device)
    if score_threshold > 0:
        candidates = candidates[scores_t > score_threshold]
    kept_boxes = boxes_t[candidates].float()
    if offset:
        kept_boxes = kept_boxes + kept_boxes.new_tensor([0, 0, offset, offset])
    keep = torchvision.ops.nms(kept_boxes, scores_t[candidates].float(), float(iou_threshold))
    inds = candidates[keep]
    if max_num > 0:
        inds = inds[:max_num]
    dets = torch.cat([boxes_t[inds], scores_t[inds, None].to(boxes_t.dtype)], dim=1)
    if is_numpy:
        return dets.cpu().numpy(), inds.cpu().numpy()
    return dets, inds


def batched_nms(
    boxes: torch.Tensor,
    scores: torch.Tensor,
    idxs: torch.Tensor,
    nms_cfg: dict[str, Any] | None,
    class_agnostic: bool = False,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Non-maximum suppression within each class, with mmcv's interface.

    Args:
        boxes: (n, 4), xyxy.
        scores: (n,).
        idxs: (n,) class of each box; boxes of different classes never suppress one another.
        nms_cfg: ``type`` (only 'nms'), ``iou_threshold`` and optionally ``max_num``,
            ``score_threshold``, ``offset``, ``class_agnostic``; None keeps all, best first.
        class_agnostic: Whether classes are ignored.

    Returns:
        The kept boxes with scores, (m, 5), best first, and their indices (m,).

    Raises:
        NotImplementedError: For another NMS type (soft NMS needs compiled mmcv).
    """
    if nms_cfg is None:
        order = scores.argsort(descending=True)
        return torch.cat([boxes[order], scores[order, None]], dim=1), order
    options = dict(nms_cfg)
    kind = options.pop('type', 'nms')
    if kind != 'nms':
        raise NotImplementedError(
            f"NMS type '{kind}' needs mmcv with compiled operators; use dict(type='nms', ...) or install it"
        )
    class_agnostic = options.pop('class_agnostic', class_agnostic)
    options.pop('split_thr', None)
    shifted = boxes
    if not class_agnostic and boxes.numel():
        # Classes are shifted apart, as in torchvision, so that they do not overlap.
        shifted = boxes + (idxs.to(boxes) * (boxes.max() + 1 - boxes.min().clamp(max=0)))[:, None]
    _, keep = nms(shifted, scores, **options)
    return torch.cat([boxes[keep], scores[keep, None]], dim=1), keep


def sigmoid_focal_loss(
    pred: torch.Tensor,
    target: torch.Tensor,
    gamma: float = 2.0,
    alpha: float = 0.25,
    weight: torch.Tensor | None = None,
    reduction: str = 'mean',
) -> torch.Tensor:
    """Focal loss (Lin et al., ICCV 2017) with mmcv's interface, which mmdet calls for CUDA tensors.

    Args:
        pred: (n, classes) logits.
        target: (n,) int64 class; the number of classes stands for background.
        gamma: Focusing exponent.
        alpha: Weight of the positive class.
        weight: (classes,) class weights or None.
        reduction: 'none', 'mean' or 'sum'.

    Returns:
        (n, classes) losses, or their mean or sum.
    """
    one_hot = torch.nn.functional.one_hot(target, pred.shape[1] + 1)[:, :-1].to(pred)
    loss: torch.Tensor = torchvision.ops.sigmoid_focal_loss(
        pred, one_hot, alpha=alpha, gamma=gamma, reduction='none'
    )
    if weight is not None:
        loss = loss * weight[target.clamp(max=pred.shape[1] - 1)][:, None]
    if reduction == 'none':
        return loss
    return loss.mean() if reduction == 'mean' else loss.sum()


def line_nms(*args: Any, **kwargs: Any) -> Any:
    """Stand-in for the suppression of lane detectors, which only compiled mmcv has.

    Without it mmdet prints advice to recompile mmcv when its models are imported.

    Raises:
        NotImplementedError: Always.
    """
    raise NotImplementedError('line_nms needs mmcv with compiled operators')


class _FallbackOps(types.ModuleType):
    """Module ``mmcv.ops`` with the stand-ins; names without one raise ImportError on import."""

    __path__: list[str] = []


def install() -> bool:
    """Register the stand-in ``mmcv.ops`` if mmcv has no compiled operators.

    Returns:
        Whether the stand-in is in place.
    """
    if importlib.util.find_spec('mmcv._ext') is not None:
        return False
    present = sys.modules.get('mmcv.ops')
    if isinstance(present, _FallbackOps):
        return True
    import mmcv

    module = _FallbackOps('mmcv.ops', __doc__)
    # mmdet imports `batched_nms` from mmcv.ops and from mmcv.ops.nms; as in mmcv itself the attribute
    # `mmcv.ops.nms` is the function and the module of that name is found only through sys.modules.
    nms_module = types.ModuleType('mmcv.ops.nms')
    focal_module = types.ModuleType('mmcv.ops.focal_loss')
    homes = ((nms, nms_module), (batched_nms, nms_module), (sigmoid_focal_loss, focal_module))
    for function, home in homes:
        for owner in (module, home):
            setattr(owner, function.__name__, function)
    sys.modules.update({'mmcv.ops': module, 'mmcv.ops.nms': nms_module, 'mmcv.ops.focal_loss': focal_module})
    module.line_nms = line_nms  # type: ignore[attr-defined]
    mmcv.ops = module
    # mmcv warns that an operator of deformable attention is missing; nothing here needs it.
    warnings.filterwarnings('ignore', message='Fail to import ``MultiScaleDeformableAttention``')
    return True


IS_FALLBACK = install()
