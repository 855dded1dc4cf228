# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from iid_mm.models.complexity import model_complexity
from iid_mm.registry import MODELS
from iid_mm.utils.cli import run_tool
from support.paths import REPOSITORY


def conv_macs(module: nn.Conv2d, side: int) -> int:
    return module.weight.numel() * side * side


def test_parts_add_up(tiny_model_cfg: dict[str, Any]) -> None:
    model = MODELS.build(tiny_model_cfg)
    rows = {row.part: row for row in model_complexity(model, (112, 112))}
    assert list(rows) == ['backbone', 'neck', 'artifact_head', 'forgery_head', 'total']
    total = rows.pop('total')
    for name in ('parameters', 'trained', 'macs', 'activations'):
        assert sum(getattr(row, name) for row in rows.values()) == getattr(total, name), name
    assert total.parameters == sum(p.numel() for p in model.parameters())


def test_neck_by_hand(tiny_model_cfg: dict[str, Any]) -> None:
    model = MODELS.build(tiny_model_cfg)
    (row,) = [row for row in model_complexity(model, (112, 112)) if row.part == 'neck']
    # Channels c: blocks on 7x7 (kernel 1), 5x5 and 3x3 (kernel 3), then 1x1; each has a convolution and a
    # shortcut with the kernel and a second convolution, 3x3 but 1x1 in the last.
    c = model.neck.channels
    macs = sum(
        c * c * side**2 * (2 * k * k + second)
        for side, k, second in ((7, 1, 9), (5, 3, 9), (3, 3, 9), (1, 3, 1))
    )
    outputs = sum(3 * c * side**2 for side in (7, 5, 3, 1))
    if not isinstance(model.neck.reduce, nn.Identity):
        macs += model.neck.in_channels[-1] * c * 49
        outputs += c * 49
    norms = row.macs - macs
    # mmengine counts norm layers, too; they are small.
    assert 0 <= norms < 0.1 * macs
    assert row.activations == outputs


def test_frozen_parameters_and_plain_classifiers(tiny_model_cfg: dict[str, Any]) -> None:
    tiny_model_cfg.update(neck=None, artifact_head=None)
    tiny_model_cfg['forgery_head'].update(artifact_channels=None)
    model = MODELS.build(tiny_model_cfg)
    model.backbone.requires_grad_(False)
    rows = {row.part: row for row in model_complexity(model, (112, 112))}
    assert list(rows) == ['backbone', 'forgery_head', 'total']
    assert rows['backbone'].trained == 0
    assert rows['total'].trained == rows['forgery_head'].parameters


def test_tool(tiny_config: Path, tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    out = tmp_path / 'out.json'
    monkeypatch.setattr(sys, 'argv', ['tool', str(tiny_config), '--json', str(out)])
    tool = runpy.run_path(str(REPOSITORY / 'tools/analysis_tools/get_complexity.py'), run_name='tool')
    assert run_tool(tool['main']) == 0
    rows = json.loads(out.read_text())
    assert [row['part'] for row in rows][-1] == 'total'
    assert rows[0]['size'] == [112, 112]
    assert 'GMACs' in capsys.readouterr().out
    monkeypatch.setattr(sys, 'argv', ['tool', str(tiny_config), '--size', '0', '112'])
    assert run_tool(tool['main']) == 1
    assert '--size 0 112' in capsys.readouterr().err


@pytest.mark.parametrize('name', ['iid_effb4_ffpp', 'iid_effb4_slim_ffpp'])
def test_published_parameter_counts(name: str) -> None:
    from iid_mm.utils.config import load_config

    cfg = load_config(REPOSITORY / 'configs' / f'{name}.py')
    cfg.model.backbone.init_cfg = None
    total = sum(p.numel() for p in MODELS.build(cfg.model).parameters())
    assert round(total / 1e6, 1) == {'iid_effb4_ffpp': 287.9, 'iid_effb4_slim_ffpp': 24.1}[name]
