# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
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
from support.paths import REPOSITORY


@pytest.fixture
def call_tool(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """Run a tool in this process: its exit status and what it wrote to stderr last."""

    def call(tool: str, *arguments: Any) -> tuple[int, str]:
        spec = importlib.util.spec_from_file_location(f'tool_{Path(tool).stem}', REPOSITORY / 'tools' / tool)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        # Dataclasses look their module up.
        monkeypatch.setitem(sys.modules, spec.name, module)
        spec.loader.exec_module(module)
        # MMEngine shares these among runs that start within the same second.
        for shared in (MMLogger, MessageHub, ForgeryVisualizer):
            shared._instance_dict.clear()
        monkeypatch.setattr(sys, 'argv', [tool, *map(str, arguments)])
        capfd.readouterr()
        status = run_tool(module.main)
        errors = [line for line in capfd.readouterr().err.splitlines() if line.startswith('error: ')]
        return status, '\n'.join(errors)

    return call


@pytest.fixture
def run_script() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a shell script of tools/ as a user would, with this Python first on the path."""

    def run(script: str, *arguments: Any, timeout: float = 300) -> subprocess.CompletedProcess[str]:
        with socket.socket() as probe:
            probe.bind(('127.0.0.1', 0))
            port = probe.getsockname()[1]
        path = f'{Path(sys.executable).parent}{os.pathsep}{os.environ["PATH"]}'
        return subprocess.run(
            ['bash', str(REPOSITORY / 'tools' / script), *map(str, arguments)],
            env={**os.environ, 'PATH': path, 'PORT': str(port), 'OMP_NUM_THREADS': '1'},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    return run


@pytest.fixture(scope='session')
def tiny_checkpoint(tiny_config: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoint with random weights for the tiny config."""
    path = tmp_path_factory.mktemp('checkpoint') / 'tiny.pth'
    torch.manual_seed(0)
    torch.save(dict(state_dict=init_model(tiny_config).state_dict(), meta={}), path)
    return path
