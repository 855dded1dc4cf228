# SPDX-License-Identifier: Apache-2.0
"""Analyses in a process of their own, which can be ended whatever a file makes it do."""

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
"""How long the model may take to load."""
PATIENCE = 2.0
"""Seconds in which an analysis should stop by itself, at its next frame, before its process is ended."""


class Worker:
    """Runs analyses in a process that holds the model.

    Args:
        make: Makes the inferencer, in that process; must be picklable.
        sampling: Which frames of videos are looked at.
        memory_gib: Memory that an analysis may take beyond what the model has; None: any.

    Raises:
        InputError: The inferencer cannot be made; the message is that of its error.
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
            analysis: Tells where it is.
            progress: Is told how far it is; what it raises ends the analysis.

        Raises:
            InputError: The file cannot be analyzed, or the process came to its end.
        """
        try:
            self._await_ready()
            self._pipe.send((analysis.name, analysis.path, analysis.note))
            return self._follow(analysis, progress)
        except (EOFError, OSError) as error:
            self._restart()
            raise InputError(
                'The analysis needed more memory than it may take, or its process broke down. Cut out the '
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
        # Not by forking: neither CUDA nor OpenMP outlives that.
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
                raise InputError(
                    'the process of the model ended while it was loading; see its log'
                ) from error
            if kind != 'ready' or not isinstance(content, dict):
                raise InputError(str(content))
            self._ready = content
        return self._ready

    def _follow(self, analysis: Analysis, progress: Progress) -> Answer:
        """Pass on what the process tells until it has an answer."""
        self._idle = False
        while True:
            # Raises where the analysis was stopped, or has no time left.
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
        """Let the analysis stop, or end its process."""
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
    """Analyze what comes through the pipe; runs in the process."""
    # Ctrl+C is the server's business.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        inferencer = make()
    except USER_ERRORS as error:
        pipe.send(('refused', str(error)))
        return
    if memory_gib is not None and not _has_gpu():
        # Drivers of GPUs reserve addresses by the hundred GiB.
        limit_memory(int(memory_gib * 2**30))
    pipe.send(('ready', inferencer.facts))
    while True:
        try:
            job = pipe.recv()
        except (EOFError, OSError):
            return
        # One that came too late for its analysis.
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
    """A server that is killed must not leave this process behind."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
