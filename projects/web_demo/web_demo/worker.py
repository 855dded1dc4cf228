# SPDX-License-Identifier: Apache-2.0
"""Analyses in a separate process, which can be killed whatever a file does to it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from typing import Any

from mmengine.logging import MMLogger

from iid_mm.apis import IIDInferencer
from iid_mm.errors import InputError
from iid_mm.inference.analysis import Progress
from iid_mm.inference.sampling import Sampling
from iid_mm.utils.user_errors import USER_ERRORS
from web_demo.analyses import Analysis, Answer, StoppedAnalysis, analyze_file
from web_demo.probe import limit_memory

LOAD_SECONDS = 600.0
"""Time limit for loading the model."""
PATIENCE = 2.0
"""Seconds that a stopped analysis has to end by itself, at its next frame, before its process is killed."""


class Worker:
    """Runs analyses in a process that holds the model.

    Args:
        make: Builds the inferencer, in that process; must be picklable.
        sampling: Which frames of videos are analyzed.
        memory_gib: Memory of an analysis, in addition to that of the model; None: not limited.

    Raises:
        InputError: The inferencer cannot be built; the message is that of its error.
    """

    def __init__(
        self, make: Callable[[], IIDInferencer], sampling: Sampling, memory_gib: float | None = None
    ) -> None:
        self._arguments = (make, sampling, memory_gib)
        self._start()
        self.facts: dict[str, Any] = self._await_ready()

    def analyze(self, analysis: Analysis, progress: Progress) -> Answer:
        """Analyze a file.

        Args:
            analysis: The analysis.
            progress: Called with the number of analyzed and of all frames; its exceptions end the analysis.

        Raises:
            InputError: The file cannot be analyzed, or the process ended.
        """
        try:
            self._await_ready()
            self._pipe.send((analysis.name, analysis.path, analysis.note))
            return self._follow(analysis, progress)
        except (EOFError, OSError) as error:
            self._restart()
            raise InputError(
                'The analysis exceeded its memory limit, or its process crashed. Cut out the '
                'part in question, or use tools/infer.py, which has no limit.'
            ) from error
        except BaseException:
            self._stop()
            raise

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.join()
        self._pipe.close()

    def _start(self) -> None:
        # Not by forking: neither CUDA nor OpenMP survives that.
        context = multiprocessing.get_context('spawn')
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, *self._arguments), daemon=True)
        self._process.start()
        theirs.close()
        self._ready: dict[str, Any] | None = None
        self._idle = True

    def _restart(self) -> None:
        self.close()
        self._start()

    def _await_ready(self) -> dict[str, Any]:
        if self._ready is None:
            try:
                kind, content = self._pipe.recv() if self._pipe.poll(LOAD_SECONDS) else ('', 'too slow')
            except EOFError as error:
                raise InputError('the process of the model ended while loading it; see its log') from error
            if kind != 'ready' or not isinstance(content, dict):
                raise InputError(str(content))
            self._ready = content
        return self._ready

    def _follow(self, analysis: Analysis, progress: Progress) -> Answer:
        """Forward progress until the process returns a result."""
        self._idle = False
        while True:
            # Raises if the analysis was stopped or has no time left.
            progress(analysis.done, analysis.total)
            if not self._pipe.poll(0.1):
                continue
            kind, content = self._pipe.recv()
            if kind == 'progress':
                progress(*content)
                continue
            self._idle = True
            if kind == 'answer':
                answer: Answer = content
                return answer
            if kind == 'refused':
                raise InputError(content)
            raise RuntimeError('the analysis failed in its process')

    def _stop(self) -> None:
        """Ask the analysis to stop; kill its process if it does not."""
        if self._idle:
            return
        try:
            self._pipe.send('stop')
            end = time.monotonic() + PATIENCE
            while self._pipe.poll(max(end - time.monotonic(), 0)):
                if self._pipe.recv()[0] != 'progress':
                    self._idle = True
                    return
        except (EOFError, OSError):
            pass
        self._restart()


def _serve(
    pipe: Connection, make: Callable[[], IIDInferencer], sampling: Sampling, memory_gib: float | None
) -> None:
    """Analyze the files that are named through the pipe; runs in the process."""
    # The server handles Ctrl+C.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        inferencer = make()
    except USER_ERRORS as error:
        pipe.send(('refused', str(error)))
        return
    if memory_gib is not None and not _has_gpu():
        # GPU drivers reserve hundreds of GiB of addresses.
        limit_memory(int(memory_gib * 2**30))
    pipe.send(('ready', inferencer.facts))
    while True:
        try:
            job = pipe.recv()
        except (EOFError, OSError):
            return
        # A stop that arrived after the end of its analysis is ignored.
        if job != 'stop':
            name, path, note = job
            pipe.send(_answer(pipe, inferencer, sampling, Analysis(name, path, note=note)))


def _answer(pipe: Connection, inferencer: IIDInferencer, sampling: Sampling, analysis: Analysis) -> Any:
    def progress(done: int, total: int) -> None:
        if pipe.poll():
            raise StoppedAnalysis
        pipe.send(('progress', (done, total)))

    try:
        return 'answer', analyze_file(inferencer, sampling, analysis, progress)
    except StoppedAnalysis:
        return 'stopped', ''
    except InputError as error:
        return 'refused', str(error)
    except MemoryError:
        os._exit(1)
    except Exception:
        MMLogger.get_current_instance().exception('analysis of a %s file failed', analysis.path.suffix)
        return 'failed', ''


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


def _end_with_parent() -> None:
    """End this process when the server is killed."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
