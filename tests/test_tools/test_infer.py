# SPDX-License-Identifier: Apache-2.0
"""The commands on inputs that are broken or missing; the real work is tested in tests/test_inference."""

from __future__ import annotations

import io
import os
import re
import runpy
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from iid_mm.apis import load_checkpoint_file
from iid_mm.inference import inferencer, outputs
from iid_mm.inference.calibration import calibration_of
from iid_mm.inference.sampling import open_stream
from iid_mm.utils.cli import run_tool
from support.media import write_image
from support.paths import REPOSITORY


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


def test_names_command_nothing(weights: Path, tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    """Markup, escape sequences, line breaks and reversed text in names, and bytes that are no text."""
    pytest.importorskip('mediapipe', reason="needs the extra 'mediapipe'")
    names = ['[red]a', 'b\x1b[31m', 'c\nd', '\u202ee', ':smile:', 'x' * 245, os.fsdecode(b'caf\xe9'), '[']
    for name in names:
        (tmp_path / 'in' / f'{name}.png').parent.mkdir(exist_ok=True)
        (tmp_path / 'in' / f'{name}.png').write_bytes(b'')
    (tmp_path / 'in' / 'n\x1b[0m.xyz').touch()
    os.symlink('gone', tmp_path / 'in' / 'link\x1b[0m.png')
    status = run(monkeypatch, 'infer.py', tmp_path / 'in', '--checkpoint', weights, '--out', tmp_path / 'out')
    assert status == 1
    captured = capsys.readouterr()
    for text in (captured.out, captured.err):
        assert all(line.isprintable() for line in re.split('[\r\n]', text))
    # The first column of the table, in which long names are broken.
    rows = [line.split('│')[1].strip() for line in captured.out.splitlines() if line.startswith('│')]
    shown = ''.join(rows).replace(' ', '')
    for name in ('[red]a', 'b%1B[31m', 'c%0Ad', '%E2%80%AEe', ':smile:', 'caf%E9', '[.png'):
        assert name in shown
    assert 'skipped: 1 file (.xyz)' in captured.err
    assert 'cannot be read (a link to nothing)' in captured.err
    assert '9 of 9 inputs could not be read' in captured.err
    assert len(list((tmp_path / 'out').glob('*.json'))) == 8


def test_exit_statuses(weights: Path, tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    pytest.importorskip('mediapipe', reason="needs the extra 'mediapipe'")
    for name in ('a.png', 'b.png'):
        write_image(tmp_path / 'in' / name, np.full((120, 160, 3), 128, np.uint8))
    command = ('infer.py', tmp_path / 'in', '--checkpoint', weights, '--device', 'cpu')
    with monkeypatch.context() as patch:
        # A reader of the table that has gone, as `head` does.
        patch.setattr(sys, 'stdout', Closed())
        assert run(patch, *command, '--out', tmp_path / 'piped') == 0
    assert len(list((tmp_path / 'piped').glob('*.json'))) == 2
    assert 'the table could not be printed (Broken pipe)' in capsys.readouterr().err

    def fail(*args: Any) -> None:
        raise OSError(28, 'No space left on device')

    with monkeypatch.context() as patch:
        patch.setattr(outputs, 'encode_image', fail)
        assert run(patch, *command, '--out', tmp_path / 'full') == 1
    captured = capsys.readouterr()
    assert 'not written: a_annotated.jpg cannot be written (No space left on device)' in captured.err
    assert '2 outputs could not be written' in captured.err
    assert 'could not be read' not in captured.err
    assert {path.name for path in (tmp_path / 'full').iterdir()} == {'a.json', 'b.json'}

    def interrupt(item: Any, sampling: Any) -> Any:
        if item.name == 'b':
            raise KeyboardInterrupt
        return open_stream(item, sampling)

    with monkeypatch.context() as patch:
        patch.setattr(inferencer, 'open_stream', interrupt)
        assert run(patch, *command, '--out', tmp_path / 'stopped') == 130
    captured = capsys.readouterr()
    assert 'a.png' in captured.out
    assert captured.err.splitlines()[-1] == 'interrupted; 1 of 2 inputs were analyzed; their results are kept'
    assert {path.name for path in (tmp_path / 'stopped').iterdir()} == {'a.json', 'a_annotated.jpg'}


class Closed(io.StringIO):
    """A pipe whose reader has gone."""

    def write(self, text: str) -> int:
        if text:
            raise BrokenPipeError(32, 'Broken pipe')
        return 0


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
