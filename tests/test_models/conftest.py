# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from mmengine.config import Config
from torch.nn import functional as F

from support.paths import REPOSITORY


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
    """The published artifact head on 8 channels."""
    model = Config.fromfile(REPOSITORY / 'configs' / '_base_' / 'models' / 'iid_effb4.py').model
    head = {**model.artifact_head.to_dict(), 'in_channels': 8}
    return {**head, 'train_cfg': model.train_cfg.to_dict(), 'test_cfg': model.test_cfg.to_dict()}
