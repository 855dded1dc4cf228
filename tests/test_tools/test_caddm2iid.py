# SPDX-License-Identifier: Apache-2.0
"""tools/model_converters/caddm2iid.py"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from iid_mm.apis import init_model
from iid_mm.models.caddm import convert_caddm
from support.paths import REPOSITORY

TOOL = 'model_converters/caddm2iid.py'
CONFIG = REPOSITORY / 'configs/iid_r34_ffpp.py'


@pytest.fixture(scope='module')
def weights() -> dict[str, torch.Tensor]:
    """All keys of a ResNet-34 checkpoint; weights without memory."""
    renamed = {
        'backbone.': 'base_model.',
        'forgery_head.': '',
        'neck.blocks.': 'adm.adm_extra_layers.',
        'shortcut': 'downsample',
        'artifact_head.conv_cls': 'adm.multi_scale_detection_module.ms_cls',
        'artifact_head.conv_reg': 'adm.multi_scale_detection_module.ms_dets',
    }
    found = {}
    for name, value in init_model(CONFIG).state_dict().items():
        for ours, theirs in renamed.items():
            name = name.replace(ours, theirs)
        found[name] = torch.zeros((), dtype=value.dtype).expand(value.shape)
    assert convert_caddm(found, 'resnet34')[1] == []
    return found


@pytest.fixture
def refused(call_tool: Any, tmp_path: Path) -> Any:
    """Convert a file that cannot be converted, and return the message."""

    def run(content: Any, backbone: str = 'resnet34') -> str:
        torch.save(content, tmp_path / 'in.pkl')
        status, message = call_tool(TOOL, tmp_path / 'in.pkl', tmp_path / 'out.pth', '--backbone', backbone)
        assert status == 1
        assert message.startswith('error: ')
        assert '\n' not in message
        assert not (tmp_path / 'out.pth').exists()
        return str(message)

    return run


def test_no_network_entry(refused: Any) -> None:
    assert 'no entry "network" (it has state_dict, epoch)' in refused(dict(state_dict={}, epoch=3))


def test_other_backbone(refused: Any) -> None:
    network = {'base_model._conv_stem.weight': torch.ones(1), 'fc.weight': torch.ones(2, 512)}
    message = refused(dict(network=network))
    assert 'missing' in message
    assert 'backbone.conv1.weight' in message
    network = {'base_model.layer1.0.conv1.weight': torch.ones(1)}
    message = refused(dict(network=network), 'efficientnet-b4')
    assert '1 keys have no counterpart, e.g. base_model.layer1.0.conv1.weight' in message


def test_missing_extra_and_reshaped_keys(refused: Any, weights: Any) -> None:
    damaged = weights | {'fc.weight': torch.zeros(3, 512)}
    del damaged['fc.bias']
    message = refused(dict(network=damaged))
    assert '1 missing: forgery_head.fc.bias' in message
    assert '1 of another shape: forgery_head.fc.weight (3, 512) instead of (2, 512)' in message
    assert 'other' in refused(dict(network=damaged | dict(other=torch.zeros(1))))


def test_converted_file_loads(call_tool: Any, weights: Any, tmp_path: Path) -> None:
    """NumPy numbers beside the weights, as training scripts write them, need no trust."""
    torch.save(dict(network=weights, epoch=7, auc=np.float64(0.9)), tmp_path / 'in.pkl')
    arguments = (tmp_path / 'in.pkl', tmp_path / 'new/out.pth', '--backbone', 'resnet34')
    assert call_tool(TOOL, *arguments) == (0, '')
    model = init_model(CONFIG, tmp_path / 'new/out.pth')
    assert all((p == 0).all() for p in model.parameters())
