# SPDX-License-Identifier: Apache-2.0
"""Stand-in models of insightface."""

from __future__ import annotations

from pathlib import Path
from urllib.error import URLError

import pytest

from iid_mm.faces.analyzers import insightface_models
from support.onnx_models import write_models


@pytest.fixture
def no_network(monkeypatch):
    def refuse(url, timeout):
        raise URLError('no network in tests')

    monkeypatch.setattr(insightface_models, 'urlopen', refuse)
    monkeypatch.delenv(insightface_models.HOME_VARIABLE, raising=False)


@pytest.fixture(scope='session')
def home(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp('insightface')
    write_models(folder / 'models' / 'buffalo_l')
    return folder
