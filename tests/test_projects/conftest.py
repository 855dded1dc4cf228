# SPDX-License-Identifier: Apache-2.0
"""What several tests of the projects share."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from iid_mm.apis import IIDInferencer, init_model
from iid_mm.inference.sampling import Sampling
from iid_mm.testing.media import write_video

from .web_client import Client, FixedAnalyzer

SELF_BLENDED = Path(__file__).parents[2] / 'projects' / 'self_blended'
WEB_DEMO = Path(__file__).resolve().parents[2] / 'projects/web_demo'
sys.path.insert(0, str(SELF_BLENDED))

from self_blended.blend import BlendPlan, ColorChange  # noqa: E402


def blend_plan(**options: Any) -> BlendPlan:
    """A plan of a blend that changes nothing but what is given."""
    values: dict[str, Any] = dict(
        change=ColorChange(),
        of_source=True,
        scale=(1.0, 1.0),
        shift=(0.0, 0.0),
        hull='face',
        bend=np.zeros((5, 5, 2)),
        sigmas=(2.0, 2.0),
        ratio=1.0,
    )
    return BlendPlan(**{**values, **options})


# The web page of projects/web_demo.


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module with the addresses; the folder of the project is on the path as when its script runs."""
    monkeypatch.syspath_prepend(str(WEB_DEMO))
    from web_demo import server

    return server


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the service puts temporary files."""
    folder = tmp_path / 'temporary'
    folder.mkdir()
    monkeypatch.setattr('tempfile.tempdir', str(folder))
    return folder


@pytest.fixture(scope='module')
def inferencer(tiny_config: Path, tmp_path_factory: pytest.TempPathFactory) -> IIDInferencer:
    path = tmp_path_factory.mktemp('weights') / 'tiny.pth'
    torch.manual_seed(0)
    torch.save(dict(state_dict=init_model(tiny_config).state_dict(), meta={}), path)
    return IIDInferencer(tiny_config, path, 'cpu', analyzer=FixedAnalyzer(), show_progress=False)


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
    # Nothing is left behind, whatever a test has done.
    assert list(temporary.iterdir()) == []


@pytest.fixture
def client(make_client: Callable[..., Client]) -> Client:
    return make_client()


@pytest.fixture(scope='module')
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    frames = [np.full((120, 160, 3), 90 + 10 * i, np.uint8) for i in range(6)]
    return write_video(tmp_path_factory.mktemp('clips') / 'clip.mp4', frames)
