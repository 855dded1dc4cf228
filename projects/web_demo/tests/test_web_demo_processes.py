# SPDX-License-Identifier: Apache-2.0
"""Processes of projects/web_demo that analyze and open files, and what killed servers leave behind."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from iid_mm.errors import InputError
from iid_mm.inference.sampling import Sampling

from .web_client import Client, until

pytest.importorskip('fastapi', reason="the extra 'web' is not installed")
pytest.importorskip('uvicorn', reason="the extra 'web' is not installed")
pytest.importorskip('httpx', reason="the test client of FastAPI needs httpx, of the extra 'dev'")

STUBBORN = """
import os, time
from iid_mm.errors import InputError

class Stubborn:
    facts = {'checkpoint': 'none'}

    def analyze(self, path, sampling, progress, **options):
        progress(3, 9)
        if path.name == 'fails':
            raise InputError('the reason')
        if path.name == 'crashes':
            os.abort()
        if path.name == 'grows':
            kept = [bytes(2**28) for _ in range(64)]
            raise RuntimeError(len(kept))
        time.sleep(1000)

def fail():
    raise InputError('no such checkpoint')
"""


@pytest.mark.slow
def test_the_process_of_an_analysis_can_be_killed(
    server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An analysis that hangs, takes all memory or crashes ends alone; the next one gets a new process."""
    from web_demo import worker
    from web_demo.analyses import Analysis, AnalysisQueue

    # In a module that the process can import.
    (tmp_path / 'stubborn.py').write_text(STUBBORN)
    monkeypatch.syspath_prepend(str(tmp_path))
    import stubborn

    process = worker.Worker(stubborn.Stubborn, Sampling(), memory_gib=1)
    queue = AnalysisQueue(process.analyze, max_seconds=20)
    try:
        assert process.facts == {'checkpoint': 'none'}
        found = {}
        for name in ('fails', 'crashes', 'grows', 'hangs'):
            analysis = Analysis(name, tmp_path / name)
            assert queue.add(analysis)
            if name == 'hangs':
                until(lambda analysis=analysis: analysis.done == 3)
                before = process._process.pid
                assert queue.remove(analysis.key)
                until(lambda analysis=analysis: queue.get(analysis.key) is None)
                assert before != process._process.pid
            else:
                end = time.monotonic() + 60
                while not analysis.ended and time.monotonic() < end:
                    time.sleep(0.05)
                found[name] = analysis.message
        assert found['fails'] == 'the reason'
        assert found['crashes'].startswith('The analysis exceeded its memory limit')
        if Path('/proc/self/status').exists():
            assert found['grows'].startswith('The analysis exceeded its memory limit')
    finally:
        queue.close()
        process.close()
    with pytest.raises(InputError, match='no such checkpoint'):
        worker.Worker(stubborn.fail, Sampling())


@pytest.mark.parametrize('stops', [False, True])
def test_opening_a_video_can_be_stopped(
    server: Any, tmp_path: Path, clip: Path, monkeypatch: pytest.MonkeyPatch, stops: bool
) -> None:
    from web_demo import probe

    assert probe.probe_duration(clip, threading.Event()) > 0
    (tmp_path / 'junk.mp4').write_bytes(b'\0\0\0\x18ftypisom' + bytes(500))
    assert probe.probe_duration(tmp_path / 'junk.mp4', threading.Event()) == 0
    # FFmpeg would open the files of a playlist and believe its duration.
    listed = tmp_path / 'list.mp4'
    listed.write_text(f'ffconcat version 1.0\nfile {clip.name}\nduration 77\n')
    assert probe.probe_duration(listed, threading.Event()) == 0
    (tmp_path / 'stuck.py').write_text('import time\ntime.sleep(100)')
    monkeypatch.setattr(probe, '__file__', str(tmp_path / 'stuck.py'))
    monkeypatch.setattr(probe, 'PROBE_SECONDS', 100 if stops else 0.2)
    stop = threading.Event()
    if stops:
        stop.set()
    begun = time.monotonic()
    with pytest.raises(probe.ProbeFailed):
        probe.probe_duration(clip, stop)
    assert time.monotonic() - begun < 50


def test_a_video_that_cannot_be_opened_in_time_is_refused(
    client: Client, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from web_demo import probe

    (tmp_path / 'greedy.py').write_text('raise MemoryError')
    monkeypatch.setattr(probe, '__file__', str(tmp_path / 'greedy.py'))
    assert 'takes more than 1024 MiB of memory to open' in client.refused(413, clip)


def test_folders_of_killed_servers_are_deleted(server: Any, temporary: Path) -> None:
    from web_demo.folders import FOLDER_PREFIX, LOCK, clean_up, hold

    pytest.importorskip('fcntl', reason='file locks are not available')
    for name in ('killed', 'running', 'starting', 'old'):
        (temporary / f'{FOLDER_PREFIX}{name}').mkdir()
    outside = temporary / 'outside'
    outside.mkdir()
    (outside / 'kept').touch()
    (temporary / f'{FOLDER_PREFIX}link').symlink_to(outside)
    (temporary / f'{FOLDER_PREFIX}killed' / LOCK).touch()
    os.utime(temporary / f'{FOLDER_PREFIX}old', (0, 0))
    held = hold(temporary / f'{FOLDER_PREFIX}running' / LOCK)
    assert held is not None
    clean_up()
    left = sorted(path.name.removeprefix(FOLDER_PREFIX) for path in temporary.iterdir())
    assert left == ['link', 'outside', 'running', 'starting']
    assert (outside / 'kept').exists()
    os.close(held)
