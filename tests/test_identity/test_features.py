# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from iid_mm.errors import InputError
from iid_mm.identity.features import FeatureExtractor, chosen_features, list_features, pool
from iid_mm.identity.probe_report import untrained_model
from iid_mm.utils.config import load_config


def test_pooling_by_hand() -> None:
    maps = torch.arange(8.0).reshape(1, 2, 2, 2)
    assert pool(maps).tolist() == [[1.5, 5.5]]
    assert pool((maps, 'shape')).tolist() == [[1.5, 5.5]]
    assert pool(torch.tensor([[[1.0, 2], [3, 6]]])).tolist() == [[2, 4]]
    with pytest.raises(InputError, match='str'):
        pool('map')


def test_features_are_those_of_the_network(tiny: tuple[Any, Any]) -> None:
    _, model = tiny
    inputs = torch.randint(0, 255, (3, 3, 112, 112), dtype=torch.uint8)
    found = FeatureExtractor(model)(inputs)
    assert {name: tuple(value.shape) for name, value in found.items()} == {
        'pixels': (3, 768),
        'backbone.layer1': (3, 8),
        'backbone.layer2': (3, 16),
        'backbone.layer3': (3, 32),
        'backbone': (3, 32),
        **{f'neck.{i}': (3, 16) for i in range(4)},
        'fused': (3, 32),
        'logits': (3, 2),
    }
    with torch.no_grad():
        predicted = model.test_step({'inputs': list(inputs), 'data_samples': None})
    scores = torch.stack([sample.pred_score for sample in predicted])
    torch.testing.assert_close(found['logits'].softmax(1), scores)
    torch.testing.assert_close(found['backbone'], found['backbone.layer3'])
    torch.testing.assert_close(
        model.forgery_head.fc(found['fused']).detach(), found['logits'], rtol=1e-4, atol=1e-5
    )
    assert not any(module._forward_hooks for module in model.modules())


def test_a_baseline_without_neck_has_features_too(tiny_config: Path) -> None:
    changes = {'model.neck': None, 'model.artifact_head': None, 'model.forgery_head.artifact_channels': None}
    cfg = load_config(tiny_config, changes)
    names = list_features(untrained_model(cfg, 0), cfg)
    assert [name for name in names if 'layer' not in name] == ['pixels', 'backbone', 'fused', 'logits']


def test_stages_of_other_backbones(tiny_config: Path) -> None:
    backbone = dict(_delete_=True, type='mmpretrain.MobileNetV2', widen_factor=0.5, out_indices=(4, 6))
    changes = {
        'model.backbone': backbone,
        'model.neck': None,
        'model.artifact_head': None,
        'model.forgery_head.artifact_channels': None,
        'model.forgery_head.in_channels': 160,
    }
    cfg = load_config(tiny_config, changes)
    names = list_features(untrained_model(cfg, 0), cfg)
    assert names['backbone'] == 160
    assert sum(name.startswith('backbone.') for name in names) >= 1


def test_names_are_checked() -> None:
    known = ['pixels', 'backbone', 'fused']
    assert chosen_features(None, known) == ['backbone', 'fused']
    assert chosen_features(['fused', 'pixels'], known) == ['pixels', 'fused']
    with pytest.raises(InputError, match=r'head.*unknown.*backbone'):
        chosen_features(['head'], known)
