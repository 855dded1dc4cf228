# SPDX-License-Identifier: Apache-2.0
"""What runs in the worker processes. It imports neither torch nor the dataset package."""

from __future__ import annotations

import errno
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import resource_tracker
from pathlib import Path

import cv2

from iid_mm.errors import InputError, MissingExtraError
from iid_mm.faces.analyzers import AnalyzerOptions, build_analyzer
from iid_mm.media.sources import SourceOpener
from iid_mm.preparation.group import GroupProcessor
from iid_mm.preparation.records import VideoGroup
from iid_mm.preparation.results import GroupResult, failed_result
from iid_mm.preparation.settings import Settings
from iid_mm.preparation.writer import CropWriter
from iid_mm.utils.files import reason_of

# What a name can cause; whatever else the disk refuses, it refuses to all.
OF_ONE_FILE = (errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL, errno.EISDIR, errno.ENOTDIR, errno.ENOTEMPTY)

_processor: GroupProcessor | None = None


def build_processor(
    settings: Settings,
    analyzer: AnalyzerOptions,
    root: Path,
    out_dir: Path,
    scratch: Path | None = None,
) -> GroupProcessor:
    """Build what prepares groups.

    Args:
        settings: What to write.
        analyzer: Which analyzer.
        root: Folder of the dataset.
        out_dir: The prepared folder.
        scratch: Where archives are unpacked; None takes a folder in ``out_dir``.
    """
    return GroupProcessor(
        settings,
        build_analyzer(analyzer, root),
        SourceOpener(scratch or out_dir / '.parts' / 'unpacked'),
        CropWriter(settings, out_dir),
    )


def start_worker(
    settings: Settings, analyzer: AnalyzerOptions, root: Path, out_dir: Path, scratch: Path | None = None
) -> None:
    """Load the analyzer once for all groups of this process."""
    global _processor
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    # The processes share the cores already.
    cv2.setNumThreads(1)
    _processor = build_processor(settings, analyzer, root, out_dir, scratch)


def work(groups: Sequence[VideoGroup]) -> list[GroupResult]:
    """Prepare groups in a process that :func:`start_worker` has set up."""
    if _processor is None:
        raise RuntimeError('start_worker was not called in this process')
    try:
        return [process_group(_processor, group) for group in groups]
    finally:
        _processor.opener.close()


def process_group(processor: GroupProcessor, group: VideoGroup) -> GroupResult:
    """Prepare a group; what goes wrong with it alone is its result, not the end of the others.

    Raises:
        OSError: If nothing can be written, for instance because the disk is full.
        InputError: If the analyzer cannot work.
        MissingExtraError: If its library is not installed.
    """
    try:
        return processor.process(group)
    except (InputError, MissingExtraError):
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno not in OF_ONE_FILE:
            raise
        if os.environ.get('IID_DEBUG') == '1':
            raise
        text = f'it could not be prepared ({reason_of(error)}): left out, the next run tries again'
        return failed_result(group, text, processor.settings.frames)


@contextmanager
def no_interrupts() -> Iterator[None]:
    """Keep Ctrl+C from the processes that are started here.

    It reaches every process of a terminal; the first one answers for all, in one line.
    """
    # It starts with the first process, and lets the signal through again when it has started.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end_with_parent() -> None:
    """End this process when the driver is gone: a killed driver leaves nobody working on."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
