# SPDX-License-Identifier: Apache-2.0
"""The commands on inputs that are broken or missing; the real work is tested in tests/test_inference."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from iid_mm.apis import load_checkpoint_file
from iid_mm.inference.calibration import calibration_of
from iid_mm.utils.cli import run_tool

REPOSITORY = Path(__file__).parents[2]


def run(monkeypatch: Any, tool: str, *args: object) -> int:
    monkeypatch.setattr(sys, 'argv', [tool, *map(str, args)])
    namespace = runpy.run_path(str(REPOSITORY / 'tools' / tool), run_name='tool')
    return run_tool(namespace['main'])


@pytest.fixture
def weights(tiny_config: Path, tmp_path: Path) -> Path:
    import torch
    from mmengine.config import Config
    from mmengine.registry import DefaultScope

    from iid_mm.registry import MODELS

    cfg = Config.fromfile(str(tiny_config))
    with DefaultScope.overwrite_default_scope('iid_mm'):
        model = MODELS.build(cfg.model)
    path = tmp_path / 'tiny.pth'
    torch.save({'state_dict': model.state_dict(), 'meta': {'cfg': cfg.pretty_text}}, path)
    return path


def test_faceless_and_broken_inputs(weights: Path, tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    pytest.importorskip('mediapipe', reason="needs the extra 'mediapipe'")
    inputs = tmp_path / 'in'
    inputs.mkdir()
    cv2.imwrite(str(inputs / 'wall.png'), np.full((120, 160, 3), 128, np.uint8))
    out = tmp_path / 'out'
    assert run(monkeypatch, 'infer.py', inputs, '--checkpoint', weights, '--out', out, '--device', 'cpu') == 0
    assert 'no face' in capsys.readouterr().out
    (inputs / 'broken.mp4').write_bytes(b'')
    assert run(monkeypatch, 'infer.py', inputs, '--checkpoint', weights, '--out', out, '--device', 'cpu') == 1
    captured = capsys.readouterr()
    assert '1 of 2 inputs could not be read' in captured.err
    assert 'unreadable' in captured.out
    assert {path.name for path in out.iterdir()} == {'wall.json', 'wall_annotated.jpg', 'broken.json'}


@pytest.mark.parametrize(
    ('args', 'message'),
    [
        (('gone.jpg', '--checkpoint', 'x.pth'), 'input gone.jpg does not exist'),
        (('{image}', '--checkpoint', 'gone.pth'), 'checkpoint gone.pth does not exist'),
        (('{image}', '--checkpoint', '{weights}', '--frames', '0'), 'frames=0'),
        (('{image}', '--checkpoint', '{weights}', '--batch-size', '0'), '--batch-size 0'),
        (('{image}', '--checkpoint', '{weights}', '--threshold', '2'), 'threshold=2.0'),
        (('{image}', '--checkpoint', '{weights}', '--config', 'nothing'), 'config nothing does not exist'),
        (('{image}', '--checkpoint', '{image}'), 'is no checkpoint, or is damaged'),
    ],
)
def test_bad_input(
    args: tuple[str, ...], message: str, weights: Path, tmp_path: Path, monkeypatch: Any, capsys: Any
) -> None:
    pytest.importorskip('mediapipe', reason="needs the extra 'mediapipe'")
    image = tmp_path / 'a.png'
    cv2.imwrite(str(image), np.zeros((20, 20, 3), np.uint8))
    filled = [arg.format(image=image, weights=weights) for arg in args]
    assert run(monkeypatch, 'infer.py', *filled, '--out', tmp_path / 'out') == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / 'out').exists()


def test_calibrate(weights: Path, tiny_config: Path, tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    assert run(monkeypatch, 'calibrate.py', tiny_config, weights) == 0
    written = tmp_path / 'tiny_calibrated.pth'
    content = load_checkpoint_file(written)
    found = calibration_of(content['meta'])
    assert found is not None
    assert (found.frame.samples, found.frame.fakes) == (6, 4)
    assert (found.video.samples, found.video.fakes) == (3, 2)
    assert found.data.startswith('3 videos of split val of ')
    assert set(content['state_dict']) == set(load_checkpoint_file(weights)['state_dict'])
    assert 'temperature' in capsys.readouterr().out
    assert run(monkeypatch, 'calibrate.py', tiny_config, weights, '--out', tmp_path / 'gone' / 'x.pth') == 1
    assert 'cannot be written' in capsys.readouterr().err
