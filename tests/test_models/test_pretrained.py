# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import Any
from urllib.error import HTTPError, URLError

import pytest
import torch
from mmengine.logging import MMLogger

from iid_mm.models import pretrained
from iid_mm.registry import MODELS

URL = 'https://example.invalid/weights.pth'


@pytest.fixture
def warnings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    messages: list[str] = []
    monkeypatch.setattr(
        pretrained, 'print_log', lambda text, logger, level: messages.append(f'{level} {text}')
    )
    return messages


def fail_with(error: Exception, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    tried: list[str] = []

    def fetch(url: str) -> None:
        tried.append(url)
        raise error

    monkeypatch.setattr(pretrained, 'fetch_checkpoint', fetch)
    return tried


def build(cfg: dict[str, Any], checkpoint: str) -> Any:
    cfg['backbone']['init_cfg'] = dict(type='Pretrained', checkpoint=checkpoint, prefix='backbone')
    return MODELS.build(cfg)


@pytest.mark.parametrize(
    'error',
    [
        URLError('no route to host'),
        HTTPError(URL, 404, 'Not Found', None, None),  # type: ignore[arg-type]
        ConnectionResetError('no route to host'),
        TimeoutError('no route to host'),
    ],
)
def test_unreachable_url_is_dropped_with_a_warning(
    error: Exception, tiny_model_cfg: dict[str, Any], monkeypatch: pytest.MonkeyPatch, warnings: list[str]
) -> None:
    tried = fail_with(error, monkeypatch)
    model = build(tiny_model_cfg, URL)
    model.init_weights()
    assert tried == [URL]
    assert model.backbone.init_cfg is None
    assert len(warnings) == 1
    for part in ('30 PRETRAINED WEIGHTS NOT LOADED', URL, 'ResNet STARTS FROM RANDOM', 'init_cfg.checkpoint'):
        assert part in warnings[0]


def test_other_entries_of_init_cfg_stay(monkeypatch: pytest.MonkeyPatch, warnings: list[str]) -> None:
    tried = fail_with(URLError('x'), monkeypatch)
    other = dict(type='Kaiming', layer='Conv2d')
    model = torch.nn.Sequential(torch.nn.Identity(), torch.nn.Identity())
    for child in model:
        child.init_cfg = [other, dict(type='Pretrained', checkpoint=URL)]
    assert pretrained.drop_unreachable_weights(model) == [URL]
    assert [child.init_cfg for child in model] == [[other], [other]]
    # One attempt for two modules that name the same file.
    assert tried == [URL]


def test_reachable_url_stays(monkeypatch: pytest.MonkeyPatch, warnings: list[str]) -> None:
    monkeypatch.setattr(pretrained, 'fetch_checkpoint', lambda url: None)
    model = torch.nn.Identity()
    model.init_cfg = dict(type='Pretrained', checkpoint=URL)
    assert pretrained.drop_unreachable_weights(model) == []
    assert model.init_cfg == dict(type='Pretrained', checkpoint=URL)
    assert warnings == []


def test_missing_local_file_is_an_error(tiny_model_cfg: dict[str, Any], warnings: list[str]) -> None:
    MMLogger.get_current_instance()
    model = build(tiny_model_cfg, '/nowhere/weights.pth')
    with pytest.raises(FileNotFoundError, match=r'/nowhere/weights.pth'):
        model.init_weights()
    assert warnings == []


def test_local_weights_are_loaded(tiny_model_cfg: dict[str, Any], tmp_path: Any) -> None:
    donor = MODELS.build(tiny_model_cfg)
    weights = {f'backbone.{k}': torch.full_like(v, 3) for k, v in donor.backbone.state_dict().items()}
    torch.save(dict(state_dict=weights), tmp_path / 'w.pth')
    model = build(tiny_model_cfg, str(tmp_path / 'w.pth'))
    model.init_weights()
    assert all((p == 3).all() for p in model.backbone.parameters())
