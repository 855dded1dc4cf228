# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch.nn import functional as F


@pytest.fixture(autouse=True)
def _scope(iid_scope: None) -> None:
    pass


def _conv(weights: Mapping[str, torch.Tensor], name: str, x: torch.Tensor, padding: int = 0) -> torch.Tensor:
    return F.conv2d(x, weights[f'{name}.weight'], weights.get(f'{name}.bias'), padding=padding)


def _norm(weights: Mapping[str, torch.Tensor], name: str, x: torch.Tensor) -> torch.Tensor:
    column = (None, slice(None), None, None)
    scaled = (x - weights[f'{name}.running_mean'][column]) / (
        weights[f'{name}.running_var'][column] + 1e-5
    ).sqrt()
    return scaled * weights[f'{name}.weight'][column] + weights[f'{name}.bias'][column]


def adm_levels(weights: Mapping[str, torch.Tensor], x: torch.Tensor) -> list[torch.Tensor]:
    """The Artifact Detection Module in evaluation mode, written again from its description.

    Keys are '<level>.<layer>.<parameter>' with the layers conv1, bn1, conv2, bn2 and shortcut (with .0
    for the convolution and .1 for the norm in the first three levels).
    """
    levels = []
    for level in range(3):
        inner = torch.relu(_norm(weights, f'{level}.bn1', _conv(weights, f'{level}.conv1', x)))
        inner = _norm(weights, f'{level}.bn2', _conv(weights, f'{level}.conv2', inner, padding=1))
        skip = _norm(weights, f'{level}.shortcut.1', _conv(weights, f'{level}.shortcut.0', x))
        x = torch.relu(inner + skip)
        levels.append(x)
    inner = _conv(weights, '3.conv2', torch.relu(_conv(weights, '3.conv1', x)))
    levels.append(torch.relu(inner + _conv(weights, '3.shortcut', x)))
    return levels


@pytest.fixture
def adm_oracle() -> Callable[..., list[torch.Tensor]]:
    return adm_levels


@pytest.fixture
def head_cfg() -> dict[str, Any]:
    """Artifact head with the published anchors on 8 channels."""
    return dict(
        type='ArtifactHead',
        in_channels=8,
        anchor_generator=dict(
            type='ExplicitAnchorGenerator',
            strides=[32, 45, 75, 224],
            sizes=[
                [(40, 80), (80, 40)],
                [(80, 120), (120, 80)],
                [(120, 160), (160, 120)],
                [(224, 224), (224, 224)],
            ],
        ),
        bbox_coder=dict(type='SSDBBoxCoder', target_means=[0.0] * 4, target_stds=[0.1, 0.1, 0.2, 0.2]),
        loss_cls=dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=0.1),
        loss_bbox=dict(type='SmoothL1Loss', beta=1.0, loss_weight=0.1),
        train_cfg=dict(
            assigner=dict(
                type='MaxIoUAssigner',
                pos_iou_thr=0.5,
                neg_iou_thr=0.5,
                min_pos_iou=0.0,
                ignore_iof_thr=-1,
                gt_max_assign_all=False,
            ),
            sampler=dict(type='PseudoSampler'),
            allowed_border=-1,
            pos_weight=-1,
        ),
        test_cfg=dict(
            nms_pre=1000,
            min_bbox_size=0,
            score_thr=0.05,
            nms=dict(type='nms', iou_threshold=0.45),
            max_per_img=10,
        ),
    )
