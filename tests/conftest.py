# SPDX-License-Identifier: Apache-2.0
"""A small model that all tests may build."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from mmengine.registry import DefaultScope

TINY_CHANNELS = 32

TINY_BACKBONE: dict[str, Any] = dict(
    type='mmpretrain.ResNet',
    depth=18,
    stem_channels=8,
    base_channels=8,
    # Stride 16: 112 px give the 7x7 map that the neck starts from.
    num_stages=3,
    strides=(1, 2, 2),
    dilations=(1, 1, 1),
    out_indices=(2,),
)

TINY_HEAD: dict[str, Any] = dict(
    type='ArtifactHead',
    in_channels=16,
    anchor_generator=dict(
        type='ExplicitAnchorGenerator',
        strides=[16, 22, 37, 112],
        sizes=[[(20, 40), (40, 20)], [(40, 60), (60, 40)], [(60, 80), (80, 60)], [(112, 112)] * 2],
    ),
    bbox_coder=dict(type='SSDBBoxCoder', target_means=[0.0] * 4, target_stds=[0.1, 0.1, 0.2, 0.2]),
    loss_cls=dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=0.1),
    loss_bbox=dict(type='SmoothL1Loss', beta=1.0, loss_weight=0.1),
)

TRAIN_CFG: dict[str, Any] = dict(
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
)

TEST_CFG: dict[str, Any] = dict(
    nms_pre=1000,
    min_bbox_size=0,
    score_thr=0.05,
    nms=dict(type='nms', iou_threshold=0.45),
    max_per_img=10,
)

TINY_MODEL: dict[str, Any] = dict(
    type='IIDDetector',
    data_preprocessor=dict(type='DetDataPreprocessor'),
    backbone=TINY_BACKBONE,
    neck=dict(type='ArtifactNeck', in_channels=TINY_CHANNELS, channels=16),
    artifact_head=TINY_HEAD,
    forgery_head=dict(type='ForgeryHead', in_channels=TINY_CHANNELS, artifact_channels=16),
    train_cfg=TRAIN_CFG,
    test_cfg=TEST_CFG,
)


@pytest.fixture
def tiny_model_cfg() -> dict[str, Any]:
    """Config of a detector with 0.1 M parameters for 112 px; a fresh copy."""
    return copy.deepcopy(TINY_MODEL)


@pytest.fixture
def iid_scope() -> Iterator[None]:
    """Make ``iid_mm`` the scope in which bare names are looked up."""
    with DefaultScope.overwrite_default_scope('iid_mm'):
        yield


@pytest.fixture
def make_samples() -> Callable[..., list[Any]]:
    """Make data samples from labels: fakes have the whole canvas as box and ``extra`` boxes."""

    def make(labels: list[int], side: int = 112, extra: Any = ()) -> list[Any]:
        from mmengine.structures import InstanceData

        from iid_mm.structures import ForgeryDataSample

        samples = []
        for label in labels:
            shape = (side, side)
            sample = ForgeryDataSample(metainfo=dict(img_shape=shape, ori_shape=shape, pad_shape=shape))
            boxes = [[0, 0, side, side], *extra] if label else []
            sample.gt_label = torch.tensor([label])
            sample.gt_instances = InstanceData(
                bboxes=torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
                labels=torch.zeros(len(boxes), dtype=torch.int64),
            )
            samples.append(sample)
        return samples

    return make


@pytest.fixture
def randomise() -> Callable[[torch.nn.Module], None]:
    """Give a model random batch norm statistics and affine parameters that keep signals alive."""

    def apply(model: torch.nn.Module, seed: int = 0) -> None:
        generator = torch.Generator().manual_seed(seed)
        for module in model.modules():
            if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
                shape = module.running_mean.shape
                module.running_mean.add_(0.1 * torch.randn(shape, generator=generator))
                module.running_var.mul_(0.8 + 0.4 * torch.rand(shape, generator=generator))
                module.weight.data.mul_(0.8 + 0.4 * torch.rand(shape, generator=generator))
                module.bias.data.add_(0.1 * torch.randn(shape, generator=generator))

    return apply
