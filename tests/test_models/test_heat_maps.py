# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch

from iid_mm.errors import InputError
from iid_mm.models.heat_maps import DEFAULT_HEAT_MAP, HEAT_MAPS, all_boxes, box_heat_map, head_heat_maps
from iid_mm.registry import MODELS

SIDES = (7, 5, 3, 1)
# On a canvas of 4 x 2: two overlapping boxes and the whole canvas.
BOXES = torch.tensor([[0.0, 0, 2, 2], [1, 0, 3, 1], [0, 0, 4, 2]])
SCORES = torch.tensor([0.5, 0.25, 0.9])
EXPECTED = {
    'noisy_or': [[0.5, 0.625, 0.25, 0], [0.5, 0.5, 0, 0]],
    'density': [[0.125, 0.25, 0.125, 0], [0.125, 0.125, 0, 0]],
    'max': [[0.5, 0.5, 0.25, 0], [0.5, 0.5, 0, 0]],
    'mean': [[0.5, 0.375, 0.25, 0], [0.5, 0.5, 0, 0]],
}


@pytest.mark.parametrize('kind', HEAT_MAPS)
def test_by_hand(kind: str) -> None:
    heat = box_heat_map(BOXES, SCORES, (4, 2), kind)
    assert heat.shape == (2, 4)
    assert heat.dtype == torch.float32
    # The box of the whole canvas has no part in it.
    torch.testing.assert_close(heat, torch.tensor(EXPECTED[kind]), atol=1e-6, rtol=1e-6)


def test_the_default() -> None:
    assert DEFAULT_HEAT_MAP == 'noisy_or'
    assert torch.equal(box_heat_map(BOXES, SCORES, (4, 2)), box_heat_map(BOXES, SCORES, (4, 2), 'noisy_or'))


def test_whole_canvas_boxes_on_request() -> None:
    heat = box_heat_map(BOXES, SCORES, (4, 2), 'max', canvas_share=1.1)
    torch.testing.assert_close(heat, torch.full((2, 4), 0.9))
    assert not box_heat_map(BOXES[2:], SCORES[2:], (4, 2)).any()


@pytest.mark.parametrize('kind', HEAT_MAPS)
def test_edges_between_pixels(kind: str) -> None:
    """A box that covers a quarter of a pixel, and parts outside the canvas that do not count."""
    heat = box_heat_map(torch.tensor([[-5.0, -5, 0.5, 0.5]]), torch.tensor([0.75]), (4, 4), kind)
    value = {'noisy_or': 1 - 0.25**0.25, 'density': 0.75, 'max': 0.75 / 4, 'mean': 0.75}[kind]
    expected = torch.zeros(4, 4)
    expected[0, 0] = value
    torch.testing.assert_close(heat, expected)


def test_density_sums_to_the_scores() -> None:
    generator = torch.Generator().manual_seed(0)
    corner = 20 * torch.rand(50, 2, generator=generator)
    boxes = torch.cat([corner, corner + 1 + 8 * torch.rand(50, 2, generator=generator)], dim=1)
    scores = torch.rand(50, generator=generator)
    assert box_heat_map(boxes, scores, (30, 30), 'density').sum() == pytest.approx(
        float(scores.sum()), rel=1e-4
    )


@pytest.mark.parametrize('kind', HEAT_MAPS)
def test_against_plain_loops(kind: str) -> None:
    rng = np.random.default_rng(0)
    # More boxes than are in memory at once.
    low = rng.integers(0, 10, (150, 2))
    boxes = np.concatenate([low, low + rng.integers(1, 5, (150, 2))], axis=1).clip(max=12)
    scores = rng.random(150)
    expected = np.zeros((12, 12))
    for r in range(12):
        for c in range(12):
            held = [
                (s, (x1 - x0) * (y1 - y0))
                for (x0, y0, x1, y1), s in zip(boxes, scores, strict=True)
                if x0 <= c < x1 and y0 <= r < y1
            ]
            if held:
                s, area = np.array(held).T
                expected[r, c] = {
                    'noisy_or': 1 - np.prod(1 - s),
                    'density': (s / area).sum(),
                    'max': s.max(),
                    'mean': s.mean(),
                }[kind]
    heat = box_heat_map(torch.tensor(boxes), torch.tensor(scores), (12, 12), kind)
    np.testing.assert_allclose(heat.numpy(), expected, atol=1e-5)


@pytest.mark.parametrize('kind', HEAT_MAPS)
def test_no_boxes_and_special_scores(kind: str) -> None:
    assert not box_heat_map(torch.empty(0, 4), torch.empty(0), (3, 2), kind).any()
    # A box without area, a score of 1 and one of 0.
    boxes = torch.tensor([[1.0, 1, 1, 1], [0, 0, 1, 1], [1, 0, 2, 1]])
    heat = box_heat_map(boxes, torch.tensor([1.0, 1.0, 0.0]), (3, 2), kind)
    assert torch.isfinite(heat).all()
    torch.testing.assert_close(heat[0], torch.tensor([1.0, 0, 0]), atol=1e-5, rtol=0)
    assert not heat[1].any()


def test_half_precision() -> None:
    heat = box_heat_map(100 * BOXES.half(), SCORES.half(), (400, 200), 'density')
    assert heat.dtype == torch.float32
    assert float(heat[0, 0]) == pytest.approx(0.5 / 200**2, rel=1e-3)


def test_unknown_kind() -> None:
    with pytest.raises(InputError, match=r"heat_map='grad_cam' is unknown; choose one of noisy_or"):
        box_heat_map(BOXES, SCORES, (4, 2), 'grad_cam')


def anchor_maps(images: int) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    cls = [torch.zeros(images, 4, s, s) for s in SIDES]
    for level in cls:
        level[:, 1::2] = 30.0  # background
    return cls, [torch.zeros(images, 8, s, s) for s in SIDES]


def metas(images: int) -> list[dict[str, Any]]:
    return [dict(img_shape=(224, 224), pad_shape=(224, 224)) for _ in range(images)]


def test_all_anchors_of_the_head(head_cfg: dict[str, Any]) -> None:
    head = MODELS.build(head_cfg).eval()
    cls, reg = anchor_maps(2)
    # Image 1, row 3, column 2 of the 7x7 level: center (80, 112), first anchor 40x80.
    cls[0][1, :2, 3, 2] = 30.0
    found = all_boxes(head, (cls, reg), metas(2))
    # Below every threshold of the test config, and not suppressed.
    assert [len(f.bboxes) for f in found] == [168, 168]
    heat = head_heat_maps(head, (cls, reg), metas(2), 'max')
    assert float(heat[0].max()) < 1e-9
    expected = torch.zeros(224, 224)
    expected[72:152, 60:100] = 0.5
    torch.testing.assert_close(heat[1], expected)


RETINA = dict(
    type='RetinaHead',
    num_classes=1,
    in_channels=16,
    stacked_convs=1,
    feat_channels=8,
    anchor_generator=dict(
        type='AnchorGenerator',
        octave_base_scale=2,
        scales_per_octave=1,
        ratios=[1.0],
        strides=[16, 22, 37, 112],
    ),
    bbox_coder=dict(type='DeltaXYWHBBoxCoder'),
)


@pytest.mark.parametrize('other_head', [False, True])
def test_the_detector_makes_maps_only_when_asked(tiny_model_cfg: dict[str, Any], other_head: bool) -> None:
    torch.manual_seed(0)
    if other_head:
        tiny_model_cfg['artifact_head'] = dict(
            RETINA, in_channels=tiny_model_cfg['artifact_head']['in_channels']
        )
        tiny_model_cfg['train_cfg'] = None
    plain = MODELS.build(copy.deepcopy(tiny_model_cfg)).eval()
    tiny_model_cfg['test_cfg']['heat_map'] = 'density'
    asked = MODELS.build(tiny_model_cfg).eval()
    asked.load_state_dict(plain.state_dict())
    images = torch.rand(2, 3, 112, 112)
    with torch.no_grad():
        without, with_maps = plain.predict(images), asked.predict(images)
    for one, other in zip(without, with_maps, strict=True):
        assert 'pred_heat' not in one
        assert torch.equal(one.pred_instances.bboxes, other.pred_instances.bboxes)
        assert torch.equal(one.pred_instances.scores, other.pred_instances.scores)
        assert tuple(other.pred_heat.shape) == (112, 112)
        assert other.pred_heat.max() > 0
        assert 'pred_heat' in other.to_dict()


def test_other_dense_heads() -> None:
    """A head of mmdet with sigmoid scores; its maps need no method of its own."""
    head = MODELS.build(
        dict(
            type='mmdet.RetinaHead',
            num_classes=1,
            in_channels=8,
            stacked_convs=1,
            feat_channels=8,
            anchor_generator=dict(
                type='AnchorGenerator', octave_base_scale=2, scales_per_octave=1, ratios=[1.0], strides=[16]
            ),
            bbox_coder=dict(type='DeltaXYWHBBoxCoder'),
            test_cfg=dict(nms_pre=10, score_thr=0.5, min_bbox_size=0, nms=dict(type='nms'), max_per_img=1),
        )
    )
    cls = [torch.full((1, 1, 4, 4), -40.0)]
    cls[0][0, 0, 1, 2] = 0.0
    reg = [torch.zeros(1, 4, 4, 4)]
    meta = [dict(img_shape=(64, 64), pad_shape=(64, 64))]
    assert len(all_boxes(head, (cls, reg), meta)[0].bboxes) == 16
    heat = head_heat_maps(head, (cls, reg), meta, 'max')[0]
    expected = torch.zeros(64, 64)
    # Anchors of 32 px lie centered on the corners of their cells.
    expected[0:32, 16:48] = 0.5
    torch.testing.assert_close(heat, expected)
