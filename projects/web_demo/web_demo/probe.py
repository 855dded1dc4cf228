# SPDX-License-Identifier: Apache-2.0
"""The length of a video, read in a process that can be killed: headers of strangers may claim anything."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

PROBE_SECONDS = 20.0
"""Time limit for opening a video."""
PROBE_MEMORY = 2**30
"""Memory limit for opening a video, bytes."""


class ProbeFailed(Exception):
    """The video cannot be opened within the limits."""


def probe_duration(path: Path, stop: threading.Event) -> float:
    """Length of a video in seconds according to its header; 0 if it cannot be opened or has no length.

    Args:
        path: The video.
        stop: Ends the probe early.

    Raises:
        ProbeFailed: Opening took too long or too much memory, or was stopped.
    """
    command = [sys.executable, str(Path(__file__).resolve()), str(path.resolve())]
    environment = {
        **os.environ,
        'PYTHONPATH': os.pathsep.join(filter(None, sys.path)),
        'OMP_NUM_THREADS': '1',
    }
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
        text=True,
    ) as process:
        end = time.monotonic() + PROBE_SECONDS
        try:
            while process.poll() is None:
                if stop.wait(0.05) or time.monotonic() > end:
                    raise ProbeFailed(f'{PROBE_SECONDS:.0f} s')
            assert process.stdout is not None
            text = process.stdout.read(100)
        finally:
            process.kill()
        if process.returncode:
            raise ProbeFailed(f'{PROBE_MEMORY // 2**20} MiB of memory')
        return float(text)


def limit_memory(more: int) -> None:
    """Limit the memory of this process to what it uses now and ``more`` bytes; no effect outside of Linux."""
    try:
        import resource

        status = Path('/proc/self/status').read_text()
    except (ImportError, OSError):
        return
    used = next((int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith('VmData')), 0)
    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    most = used + more if hard == resource.RLIM_INFINITY else min(used + more, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (most, hard))


def _duration(path: str) -> float:
    import av
    from av.error import FFmpegError

    from iid_mm.media.containers import open_container
    from iid_mm.media.video_reader import VideoReader

    try:
        with open_container(Path(path)) as container:
            if container.duration:
                return float(container.duration / av.time_base)
    except (FFmpegError, OSError, ValueError):
        return 0.0
    # Unfinished streams have no length.
    reader = VideoReader(Path(path))
    return reader.count / reader.rate if reader.rate else 0.0


if __name__ == '__main__':
    limit_memory(PROBE_MEMORY)
    print(_duration(sys.argv[1]))
