# SPDX-License-Identifier: Apache-2.0
"""What runs in the worker processes. It imports neither torch nor the data set package."""

from __future__ import annotations

import signal
from pathlib import Path

import cv2

from iid_mm.preparation.analysers import build_analyser
from iid_mm.preparation.group import GroupProcessor, GroupResult
from iid_mm.preparation.records import VideoGroup
from iid_mm.preparation.settings import Settings

_processor: GroupProcessor | None = None


def start_worker(settings: Settings, root: Path, out_dir: Path) -> None:
    """Load the analyser once for all groups of this process."""
    global _processor
    # Ctrl-C reaches every process of the terminal; the driver alone answers it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # The processes share the cores already.
    cv2.setNumThreads(1)
    _processor = GroupProcessor(settings, build_analyser(settings.analyser, root), out_dir)


def work(group: VideoGroup) -> GroupResult:
    """Prepare a group in a process that :func:`start_worker` has set up."""
    if _processor is None:
        raise RuntimeError('start_worker was not called in this process')
    return _processor.process(group)
