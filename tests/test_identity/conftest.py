# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from iid_mm.datasets.index import read_index, write_index
from iid_mm.identity.probe_report import untrained_model
from iid_mm.utils.config import load_config


@pytest.fixture(scope='module')
def tiny(tiny_config: Path) -> tuple[Any, Any]:
    """Config and model with random weights."""
    cfg = load_config(tiny_config)
    return cfg, untrained_model(cfg, 0)


@pytest.fixture(scope='module')
def takes(tiny_prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three indexes of the tiny set with frames of their own, as clips of the same people."""
    folders = [tiny_prepared]
    for number in (1, 2):
        root = tmp_path_factory.mktemp(f'take{number}')
        (root / 'frames').symlink_to(tiny_prepared / 'frames')
        rows = read_index(tiny_prepared / 'index.parquet').to_pylist()
        write_index([{**row, 'detector_score': 1.0 - number / 10} for row in rows], root / 'index.parquet')
        folders.append(root)
    return folders
