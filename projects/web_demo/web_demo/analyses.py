# SPDX-License-Identifier: Apache-2.0
"""Analyses that wait for their turn, run, and are kept for a while."""

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
"""Analyses that wait; more are sent away."""
MAX_WAITING_A_CLIENT = 8
"""Of one client, so that nobody keeps all others out."""
KEPT_SECONDS = 1800.0
"""How long an answer can be looked at."""
MAX_KEPT = 32
"""Answers that are kept at most; the oldest go first."""


class StoppedAnalysis(Exception):
    """Somebody has stopped the analysis."""


@dataclass(frozen=True)
class Answer:
    """What is kept of an analysis, in memory.

    Attributes:
        headline: The answer in words.
        report: The HTML page.
        content: What the JSON file holds.
    """

    headline: str
    report: str
    content: dict[str, Any]


@dataclass(eq=False)
class Analysis:
    """One analysis.

    Attributes:
        name: Name of the file, to be shown.
        path: The file.
        folder: Is deleted as soon as the analysis has ended; None for what is not ours to delete.
        note: What is odd about the file.
        client: Who sent it, see :func:`~web_demo.connections.client_of`.
        size: Bytes of the file.
        key: By whom it is found; cannot be guessed.
        state: ``waiting``, ``running``, ``done``, ``failed`` or ``stopped``.
        done: Frames looked at.
        total: Frames to look at; 0 before that is known.
        message: Why it failed.
        answer: The answer.
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
    """Analyze a file and write the page, all in memory."""
    (result,) = inferencer.analyze(analysis.path, sampling=sampling, progress=progress, keep_going=False)
    # The page shows the name that the user knows.
    result.source = result.name = analysis.name
    if analysis.note:
        result.problems.insert(0, analysis.note)
    return Answer(verdict_of(result).headline, render_html_report(result, analysis.path), result.as_dict())


class AnalysisQueue:
    """Runs analyses one after the other in a thread of its own; may be called from any thread.

    One at a time, since neither models nor face analyzers are made to be used by several threads, and two
    at once would take as long as one after the other.

    Clients take turns: who sends several files waits with the second until all others had their first.

    Args:
        analyze: Makes the answer; is given the analysis and what to tell of its progress, which raises
            what ends it.
        max_seconds: How long an analysis may last.
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
        """Whether a client may let one more analysis wait."""
        with self._change:
            return self._has_room(client)

    def _has_room(self, client: str) -> bool:
        mine = sum(analysis.client == client for analysis in self._waiting)
        full = mine >= MAX_WAITING_A_CLIENT or len(self._waiting) >= MAX_WAITING
        return not (self._closed or full)

    def add(self, analysis: Analysis) -> bool:
        """Let an analysis wait for its turn; False if there is no room for it."""
        with self._change:
            self._forget_old()
            if not self._has_room(analysis.client):
                return False
            self._all[analysis.key] = analysis
            self._waiting.append(analysis)
            self._change.notify()
            return True

    def stored_bytes(self, client: str | None = None) -> int:
        """Bytes of the files that wait or are looked at, of a client or of all."""
        with self._change:
            return sum(
                analysis.size
                for analysis in self._all.values()
                if analysis.state in (WAITING, RUNNING) and client in (None, analysis.client)
            )

    def _in_turn(self) -> list[Analysis]:
        """What waits, in the order in which it will be looked at."""
        taken: Counter[str] = Counter()
        turns: list[tuple[int, int]] = []
        for analysis in self._waiting:
            turns.append((taken[analysis.client], self._served.get(analysis.client, -1)))
            taken[analysis.client] += 1
        places = sorted(range(len(turns)), key=lambda place: (turns[place], place))
        return [self._waiting[place] for place in places]

    def get(self, key: str) -> Analysis | None:
        """Find an analysis; None if there is none, or none any more."""
        with self._change:
            self._forget_old()
            return self._all.get(key)

    def ahead(self, analysis: Analysis) -> int:
        """How many come before it."""
        with self._change:
            place = self._in_turn().index(analysis) if analysis in self._waiting else -1
            running = any(other.state == RUNNING for other in self._all.values())
            return 0 if place < 0 else place + running

    def remove(self, key: str) -> bool:
        """Stop an analysis and forget it; False if there is none."""
        with self._change:
            analysis = self._all.get(key)
            if analysis is None:
                return False
            analysis.stop.set()
            if analysis.state == RUNNING:
                # The thread still works with the file; it forgets the analysis when it has stopped.
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
        # Who was served last comes last; moved to the end, so that the oldest can be forgotten.
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
            # A defect must not end the service for everybody else.
            MMLogger.get_current_instance().exception('analysis of a %s file failed', analysis.path.suffix)
            analysis.message = 'The analysis failed because of an error in the program; its log tells more.'
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
            # Nobody pushes out the answers of others with many of his own.
            most = Counter(analysis.client for analysis in kept).most_common(1)[0][0]
            kept.remove(next(analysis for analysis in kept if analysis.client == most))
        for analysis in ended:
            if analysis not in kept:
                del self._all[analysis.key]
