# SPDX-License-Identifier: Apache-2.0
"""Checkpoints of strangers, through every way in: none may run code, open an address or touch other files.

The harmless harm of these files is a marker file; where one appears, code was run.
"""

from __future__ import annotations

import os
import shutil
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config

from iid_mm.apis import IIDInferencer, init_model
from iid_mm.errors import InputError
from iid_mm.faces.analyzers.base import FaceAnalyzer
from iid_mm.inference.scorer import FaceScorer
from support.paths import REPOSITORY


class Evil:
    """Makes a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return os.system, (f'touch {self.marker}',)


class NoFaces(FaceAnalyzer):
    def analyze(self, image: Any, hint_box: Any = None, *, where: Any = None) -> list[Any]:
        return []


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    return tmp_path / 'ran'


@pytest.fixture
def pickled(tiny_checkpoint: Path, tmp_path: Path, marker: Path) -> Path:
    """A checkpoint whose weights are right and that holds one thing more."""
    content = torch.load(tiny_checkpoint)
    torch.save({**content, 'meta': {'epoch': 1, 'iter': 6}, 'optimizer': Evil(marker)}, tmp_path / 'evil.pth')
    return tmp_path / 'evil.pth'


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    cv2.imwrite(str(tmp_path / 'photo.png'), np.zeros((64, 64, 3), np.uint8))
    return tmp_path / 'photo.png'


@pytest.mark.slow
def test_pickled_code_is_run_by_no_tool(
    call_tool: Any, tiny_config: Path, pickled: Path, photo: Path, tmp_path: Path, marker: Path
) -> None:
    work, out = ['--work-dir', tmp_path / 'work'], tmp_path / 'out'
    calls: list[tuple[Any, ...]] = [
        ('test.py', tiny_config, pickled, *work),
        ('test.py', tiny_config, pickled, '--out-dir', out, *work),
        ('infer.py', photo, '--checkpoint', pickled, '--out', out),
        ('infer.py', photo, '--checkpoint', pickled, '--config', tiny_config, '--out', out),
        ('calibrate.py', tiny_config, pickled, '--out', tmp_path / 'calibrated.pth'),
        ('deployment/export_onnx.py', tiny_config, pickled, tmp_path / 'x.onnx'),
        ('model_converters/caddm2iid.py', pickled, tmp_path / 'y.pth', '--backbone', 'resnet34'),
        ('train.py', tiny_config, '--resume', pickled, *work),
        ('train.py', tiny_config, *work, '--cfg-options', f'load_from={pickled}'),
        (
            'train.py',
            tiny_config,
            *work,
            '--cfg-options',
            'model.backbone.init_cfg.type=Pretrained',
            f'model.backbone.init_cfg.checkpoint={pickled}',
        ),
        ('analysis_tools/show_predictions.py', tiny_config, pickled, '--out', tmp_path / 'p.png'),
    ]
    for call in calls:
        status, message = call_tool(*call)
        assert status == 1, call
        assert 'evil.pth holds more than weights' in message, (call, message)
        assert '\n' not in message
        assert not marker.exists(), call
    with pytest.raises(InputError, match='holds more than weights'):
        init_model(tiny_config, pickled)
    assert not marker.exists()
    # The marker can appear: trust is what it says.
    init_model(tiny_config, pickled, trust=True)
    assert marker.exists()


def test_a_web_page_runs_nothing_of_a_checkpoint(
    pickled: Path, marker: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip('fastapi', reason='needs the extra web')
    pytest.importorskip('uvicorn', reason='needs the extra web')
    monkeypatch.syspath_prepend(str(REPOSITORY / 'projects/web_demo'))
    import app

    monkeypatch.setattr(sys, 'argv', ['app.py', '--checkpoint', str(pickled), '--port', '0'])
    with pytest.raises(InputError, match='holds more than weights'):
        app.main()
    assert not marker.exists()


@pytest.fixture
def store(tiny_config: Path, tmp_path: Path) -> Callable[..., Path]:
    """Write a checkpoint with right weights and a stored config that was changed."""

    def write(change: Callable[[Config], None]) -> Path:
        cfg = Config.fromfile(str(tiny_config))
        weights = init_model(cfg).state_dict()
        change(cfg)
        path = tmp_path / 'stored.pth'
        torch.save({'state_dict': weights, 'meta': {'cfg': cfg.pretty_text}}, path)
        return path

    return write


def infer(checkpoint: Path, **options: Any) -> IIDInferencer:
    return IIDInferencer(weights=checkpoint, device='cpu', analyzer=NoFaces(), **options)


def test_a_stored_detector_of_another_kind_is_not_built(
    store: Any, tiny_config: Path, pickled: Path, tmp_path: Path, marker: Path
) -> None:
    """mmdet's distillation runs the teacher's config and unpickles its weights in its constructor."""
    teacher = tmp_path / 'teacher.py'
    teacher.write_text(f"open({str(marker)!r}, 'w').close()\n" + tiny_config.read_text())

    def distill(cfg: Config) -> None:
        cfg.model.type = 'mmdet.KnowledgeDistillationSingleStageDetector'
        cfg.model.teacher_config, cfg.model.teacher_ckpt = str(teacher), str(pickled)

    def nested(cfg: Config) -> None:
        inner = {**cfg.model}
        inner.update(type='mmdet.KnowledgeDistillationSingleStageDetector', teacher_config=str(teacher))
        cfg.model.backbone = inner

    for change in (distill, nested):
        with pytest.raises(InputError, match=r'KnowledgeDistillation.*--config.*--trust-checkpoint'):
            infer(store(change))
        assert not marker.exists()


def test_pretrained_weights_of_a_stored_config_are_not_looked_at(
    store: Any, pickled: Path, marker: Path
) -> None:
    with socket.create_server(('127.0.0.1', 0)) as server:
        server.setblocking(False)
        address = f'http://127.0.0.1:{server.getsockname()[1]}/x.pth'
        for source in (str(pickled), address):
            for owner in ('model', 'model.backbone', 'model.forgery_head'):
                change = {f'{owner}.init_cfg': dict(type='Pretrained', checkpoint=source)}
                # Weights and config are of one detector, so it answers; what it names stays closed.
                found = infer(store(lambda cfg, change=change: cfg.merge_from_dict(change)))
                assert found.cfg.model.backbone.get('init_cfg') is None
        with pytest.raises(BlockingIOError):
            server.accept()
    assert not marker.exists()


def test_a_stored_model_that_is_much_larger_than_its_weights(store: Any) -> None:
    for change in (
        {'model.neck.channels': 60_000},
        {'model.backbone.base_channels': 60_000},
        {'model.backbone.depth': 60_000},
        {'model.forgery_head.in_channels': 60_000},
    ):
        with pytest.raises(InputError, match=r'stored\.pth describes cannot be built: .*; name the config'):
            infer(store(lambda cfg, change=change: cfg.merge_from_dict(change)))


def test_a_stored_model_whose_parts_do_not_fit(store: Any) -> None:
    with pytest.raises(InputError, match=r'stored\.pth describes cannot be built'):
        infer(store(lambda cfg: cfg.merge_from_dict({'model.fused_level': 7})))


@pytest.mark.parametrize('value', [5, 'x'])
def test_test_settings_of_a_stored_config_that_are_none(store: Any, value: Any) -> None:
    with pytest.raises(InputError, match=r'stored\.pth describes cannot be built'):
        infer(store(lambda cfg: cfg.model.update(test_cfg=value)))


def test_a_stored_pipeline_that_cannot_be_built(store: Any) -> None:
    for change in ({'size': 112, 'foo': 1}, {'size': (112, 112), 'scale': 'x'}):

        def write(cfg: Config, change: dict[str, Any] = change) -> None:
            (step,) = (s for s in cfg.test_dataloader.dataset.pipeline if s['type'] == 'AlignFace')
            step.update(change)

        with pytest.raises(InputError, match=r'stored\.pth describes cannot be built: .*; name the config'):
            infer(store(write))


def test_weights_that_are_not_finite_give_no_answer(store: Any, tmp_path: Path) -> None:
    path = store(lambda cfg: None)
    content = torch.load(path)
    content['state_dict']['forgery_head.fc.bias'] += float('nan')
    torch.save(content, path)
    inferencer = infer(path)
    image = np.zeros((120, 120, 3), np.uint8)
    points = np.random.default_rng(0).uniform(20, 100, (68, 2)).astype(np.float32)
    found = SimpleNamespace(crop=image, landmarks=points)
    scorer = FaceScorer(inferencer.model, inferencer.pipeline)
    frame = SimpleNamespace(number=0)
    with pytest.raises(InputError, match='not finite'):
        scorer.score([(frame, found, scorer.prepare(frame, found))])  # type: ignore[list-item,arg-type]


@pytest.mark.slow
def test_resuming_runs_no_stored_config_and_deletes_nothing_elsewhere(
    call_tool: Any, tiny_config: Path, tmp_path: Path, marker: Path
) -> None:
    work = tmp_path / 'work'
    options = ['--work-dir', work, '--cfg-options', 'train_cfg.max_epochs=1']
    assert call_tool('train.py', tiny_config, *options)[0] == 0
    victim = tmp_path / 'elsewhere/best.pth'
    victim.parent.mkdir()
    victim.touch()
    content = torch.load(work / 'epoch_1.pth', weights_only=False)
    content['meta']['config'] = f"open({str(marker)!r}, 'w').close()"
    # A worse score than any, so that the next validation replaces the best checkpoint.
    content['message_hub']['runtime_info'].update(best_ckpt=str(victim), best_score=-1.0)
    shutil.rmtree(work)
    for part, value in (
        ('optimizer', 5),
        ('optimizer', {'state': {}, 'param_groups': []}),
        ('param_schedulers', 'text'),
        ('param_schedulers', [5]),
        ('message_hub', {**content['message_hub'], 'resumed_keys': {5: 'x'}, 'log_scalars': {'a': 'b'}}),
    ):
        torch.save({**content, part: value}, tmp_path / 'foreign.pth')
        status, message = call_tool(
            'train.py', tiny_config, '--work-dir', work, '--resume', tmp_path / 'foreign.pth'
        )
        # MMEngine passes over scalars that are no history.
        assert status == (0 if part == 'message_hub' else 1), (part, message)
        assert status == 0 or 'foreign.pth cannot be resumed from: ' in message
        assert '\n' not in message
        assert not marker.exists()
    torch.save(content, tmp_path / 'foreign.pth')
    shutil.rmtree(work)
    status, message = call_tool(
        'train.py', tiny_config, '--work-dir', work, '--resume', tmp_path / 'foreign.pth'
    )
    assert status == 0, message
    assert list(work.glob('best_*.pth'))
    assert not marker.exists()
    assert victim.exists()
