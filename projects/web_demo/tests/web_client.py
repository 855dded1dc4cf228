# SPDX-License-Identifier: Apache-2.0
"""Client of projects/web_demo, and an analyzer that can be paused."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from iid_mm.faces.analyzers.base import Face, FaceAnalyzer

SECONDS = 30
"""Timeout of waiting."""


class FixedAnalyzer(FaceAnalyzer):
    """Finds one face in every image that is not dark; waits at ``gate`` from frame ``held_from`` on."""

    searches = False

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Event()
        self.gate.set()
        self.held_from = 1
        self.frames = 0
        self.fault: Exception | None = None

    def analyze(self, image: Any, hint_box: Any = None, *, where: Any = None) -> list[Face]:
        self.frames += 1
        assert self.frames < self.held_from or self.gate.wait(SECONDS)
        if self.fault is not None:
            raise self.fault
        if image.mean() < 40:
            return []
        t = np.linspace(0, np.pi, 17)
        points = np.full((68, 2), 0.5)
        points[:17] = np.stack([0.5 - 0.25 * np.cos(t), 0.45 + 0.3 * np.sin(t)], axis=1)
        points[36:42], points[42:48] = (0.38, 0.42), (0.62, 0.42)
        points[48:68] = np.stack([np.linspace(0.4, 0.6, 20), np.full(20, 0.65)], axis=1)
        points[48], points[54] = (0.4, 0.65), (0.6, 0.65)
        scaled = (points * min(image.shape[:2])).astype(np.float32)
        return [Face(np.concatenate([scaled.min(0), scaled.max(0)]), 0.9, scaled)]


class Client:
    """Requests of a browser."""

    def __init__(self, client: Any, temporary: Path) -> None:
        self.http = client
        self.temporary = temporary

    def send(self, content: bytes | Path, name: str = 'clip.mp4') -> Any:
        data = content.read_bytes() if isinstance(content, Path) else content
        return self.http.post('/api/analyses', params={'name': name}, content=data)

    def begin(self, content: bytes | Path, name: str = 'clip.mp4') -> str:
        answer = self.send(content, name)
        assert answer.status_code == 202, answer.text
        return str(answer.json()['id'])

    def refused(self, status: int, content: bytes | Path, name: str = 'clip.mp4') -> str:
        answer = self.send(content, name)
        assert answer.status_code == status, answer.text
        assert self.files() == []
        return str(answer.json()['detail'])

    def status(self, key: str) -> dict[str, Any]:
        answer = self.http.get(f'/api/analyses/{key}')
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def wait(self, key: str) -> dict[str, Any]:
        return until(lambda: self.status(key), lambda found: found['state'] in ('done', 'failed'))

    def report(self, key: str) -> str:
        answer = self.http.get(f'/api/analyses/{key}/report')
        assert answer.status_code == 200, answer.text
        return str(answer.text)

    def files(self) -> list[Path]:
        """Uploads that are still there."""
        return sorted(path for path in self.temporary.rglob('upload_*'))


def until(look: Callable[[], Any], good: Callable[[Any], bool] = bool) -> Any:
    """Poll until a value is good."""
    end = time.monotonic() + SECONDS
    while not good(found := look()):
        assert time.monotonic() < end, found
        time.sleep(0.01)
    return found


def image_bytes(level: int = 120, suffix: str = '.jpg') -> bytes:
    image = np.random.default_rng(level).integers(level - 20, level + 20, (120, 160, 3), dtype=np.uint8)
    return bytes(cv2.imencode(suffix, image)[1])
