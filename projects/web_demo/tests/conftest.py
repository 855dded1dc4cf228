# SPDX-License-Identifier: Apache-2.0
"""A server with a tiny detector, and its client."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from iid_mm.apis import IIDInferencer
from iid_mm.inference.sampling import Sampling
from support.media import write_video

from .web_client import Client, FixedAnalyzer


@pytest.fixture
def server() -> Any:
    """The module of the server."""
    from web_demo import server

    return server


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder of temporary files."""
    folder = tmp_path / 'temporary'
    folder.mkdir()
    monkeypatch.setattr('tempfile.tempdir', str(folder))
    return folder


@pytest.fixture(scope='module')
def inferencer(tiny_config: Path, tiny_checkpoint: Path) -> IIDInferencer:
    return IIDInferencer(tiny_config, tiny_checkpoint, 'cpu', analyzer=FixedAnalyzer(), show_progress=False)


@pytest.fixture
def analyzer(inferencer: IIDInferencer) -> Iterator[FixedAnalyzer]:
    found = inferencer.analyzer
    assert isinstance(found, FixedAnalyzer)
    found.frames, found.held_from, found.fault = 0, 1, None
    yield found
    found.gate.set()
    found.fault = None


@pytest.fixture
def make_client(
    server: Any, inferencer: IIDInferencer, analyzer: FixedAnalyzer, temporary: Path
) -> Iterator[Callable[..., Client]]:
    from fastapi.testclient import TestClient

    made: list[Any] = []

    def make(**options: Any) -> Client:
        app = server.create_app(inferencer, **{'sampling': Sampling(frames=4), 'toy': None, **options})
        client = TestClient(app, base_url='http://127.0.0.1:7860')
        client.__enter__()
        made.append(client)
        return Client(client, temporary)

    yield make
    analyzer.gate.set()
    for client in made:
        client.__exit__(None, None, None)
    # No test leaves files behind.
    assert list(temporary.iterdir()) == []


@pytest.fixture
def client(make_client: Callable[..., Client]) -> Client:
    return make_client()


@pytest.fixture(scope='module')
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    frames = [np.full((120, 160, 3), 90 + 10 * i, np.uint8) for i in range(6)]
    return write_video(tmp_path_factory.mktemp('clips') / 'clip.mp4', frames)
