# SPDX-License-Identifier: Apache-2.0
"""Parts of a config that do not go together: one line before training starts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

LORA = """
model = dict(backbone=dict(
    _delete_=True, type='LoRABackbone', targets=['query'],
    module=dict(type='mmpretrain.VisionTransformer', img_size=112, out_type='featmap', out_indices=(1, ),
                arch=dict(embed_dims=16, num_layers=2, num_heads=2, feedforward_channels=32))))
"""
FPN = """
model = dict(
    backbone=dict(out_indices=(0, 1, 2)),
    neck=dict(_delete_=True, type='mmdet.FPN', in_channels=[8, 16, 32], out_channels=16, num_outs=3))
"""
SAMPLER = """
train_dataloader = dict(
    dataset=dict(genuine_only=True), sampler=dict(_delete_=True, type='BalancedSampler', by='label'))
"""
DECAY = """
optim_wrapper = dict(constructor='mmpretrain.LearningRateDecayOptimWrapperConstructor',
                     paramwise_cfg=dict(layer_decay_rate=0.8))
model = dict(
    backbone=dict(_delete_=True, type='mmpretrain.MobileNetV2', widen_factor=0.25, out_indices=(4, )),
    neck=dict(in_channels=24), forgery_head=dict(in_channels=24))
"""


@pytest.mark.parametrize(
    ('text', 'parts'),
    [
        (
            'model = dict(neck=dict(in_channels=48))\n',
            ('model.neck: ArtifactNeck expects 48 channels and got 32', 'backbone 32x7x7'),
        ),
        (
            FPN,
            (
                'model.artifact_head was made for 4 levels',
                'the neck gives 3',
                'neck 16x28x28, 16x14x14, 16x7x7',
            ),
        ),
        (LORA, ("targets: 'query' names no linear layer of the backbone", "'layers.0.attn.qkv'")),
        (SAMPLER, ("by: 'label' asks for equal shares", 'no fake sample among its 8', 'genuine_only')),
        (
            "train_dataloader = dict(dataset=dict(backend_args=dict(backend='lmdb', db_path='/nowhere')))\n",
            ('backend_args', '/nowhere'),
        ),
        (
            "train_dataloader = dict(dataset=dict(backend_args=dict(backend='tape')))\n",
            ('backend_args', "'tape'"),
        ),
        (DECAY, ('MobileNetV2', 'get_layer_depth', 'DefaultOptimWrapperConstructor')),
    ],
    ids=('neck', 'levels', 'lora', 'sampler', 'lmdb', 'backend', 'decay'),
)
def test_one_line_that_says_what_to_change(
    text: str, parts: tuple[str, ...], call_tool: Any, tiny_config: Path, tmp_path: Path
) -> None:
    config = tmp_path / 'child.py'
    config.write_text(f"_base_ = '{tiny_config}'\n{text}")
    status, message = call_tool('train.py', config, '--work-dir', tmp_path / 'work')
    assert status == 1
    assert message.startswith('error: ')
    assert '\n' not in message
    for part in parts:
        assert part in message, message
    assert not list((tmp_path / 'work').glob('*.pth'))
