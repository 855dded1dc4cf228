# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest

from robustness import VideoForgeryDataset


@pytest.fixture
def videos(tiny_prepared: Path) -> VideoForgeryDataset:
    """9 videos of 3 frames."""
    return VideoForgeryDataset(ann_file=str(tiny_prepared / 'index.parquet'), split='test', test_mode=True)
