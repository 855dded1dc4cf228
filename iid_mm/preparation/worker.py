# SPDX-License-Identifier: Apache-2.0
"""What runs in the worker processes. It imports neither torch nor the data set package."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Sequence
from pathlib import Path

import cv2

from iid_mm.preparation.analysers import AnalyserOptions, build_analyser
from iid_mm.preparation.group import GroupProcessor
from iid_mm.preparation.records import VideoGroup
from iid_mm.preparation.results import GroupResult
from iid_mm.preparation.settings import Settings
from iid_mm.preparation.sources import SourceOpener
from iid_mm.preparation.writer import CropWriter

_processor: GroupProcessor | None = None


def build_processor(
    settings: Settings,
    analyser: AnalyserOptions,
    root: Path,
    out_dir: Path,
    scratch: Path | None = None,
) -> GroupProcessor:
    """Build what prepares groups.

    Args:
        settings: What to write.
        analyser: Which analyser.
        root: Folder of the data set.
        out_dir: The prepared folder.
        scratch: Where archives are unpacked; None takes a folder in ``out_dir``.
    """
    return GroupProcessor(
        settings,
        build_analyser(analyser, root),
        SourceOpener(scratch or out_dir / '.parts' / 'unpacked'),
        CropWriter(settings, out_dir),
    )


def start_worker(
    settings: Settings, analyser: AnalyserOptions, root: Path, out_dir: Path, scratch: Path | None = None
) -> None:
    """Load the analyser once for all groups of this process."""
    global _processor
    # Ctrl-C reaches every process of the terminal; the driver alone answers it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    # The processes share the cores already.
    cv2.setNumThreads(1)
    _processor = build_processor(settings, analyser, root, out_dir, scratch)


def work(groups: Sequence[VideoGroup]) -> list[GroupResult]:
    """Prepare groups in a process that :func:`start_worker` has set up."""
    if _processor is None:
        raise RuntimeError('start_worker was not called in this process')
    try:
        return [_processor.process(group) for group in groups]
    finally:
        _processor.opener.close()


def _end_with_parent() -> None:
    """End this process when the driver is gone: a killed driver leaves nobody working on."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
