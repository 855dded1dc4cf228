# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from iid_mm.reporting.options import ReportOptions

from .report_scores import write_folder


@pytest.fixture(scope='package')
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report that nobody has changed; read only."""
    folder = tmp_path_factory.mktemp('report')
    write_folder(folder, ReportOptions(resamples=100))
    return folder


@pytest.fixture
def report(sound: Path, tmp_path: Path) -> Path:
    """A report that may be changed."""
    return Path(shutil.copytree(sound, tmp_path / 'report'))
