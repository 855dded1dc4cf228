# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from iid_mm.apis import init_model


@pytest.fixture
def run_as_script(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Run a tool's file: exit status, stdout, stderr."""

    def run(tool: Path, *arguments: Any) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, 'argv', [tool.name, *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            runpy.run_path(str(tool), run_name='__main__')
        written = capsys.readouterr()
        return int(end.value.code or 0), written.out, written.err

    return run


@pytest.fixture(scope='session')
def weights(tiny_config: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights of the tiny config."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp('weights') / 'tiny.pth'
    torch.save(dict(state_dict=init_model(tiny_config).state_dict()), path)
    return path
