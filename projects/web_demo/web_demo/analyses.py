# SPDX-License-Identifier: Apache-2.0
"""The queue of analyses, and their results."""

from __future__ import annotations

import secrets
import shutil
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmengine.logging import MMLogger

from iid_mm.apis import IIDInferencer
from iid_mm.errors import InputError
from iid_mm.inference.analysis import Progress
from iid_mm.inference.html_report import render_html_report, verdict_of
from iid_mm.inference.sampling import Sampling

WAITING, RUNNING, DONE, FAILED, STOPPED = 'waiting', 'running', 'done', 'failed', 'stopped'
MAX_WAITING = 24
"""Longest queue; further uploads are refused."""
MAX_WAITING_A_CLIENT = 8
"""Limit of one client, so that nobody blocks the others."""
KEPT_SECONDS = 1800.0
"""How long a result is kept."""
MAX_KEPT = 32
"""Number of results kept; the oldest are deleted first."""


class StoppedAnalysis(Exception):
    """The user has stopped the analysis."""


@dataclass(frozen=True)
class Answer:
    """The result of an analysis, kept in memory.

    Attributes:
        headline: The verdict in words.
        report: The HTML page.
        content: Content of the JSON file.
    """

    headline: str
    report: str
    content: dict[str, Any]


@dataclass(eq=False)
class Analysis:
    """One analysis.

    Attributes:
        name: Name of the file, for display.
        path: The file.
        folder: Deleted when the analysis has ended; None: nothing is deleted.
        note: A remark on the file for the report; empty if there is none.
        client: Sender of the file, see :func:`~web_demo.connections.client_of`.
        size: Bytes of the file.
        key: Its key in addresses; cannot be guessed.
        state: ``waiting``, ``running``, ``done``, ``failed`` or ``stopped``.
        done: Frames analyzed so far.
        total: Frames to analyze; 0 while unknown.
        message: Why it failed, for the user.
        answer: The result, once there is one.
        ended: When it ended, on the monotonic clock.
    """

    name: str
    path: Path
    folder: Path | None = None
    note: str = ''
    client: str = ''
    size: int = 0
    key: str = field(default_factory=lambda: secrets.token_urlsafe(16))
    state: str = WAITING
    done: int = 0
    total: int = 0
    message: str = ''
    answer: Answer | None = None
    ended: float = 0.0
    stop: threading.Event = field(default_factory=threading.Event)

    def clean(self) -> None:
        """Delete the file."""
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)


def analyze_file(
    inferencer: IIDInferencer, sampling: Sampling, analysis: Analysis, progress: Progress
) -> Answer:
    """Analyze a file and render the report, all in memory."""
    (result,) = inferencer.analyze(analysis.path, sampling=sampling, progress=progress, keep_going=False)
    # The report shows the name that the user knows.
    result.source = result.name = analysis.name
    if analysis.note:
        result.problems.insert(0, analysis.note)
    return Answer(verdict_of(result).headline, render_html_report(result, analysis.path), result.as_dict())


class AnalysisQueue:
    """Runs analyses one by one in its own thread; may be called from any thread.

    One at a time, since models and face analyzers are not thread-safe, and two at once would not be faster.

    Clients take turns: the second file of a client waits until all others had their first.

    Args:
        analyze: Analyzes a file; receives the analysis and a progress callback, whose exceptions end it.
        max_seconds: Time limit of an analysis.
        kept_seconds: See :data:`KEPT_SECONDS`.
        max_kept: See :data:`MAX_KEPT`.
    """

    def __init__(
        self,
        analyze: Callable[[Analysis, Progress], Answer],
        *,
        max_seconds: float = float('inf'),
        kept_seconds: float = KEPT_SECONDS,
        max_kept: int = MAX_KEPT,
    ) -> None:
        self._analyze = analyze
        self._max_seconds = max_seconds
        self._kept_seconds = kept_seconds
        self._max_kept = max_kept
        self._change = threading.Condition()
        self._all: dict[str, Analysis] = {}
        self._waiting: deque[Analysis] = deque()
        self._served: dict[str, int] = {}
        self._count = 0
        self._closed = False
        self._thread = threading.Thread(target=self._work, name='analyses', daemon=True)
        self._thread.start()

    def has_room(self, client: str) -> bool:
        """Whether a client may add an analysis."""
        with self._change:
            return self._has_room(client)

    def _has_room(self, client: str) -> bool:
        mine = sum(analysis.client == client for analysis in self._waiting)
        full = mine >= MAX_WAITING_A_CLIENT or len(self._waiting) >= MAX_WAITING
        return not (self._closed or full)

    def add(self, analysis: Analysis) -> bool:
        """Add an analysis to the queue; False if there is no room."""
        with self._change:
            self._forget_old()
            if not self._has_room(analysis.client):
                return False
            self._all[analysis.key] = analysis
            self._waiting.append(analysis)
            self._change.notify()
            return True

    def stored_bytes(self, client: str | None = None) -> int:
        """Bytes of the files that are waiting or being analyzed, of one client or of all."""
        with self._change:
            return sum(
                analysis.size
                for analysis in self._all.values()
                if analysis.state in (WAITING, RUNNING) and client in (None, analysis.client)
            )

    def _in_turn(self) -> list[Analysis]:
        """The waiting analyses, in the order in which they will run."""
        taken: Counter[str] = Counter()
        turns: list[tuple[int, int]] = []
        for analysis in self._waiting:
            turns.append((taken[analysis.client], self._served.get(analysis.client, -1)))
            taken[analysis.client] += 1
        places = sorted(range(len(turns)), key=lambda place: (turns[place], place))
        return [self._waiting[place] for place in places]

    def get(self, key: str) -> Analysis | None:
        """Find an analysis; None if it does not exist or is no longer kept."""
        with self._change:
            self._forget_old()
            return self._all.get(key)

    def ahead(self, analysis: Analysis) -> int:
        """Number of analyses before it in the queue, with the running one."""
        with self._change:
            place = self._in_turn().index(analysis) if analysis in self._waiting else -1
            running = any(other.state == RUNNING for other in self._all.values())
            return 0 if place < 0 else place + running

    def remove(self, key: str) -> bool:
        """Stop an analysis and delete its result; False if it does not exist."""
        with self._change:
            analysis = self._all.get(key)
            if analysis is None:
                return False
            analysis.stop.set()
            if analysis.state == RUNNING:
                # The thread still uses the file and removes the analysis when it has stopped.
                return True
            if analysis in self._waiting:
                self._waiting.remove(analysis)
            del self._all[key]
        analysis.clean()
        return True

    def close(self) -> None:
        """Stop everything and delete all files."""
        with self._change:
            self._closed = True
            left = list(self._all.values())
            for analysis in left:
                analysis.stop.set()
            self._waiting.clear()
            self._change.notify()
        self._thread.join()
        for analysis in left:
            analysis.clean()
        self._all.clear()

    def _work(self) -> None:
        while True:
            with self._change:
                self._change.wait_for(lambda: self._waiting or self._closed)
                if self._closed:
                    return
                analysis = self._next()
                analysis.state = RUNNING
            self._run(analysis)

    def _next(self) -> Analysis:
        analysis = self._in_turn()[0]
        self._waiting.remove(analysis)
        # The client served last comes last; moved to the end, so that the oldest entries can be dropped.
        self._served.pop(analysis.client, None)
        self._served[analysis.client] = self._count
        self._count += 1
        while len(self._served) > 1000:
            del self._served[next(iter(self._served))]
        return analysis

    def _run(self, analysis: Analysis) -> None:
        end = time.monotonic() + self._max_seconds

        def progress(done: int, total: int) -> None:
            if analysis.stop.is_set():
                raise StoppedAnalysis
            if time.monotonic() > end:
                raise InputError(
                    f'The analysis took longer than {self._max_seconds:g} s, the limit. Cut out the part in '
                    'question, or use tools/infer.py, which has no limit.'
                )
            analysis.done, analysis.total = done, total

        state = FAILED
        try:
            analysis.answer = self._analyze(analysis, progress)
            state = DONE
        except StoppedAnalysis:
            state = STOPPED
        except InputError as error:
            analysis.message = str(error)
        except Exception:
            # A bug must not end the service for everybody else.
            MMLogger.get_current_instance().exception('analysis of a %s file failed', analysis.path.suffix)
            analysis.message = 'The analysis failed because of an error in the program; see its log.'
        analysis.clean()
        with self._change:
            analysis.ended = time.monotonic()
            analysis.state = state
            if analysis.stop.is_set():
                self._all.pop(analysis.key, None)

    def _forget_old(self) -> None:
        ended = [analysis for analysis in self._all.values() if analysis.ended]
        ended.sort(key=lambda analysis: analysis.ended)
        limit = time.monotonic() - self._kept_seconds
        kept = [analysis for analysis in ended if analysis.ended >= limit]
        while len(kept) > self._max_kept:
            # Many results of one client must not displace those of others.
            most = Counter(analysis.client for analysis in kept).most_common(1)[0][0]
            kept.remove(next(analysis for analysis in kept if analysis.client == most))
        for analysis in ended:
            if analysis not in kept:
                del self._all[analysis.key]
