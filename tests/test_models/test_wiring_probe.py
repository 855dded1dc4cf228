# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import copy
from typing import Any

import pytest
import torch

from iid_mm.errors import InputError
from iid_mm.models.detectors import wiring_probe
from iid_mm.registry import MODELS

SIZE = (112, 112)


def build(cfg: dict[str, Any], **parts: dict[str, Any]) -> Any:
    cfg = copy.deepcopy(cfg)
    for name, options in parts.items():
        if options.get('_delete_', False):
            cfg[name] = {key: value for key, value in options.items() if key != '_delete_'}
        else:
            cfg[name].update(options)
    return MODELS.build(cfg)


@pytest.fixture
def warnings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    messages: list[str] = []
    monkeypatch.setattr(wiring_probe, 'print_log', lambda text, **_: messages.append(text))
    return messages


def test_a_good_model_is_left_as_it_was(tiny_model_cfg: dict[str, Any], warnings: list[str]) -> None:
    model = build(tiny_model_cfg).train()
    before = copy.deepcopy(model.state_dict())
    model.check_wiring(SIZE)
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert warnings == []
    model.eval().check_wiring(SIZE)
    assert not model.training


def test_a_plain_classifier(tiny_model_cfg: dict[str, Any]) -> None:
    tiny_model_cfg |= dict(neck=None, artifact_head=None)
    build(tiny_model_cfg, forgery_head=dict(artifact_channels=None)).check_wiring(SIZE)


FPN = dict(_delete_=True, type='mmdet.FPN', in_channels=[8, 16, 32], out_channels=16, num_outs=3)
RETINA = dict(
    _delete_=True,
    type='mmdet.RetinaHead',
    num_classes=1,
    in_channels=16,
    stacked_convs=1,
    anchor_generator=dict(
        type='AnchorGenerator', octave_base_scale=4, scales_per_octave=1, ratios=[1.0], strides=[4, 8, 16]
    ),
    bbox_coder=dict(type='DeltaXYWHBBoxCoder'),
)


def test_levels_of_mmdet(tiny_model_cfg: dict[str, Any], warnings: list[str]) -> None:
    parts = dict(backbone=dict(out_indices=(0, 1, 2)), neck=FPN, artifact_head=RETINA)
    build(tiny_model_cfg, **parts).check_wiring(SIZE)
    assert warnings == []


@pytest.mark.parametrize(
    ('parts', 'text'),
    [
        (
            dict(neck=dict(in_channels=64)),
            r'model.neck: ArtifactNeck expects 64 channels and got 32; .* \(so far: input 3x112x112; '
            r'backbone 32x7x7\)',
        ),
        (
            dict(neck=FPN),
            r'model.neck cannot take what comes before it: AssertionError: .*backbone 32x7x7',
        ),
        (
            dict(backbone=dict(out_indices=(0, 1, 2)), neck={**FPN, 'in_channels': [8, 16, 64]}),
            r'model.neck cannot take .*RuntimeError: .*backbone 8x28x28, 16x14x14, 32x7x7',
        ),
        (
            dict(artifact_head=dict(in_channels=24)),
            r'model.artifact_head cannot take .*RuntimeError: .*neck 16x7x7, 16x5x5, 16x3x3, 16x1x1',
        ),
        (
            dict(backbone=dict(out_indices=(0, 1, 2)), neck={**FPN, 'num_outs': 4}, artifact_head=RETINA),
            r'model.artifact_head was made for 3 levels .* and the neck gives 4 \(so far: .*neck 16x28x28, '
            r'16x14x14, 16x7x7, 16x4x4\)',
        ),
        (dict(forgery_head=dict(in_channels=64)), 'model.forgery_head: ForgeryHead expects 64 channels'),
        (
            dict(
                backbone=dict(
                    _delete_=True,
                    type='mmpretrain.VisionTransformer',
                    arch=dict(embed_dims=16, num_layers=1, num_heads=2, feedforward_channels=32),
                    img_size=112,
                    patch_size=16,
                )
            ),
            "model.backbone must give a tuple of .*backbone 16.*; for a vision .*out_type='featmap'",
        ),
    ],
)
def test_parts_that_do_not_fit(tiny_model_cfg: dict[str, Any], parts: dict[str, Any], text: str) -> None:
    model = build(tiny_model_cfg, **copy.deepcopy(parts)).train()
    with pytest.raises(InputError, match=text):
        model.check_wiring(SIZE)
    assert model.training


def test_strides_that_do_not_cover_the_image(tiny_model_cfg: dict[str, Any], warnings: list[str]) -> None:
    head = copy.deepcopy(tiny_model_cfg['artifact_head'])
    head['anchor_generator']['strides'] = [16, 22, 37, 56]
    tiny_model_cfg['artifact_head'] = head
    build(tiny_model_cfg).check_wiring(SIZE)
    assert len(warnings) == 1
    assert 'level 3 has 1x1 cells of stride (56, 56), which do not cover 112x112 px' in warnings[0]
