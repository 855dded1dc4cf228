# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData

from iid_mm.errors import InputError
from iid_mm.models import ArtifactHead
from iid_mm.registry import MODELS

SIDES = (7, 5, 3, 1)
WHOLE = [0.0, 0, 224, 224]


def build(cfg: dict[str, Any], **changes: Any) -> ArtifactHead:
    head: ArtifactHead = MODELS.build(ConfigDict({**cfg, **changes}))
    return head


def instances(boxes: list[list[float]]) -> InstanceData:
    return InstanceData(
        bboxes=torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        labels=torch.zeros(len(boxes), dtype=torch.int64),
    )


def metas(n: int, side: int = 224) -> list[dict[str, Any]]:
    return [dict(img_shape=(side, side), pad_shape=(side, side)) for _ in range(n)]


def random_maps(n: int, seed: int = 0) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    cls = [torch.randn(n, 4, s, s, generator=generator, requires_grad=True) for s in SIDES]
    reg = [torch.randn(n, 8, s, s, generator=generator, requires_grad=True) for s in SIDES]
    return cls, reg


# The loss once more, in numpy, one image after the other.


def published_anchors() -> np.ndarray:
    anchors = []
    levels = [(7, 32, (40, 80)), (5, 45, (80, 120)), (3, 75, (120, 160)), (1, 224, (224, 224))]
    for side, step, (short, long) in levels:
        for row in range(side):
            for column in range(side):
                for w, h in ((short, long), (long, short)):
                    cx, cy = (column + 0.5) * step, (row + 0.5) * step
                    anchors.append([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2])
    return np.array(anchors)


def iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    size = np.clip(
        np.minimum(a[:, None, 2:], b[None, :, 2:]) - np.maximum(a[:, None, :2], b[None, :, :2]), 0, None
    )
    both = size.prod(-1)
    area_a, area_b = (np.prod(x[:, 2:] - x[:, :2], axis=1) for x in (a, b))
    return both / (area_a[:, None] + area_b[None] - both)


def match(boxes: np.ndarray) -> np.ndarray:
    """Number of the box of each anchor, -1 for background."""
    anchors = published_anchors()
    assigned = np.full(len(anchors), -1)
    if len(boxes):
        overlaps = iou(anchors, boxes)
        best = overlaps.argmax(axis=1)
        assigned = np.where(overlaps.max(axis=1) >= 0.5, best, -1)
        for number in range(len(boxes)):
            assigned[overlaps[:, number].argmax()] = number
    return assigned


def encode(anchor: np.ndarray, box: np.ndarray) -> np.ndarray:
    center, size = (anchor[:2] + anchor[2:]) / 2, anchor[2:] - anchor[:2]
    box_center, box_size = (box[:2] + box[2:]) / 2, box[2:] - box[:2]
    return np.concatenate([(box_center - center) / size / 0.1, np.log(box_size / size) / 0.2])


def flatten(maps: list[torch.Tensor], image: int, channels: int) -> np.ndarray:
    rows = []
    for level in maps:
        values = level[image].detach().double().numpy()
        for row in range(values.shape[1]):
            for column in range(values.shape[2]):
                rows += values[:, row, column].reshape(-1, channels).tolist()
    return np.array(rows)


def expected_losses(
    cls: list[torch.Tensor],
    reg: list[torch.Tensor],
    boxes: list[list[list[float]]],
    genuine_negatives: int,
    ratio: float = 2.0,
) -> tuple[float, float]:
    anchors = published_anchors()
    cls_sum = reg_sum = count = 0.0
    for image, image_boxes in enumerate(boxes):
        targets = np.array(image_boxes).reshape(-1, 4)
        assigned = match(targets)
        logits, offsets = flatten(cls, image, 2), flatten(reg, image, 4)
        log_probabilities = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        positive = assigned >= 0
        cls_sum += -log_probabilities[positive, 0].sum()
        negatives = np.sort(-log_probabilities[~positive, 1])[::-1]
        quota = int(ratio * positive.sum()) if len(targets) else genuine_negatives
        cls_sum += negatives[:quota].sum()
        for anchor in np.flatnonzero(positive):
            difference = np.abs(offsets[anchor] - encode(anchors[anchor], targets[assigned[anchor]]))
            reg_sum += np.where(difference < 1, 0.5 * difference**2, difference - 0.5).sum()
        count += positive.sum() if len(targets) else genuine_negatives / ratio
    return 0.1 * cls_sum / max(count, 1), 0.1 * reg_sum / max(count, 1)


BATCH = [
    [WHOLE, [30.0, 60, 110, 180]],
    [],
    [WHOLE],
    [WHOLE, [100.0, 20, 140, 100]],
    [],
]


def test_anchors_are_the_published_ones(head_cfg: dict[str, Any]) -> None:
    head = build(head_cfg)
    priors = torch.cat(head.prior_generator.grid_priors([(s, s) for s in SIDES], device='cpu'))
    assert np.allclose(priors.numpy(), published_anchors())


def test_forward_shapes(head_cfg: dict[str, Any]) -> None:
    cls, reg = build(head_cfg)(tuple(torch.rand(2, 8, s, s) for s in SIDES))
    assert [tuple(c.shape) for c in cls] == [(2, 4, s, s) for s in SIDES]
    assert [tuple(r.shape) for r in reg] == [(2, 8, s, s) for s in SIDES]


def test_kernels_are_3_and_1_on_the_last_level(head_cfg: dict[str, Any]) -> None:
    head = build(head_cfg)
    for convs in (head.conv_cls, head.conv_reg):
        assert [conv.kernel_size for conv in convs] == [(3, 3), (3, 3), (3, 3), (1, 1)]
        assert all(conv.bias is not None for conv in convs)


def test_targets_by_hand(head_cfg: dict[str, Any]) -> None:
    """Four anchors of 32x32 on a canvas of 64; one box matches by overlap, one as the best there is."""
    head = build(
        head_cfg,
        kernel_sizes=(1,),
        anchor_generator=dict(type='ExplicitAnchorGenerator', strides=[32], sizes=[[(32, 32)]]),
    )
    anchors, flags = head.get_anchors([(2, 2)], metas(1, 64), device='cpu')
    # Overlap of the first box with the first anchor 0.75, of the second with the last anchor 0.25.
    gt = instances([[0, 0, 32, 24], [40, 40, 56, 56]])
    labels, _, targets, weights, *_ = head._get_targets_single(
        torch.cat(anchors[0]), torch.cat(flags[0]), gt, metas(1, 64)[0], None
    )
    assert labels.tolist() == [0, 1, 1, 0]
    assert weights.tolist() == [[1.0] * 4, [0.0] * 4, [0.0] * 4, [1.0] * 4]
    assert torch.allclose(targets[0], torch.tensor([0.0, -4 / 32 / 0.1, 0, np.log(0.75) / 0.2]).float())
    assert torch.allclose(targets[3], torch.tensor([0.0, 0, np.log(0.5) / 0.2, np.log(0.5) / 0.2]).float())


@pytest.mark.parametrize('genuine_negatives', [0, 3])
def test_loss_equals_an_independent_computation(head_cfg: dict[str, Any], genuine_negatives: int) -> None:
    head = build(head_cfg, genuine_negatives=genuine_negatives)
    cls, reg = random_maps(len(BATCH))
    losses = head.loss_by_feat(cls, reg, [instances(b) for b in BATCH], metas(len(BATCH)))
    loss_cls, loss_bbox = expected_losses(cls, reg, BATCH, genuine_negatives)
    assert losses['loss_cls'].item() == pytest.approx(loss_cls, rel=1e-5)
    assert losses['loss_bbox'].item() == pytest.approx(loss_bbox, rel=1e-5)


def test_hard_negatives_are_chosen_in_each_image(head_cfg: dict[str, Any]) -> None:
    head = build(head_cfg)
    losses = torch.tensor([[9.0, 8, 7, 6, 5], [1, 2, 3, 4, 5], [1, 2, 3, 4, 5]])
    positive = torch.tensor([[True, False, False, False, False], [False] * 5, [False] * 5])
    used = torch.ones(3, 5, dtype=torch.bool)
    used[0, 2] = False
    chosen = head._hard_negatives(losses, positive, used, torch.tensor([False, True, False]))
    # Image 0: twice its one positive, without the ignored anchor. Image 1 is genuine: 3. Image 2 has a
    # box but no positive anchor: none.
    assert chosen.tolist() == [
        [False, True, False, True, False],
        [False, False, True, True, True],
        [False] * 5,
    ]


def test_genuine_images_give_no_loss_at_zero(head_cfg: dict[str, Any]) -> None:
    head = build(head_cfg, genuine_negatives=0)
    cls, reg = random_maps(2)
    losses = head.loss_by_feat(cls, reg, [instances([])] * 2, metas(2))
    assert losses['loss_cls'].item() == 0
    assert losses['loss_bbox'].item() == 0
    # Distributed training needs a gradient for every parameter in every iteration.
    sum(losses.values()).backward()
    assert all(m.grad is not None for m in (*cls, *reg))


def test_genuine_images_train_the_background(head_cfg: dict[str, Any]) -> None:
    head = build(head_cfg, genuine_negatives=3)
    cls, reg = random_maps(1)
    losses = head.loss_by_feat(cls, reg, [instances([])], metas(1))
    assert losses['loss_cls'].item() > 0
    losses['loss_cls'].backward()
    gradients = torch.cat([m.grad.permute(0, 2, 3, 1).reshape(-1, 2) for m in cls])
    touched = gradients[gradients.abs().sum(dim=1) > 0]
    assert len(touched) == 3
    # Gradient descent lowers the artifact's logit (channel 0) and raises that of the background (1).
    assert (touched[:, 0] > 0).all()
    assert (touched[:, 1] < 0).all()


def test_whole_canvas_box_matches_both_anchors_of_the_last_level(head_cfg: dict[str, Any]) -> None:
    assert np.flatnonzero(match(np.array([WHOLE])) == 0).tolist() == [166, 167]


def test_loss_reaches_all_parameters(head_cfg: dict[str, Any], make_samples: Any) -> None:
    head = build(head_cfg)
    feats = tuple(torch.rand(3, 8, s, s) for s in SIDES)
    samples = make_samples([1, 0, 1], side=224, extra=[[30.0, 60, 110, 180]])
    losses = head.loss(feats, samples)
    assert set(losses) == {'loss_cls', 'loss_bbox'}
    sum(losses.values()).backward()
    assert all(p.grad is not None for p in head.parameters())


def test_predict_finds_a_box_once(head_cfg: dict[str, Any]) -> None:
    head = build(head_cfg)
    cls = [torch.zeros(1, 4, s, s) for s in SIDES]
    for level in cls:
        level[:, 1::2] = 9.0  # background
    reg = [torch.zeros(1, 8, s, s) for s in SIDES]
    # Row 3, column 2 of the 7x7 level: center (80, 112); first anchor 40x80. And both of the 1x1 level.
    cls[0][0, :2, 3, 2] = torch.tensor([5.0, 0.0])
    cls[3][0, :, 0, 0] = torch.tensor([4.0, 0, 3, 0])
    result = head.predict_by_feat(cls, reg, batch_img_metas=metas(1), rescale=False)[0]
    assert torch.allclose(result.bboxes, torch.tensor([[60.0, 72, 100, 152], WHOLE]), atol=1e-4)
    assert torch.allclose(result.scores, torch.sigmoid(torch.tensor([5.0, 4.0])))
    assert result.labels.tolist() == [0, 0]


def test_predicted_boxes_stay_inside_the_canvas(head_cfg: dict[str, Any], make_samples: Any) -> None:
    head = build(head_cfg)
    feats = tuple(100 * torch.randn(4, 8, s, s) for s in SIDES)
    samples = make_samples([1, 0, 1, 0], side=224)
    for result in head.predict(feats, samples, rescale=False):
        assert 0 < len(result.bboxes) <= 10
        assert result.bboxes.min() >= 0
        assert result.bboxes.max() <= 224


def test_other_losses_from_the_registry(head_cfg: dict[str, Any]) -> None:
    focal = dict(type='FocalLoss', use_sigmoid=True, loss_weight=1.0)
    head = build(head_cfg, loss_cls=focal, loss_bbox=dict(type='L1Loss', loss_weight=1.0))
    cls, reg = head(tuple(torch.rand(2, 8, s, s) for s in SIDES))
    assert cls[0].shape == (2, 2, 7, 7)
    losses = head.loss_by_feat(cls, reg, [instances([WHOLE]), instances([])], metas(2))
    assert all(torch.isfinite(v) and v > 0 for v in losses.values())


def test_wrong_number_of_levels(head_cfg: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r'made for 4 levels and got 2.*kernel_sizes'):
        build(head_cfg)((torch.rand(1, 8, 7, 7), torch.rand(1, 8, 5, 5)))


def test_kernels_and_anchors_must_agree(head_cfg: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r'names 2 levels and the anchor generator 4'):
        build(head_cfg, kernel_sizes=(3, 1))


@pytest.mark.parametrize('changes', [dict(neg_pos_ratio=0), dict(genuine_negatives=-1)])
def test_bad_numbers_are_errors(head_cfg: dict[str, Any], changes: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=next(iter(changes))):
        build(head_cfg, **changes)
