# SPDX-License-Identifier: Apache-2.0
"""Preparing batches of groups in parallel; a worker that dies or hangs does not end the run.

The pool is Pebble's, which, unlike the one of the standard library, survives the death of a worker and
can stop one that hangs: a video that crashes a decoder costs its own rows only.
"""

from __future__ import annotations

import errno
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, TimeoutError, wait
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path
from typing import Any

import cv2
from pebble import ProcessExpired, ProcessPool

from iid_mm.errors import InputError, MissingExtraError
from iid_mm.faces.analyzers import AnalyzerOptions, build_analyzer
from iid_mm.media.sources import SourceOpener
from iid_mm.preparation.group import GroupProcessor
from iid_mm.preparation.records import GroupResult, VideoGroup, failed_result
from iid_mm.preparation.settings import Settings
from iid_mm.preparation.writer import CropWriter
from iid_mm.structures.video_record import ArchiveImages
from iid_mm.utils.files import reason_of
from iid_mm.utils.workers import no_interrupts

# Seconds after which a batch of groups counts as hanging, for each video in it. Minutes would do; a slow
# network disk must not be mistaken for a hang.
TIMEOUT = 1800.0
# A worker that dies may have been killed for memory that another one used: one more try.
TRIES = 2
# Errors that a file name can cause; other errors of the disk concern all groups.
OF_ONE_FILE = (errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL, errno.EISDIR, errno.ENOTDIR, errno.ENOTEMPTY)

Batch = Sequence[VideoGroup]


def make_batches(groups: Sequence[VideoGroup]) -> list[list[VideoGroup]]:
    """Put groups together that one worker should work on: those that lie in the same archive.

    Args:
        groups: The groups.

    Returns:
        Batches in the order of their first group; every group is in exactly one.
    """
    batches: dict[Any, list[VideoGroup]] = {}
    for group in groups:
        source = group.records[0].source
        batch = source.path if isinstance(source, ArchiveImages) else group.name
        batches.setdefault(batch, []).append(group)
    return list(batches.values())


def process_batches(
    batches: Sequence[Batch],
    settings: Settings,
    analyzer: AnalyzerOptions,
    root: Path,
    out_dir: Path,
    num_workers: int,
    scratch: Path | None = None,
) -> Iterator[tuple[VideoGroup, GroupResult]]:
    """Prepare groups.

    Args:
        batches: The groups (:func:`make_batches`).
        settings: What to write.
        analyzer: Which analyzer.
        root: Folder of the dataset.
        out_dir: The prepared folder.
        num_workers: Worker processes; 0 works in this process.
        scratch: Where archives are unpacked; None takes a folder in ``out_dir``.

    Yields:
        Groups as they get ready. The result of a group whose worker died or hung says so.
    """
    if not batches:
        return
    build = partial(build_processor, settings, analyzer, root, out_dir, scratch)
    if num_workers == 0:
        processor = build()
        for batch in batches:
            for group in batch:
                yield group, process_group(processor, group)
            processor.opener.close()
        return
    pool = ProcessPool(
        max_workers=min(num_workers, len(batches)),
        # Not fork: libraries of this process may hold threads and locks.
        context=multiprocessing.get_context('spawn'),
        initializer=_start_worker,
        initargs=(build,),
    )
    try:
        yield from _run(pool, list(batches), num_workers, settings)
        pool.close()
    except BrokenProcessPool as error:
        raise InputError(
            f'num_workers={num_workers}: the worker processes died while they had nothing to do '
            '(out of memory?); run the same command again to resume, with 0 workers to see the reason if it '
            'happens again'
        ) from error
    finally:
        pool.stop()
        pool.join()


def _run(
    pool: ProcessPool, batches: list[Batch], num_workers: int, settings: Settings
) -> Iterator[tuple[VideoGroup, GroupResult]]:
    queue = list(reversed(batches))
    tries: dict[str, int] = {}
    waiting: dict[Any, Batch] = {}
    while queue or waiting:
        # Few batches are handed out at a time, so that results do not pile up.
        while queue and len(waiting) < 2 * num_workers:
            batch = queue.pop()
            timeout = TIMEOUT * sum(len(group.records) for group in batch)
            with no_interrupts():
                scheduled = pool.schedule(_work, args=[batch], timeout=timeout)
            waiting[scheduled] = batch
        ready, _ = wait(waiting, return_when=FIRST_COMPLETED)
        for future in ready:
            batch = waiting.pop(future)
            try:
                results = future.result()
            except (ProcessExpired, TimeoutError) as error:
                if len(batch) > 1:
                    # Any of them may be the cause: each is tried on its own.
                    queue[:0] = [[group] for group in batch]
                    continue
                name = batch[0].name
                tries[name] = tries.get(name, 0) + 1
                if tries[name] < TRIES:
                    queue.insert(0, batch)
                    continue
                results = [failed_result(batch[0], _reason(error), settings.frames)]
            yield from zip(batch, results, strict=True)


def _reason(error: Exception) -> str:
    if isinstance(error, ProcessExpired):
        return (
            f'the worker process died {TRIES} times on it (exit status {error.exitcode}; out of memory, or '
            'a defect of the decoder): left out, the next run tries again'
        )
    minutes = f'{TIMEOUT / 60:.0f} minutes a video'
    return f'it took longer than {minutes}, {TRIES} times: left out, the next run tries again'


# In the worker processes

_processor: GroupProcessor | None = None


def build_processor(
    settings: Settings,
    analyzer: AnalyzerOptions,
    root: Path,
    out_dir: Path,
    scratch: Path | None = None,
) -> GroupProcessor:
    """Build the processor of groups.

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


def _start_worker(build: Callable[[], GroupProcessor]) -> None:
    """Load the analyzer once for all groups of this process."""
    global _processor
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    # The processes share the cores already.
    cv2.setNumThreads(1)
    _processor = build()


def _work(groups: Sequence[VideoGroup]) -> list[GroupResult]:
    """Prepare groups in a process that :func:`_start_worker` has set up."""
    if _processor is None:
        raise RuntimeError('_start_worker was not called in this process')
    try:
        return [process_group(_processor, group) for group in groups]
    finally:
        _processor.opener.close()


def process_group(processor: GroupProcessor, group: VideoGroup) -> GroupResult:
    """Prepare a group; an error that concerns this group alone becomes its result.

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


def _end_with_parent() -> None:
    """End this process when the driver is gone: a killed driver leaves nobody working on."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
