# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

for package in ('onnx', 'onnxruntime'):
    pytest.importorskip(package, reason=f"{package} is not installed: pip install 'iid-mm[onnx]'")


def test_export(
    call_tool: Any, tiny_config: Path, tiny_checkpoint: Path, tiny_prepared: Path, tmp_path: Path
) -> None:
    from iid_mm.deployment import OnnxDetector

    out = tmp_path / 'new' / 'tiny.onnx'
    arguments = ('deployment/export_onnx.py', tiny_config, tiny_checkpoint, out)
    assert call_tool(*arguments, '--index', tiny_prepared, '--faces', 4, '--int8', 'dynamic') == (0, '')
    metadata = OnnxDetector(out).metadata
    assert metadata['precision'] == 'int8-dynamic'
    assert metadata['checkpoint'] == 'tiny.pth'
    assert list(out.parent.iterdir()) == [out]


@pytest.mark.parametrize(
    ('more', 'message'),
    [
        (['--opset', '99'], '--opset 99: choose 13 to 20'),
        (['--int8', 'static'], '--int8 static needs --index'),
        (['--index', '/nowhere'], "index '/nowhere' does not exist"),
        (['--cfg-options', 'model.neck.channels=8'], 'is of another model'),
    ],
)
def test_bad_export(
    more: list[str], message: str, call_tool: Any, tiny_config: Path, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    out = tmp_path / 'tiny.onnx'
    status, error = call_tool('deployment/export_onnx.py', tiny_config, tiny_checkpoint, out, *more)
    assert status == 1
    assert message in error
    assert not list(tmp_path.iterdir())


def test_benchmark(
    call_tool: Any, tiny_config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # No compiler anywhere.
    monkeypatch.setattr('shutil.which', lambda _: None)
    out = tmp_path / 'speed.json'
    arguments = ('--config', tiny_config, '--rounds', 2, '--batch-size', 3, '--json', out)
    assert call_tool('benchmarks/benchmark.py', 'deployment', *arguments) == (0, '')
    report = json.loads(out.read_text())
    assert report['input_size'] == [112, 112]
    variants = report['variants']
    assert list(variants) == ['pytorch', 'channels_last', 'compile', 'onnx_fp32', 'onnx_int8']
    assert 'C++ compiler' in variants.pop('compile')['skipped']
    assert variants['pytorch']['ratio'] == 1
    assert all(values['images_per_second'] > 0 and values['cpu_ms'] > 0 for values in variants.values())


def test_benchmark_refuses(call_tool: Any, tiny_config: Path) -> None:
    arguments = ('--config', tiny_config, '--rounds', 0)
    status, error = call_tool('benchmarks/benchmark.py', 'deployment', *arguments)
    assert status == 1
    assert 'rounds=0' in error
