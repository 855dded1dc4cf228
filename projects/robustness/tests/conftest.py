# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.logging import MessageHub, MMLogger

from iid_mm.apis import init_model
from iid_mm.utils.cli import run_tool
from iid_mm.visualization import ForgeryVisualizer
from robustness import VideoForgeryDataset
from support.paths import REPOSITORY

TOOL = REPOSITORY / 'projects/robustness/measure_robustness.py'


@pytest.fixture
def videos(tiny_prepared: Path) -> VideoForgeryDataset:
    """9 videos of 3 frames."""
    return VideoForgeryDataset(ann_file=str(tiny_prepared / 'index.parquet'), split='test', test_mode=True)


@pytest.fixture(scope='session')
def checkpoint(tiny_config: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights for the tiny config."""
    path = tmp_path_factory.mktemp('checkpoint') / 'tiny.pth'
    torch.manual_seed(0)
    torch.save(dict(state_dict=init_model(tiny_config).state_dict(), meta={}), path)
    return path


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """Run the tool in this process: exit status, what it printed, error line."""

    def call(*arguments: Any) -> tuple[int, str, str]:
        spec = importlib.util.spec_from_file_location('robustness_tool', TOOL)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        # MMEngine shares these among runs that start within the same second.
        for shared in (MMLogger, MessageHub, ForgeryVisualizer):
            shared._instance_dict.clear()
        monkeypatch.setattr(sys, 'argv', ['projects/robustness/measure_robustness.py', *map(str, arguments)])
        capfd.readouterr()
        status = run_tool(module.main)
        streams = capfd.readouterr()
        errors = [line for line in streams.err.splitlines() if line.startswith('error: ')]
        return status, streams.out, '\n'.join(errors)

    return call
