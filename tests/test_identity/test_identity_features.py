# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import sys
from collections.abc import Callable
from importlib import util
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from iid_mm.apis import init_model
from iid_mm.datasets.index import read_index, write_index
from iid_mm.errors import InputError
from iid_mm.identity import extraction
from iid_mm.identity.clips import select_clips
from iid_mm.identity.extraction import FILL, HideFace, extract, face_datasets, face_region
from iid_mm.identity.features import FeatureExtractor, chosen_features, pool
from iid_mm.identity.probe_runs import untrained_model
from iid_mm.utils.cli import run_tool
from iid_mm.utils.config import load_config
from support.paths import REPOSITORY


@pytest.fixture(scope='module')
def tiny(tiny_config: Path) -> tuple[Any, Any]:
    """Config and model with random weights."""
    cfg = load_config(tiny_config)
    return cfg, untrained_model(cfg, 0)


@pytest.fixture(scope='module')
def takes(tiny_prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three indexes of the tiny set with frames of their own, as clips of the same people."""
    folders = [tiny_prepared]
    for number in (1, 2):
        root = tmp_path_factory.mktemp(f'take{number}')
        (root / 'frames').symlink_to(tiny_prepared / 'frames')
        rows = read_index(tiny_prepared / 'index.parquet').to_pylist()
        write_index([{**row, 'detector_score': 1.0 - number / 10} for row in rows], root / 'index.parquet')
        folders.append(root)
    return folders


@pytest.fixture
def call_probe(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    def call(tool: str, *arguments: Any) -> tuple[int, str, str]:
        path = REPOSITORY / 'tools' / 'analysis_tools' / tool
        spec = util.spec_from_file_location(path.stem, path)
        assert spec is not None
        assert spec.loader is not None
        module = util.module_from_spec(spec)
        spec.loader.exec_module(module)
        monkeypatch.setattr(sys, 'argv', [tool, *map(str, arguments)])
        status = run_tool(module.main)
        shown = capsys.readouterr()
        return status, shown.out, shown.err

    return call


@pytest.fixture(scope='module')
def checkpoint(tiny: tuple[Any, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp('weights') / 'tiny.pth'
    torch.save({'state_dict': tiny[1].state_dict()}, path)
    return path


def test_pooling_by_hand() -> None:
    maps = torch.arange(8.0).reshape(1, 2, 2, 2)
    assert pool(maps).tolist() == [[1.5, 5.5]]
    assert pool((maps, 'shape')).tolist() == [[1.5, 5.5]]
    assert pool(torch.tensor([[[1.0, 2], [3, 6]]])).tolist() == [[2, 4]]
    with pytest.raises(InputError, match='str'):
        pool('map')


def test_features_are_those_of_the_network(tiny: tuple[Any, Any]) -> None:
    _, model = tiny
    inputs = torch.randint(0, 255, (3, 3, 112, 112), dtype=torch.uint8)
    found = FeatureExtractor(model)(inputs)
    assert {name: tuple(value.shape) for name, value in found.items()} == {
        'pixels': (3, 768),
        'backbone.layer1': (3, 8),
        'backbone.layer2': (3, 16),
        'backbone.layer3': (3, 32),
        'backbone': (3, 32),
        **{f'neck.{i}': (3, 16) for i in range(4)},
        'fused': (3, 32),
        'logits': (3, 2),
    }
    with torch.no_grad():
        predicted = model.test_step({'inputs': list(inputs), 'data_samples': None})
    scores = torch.stack([sample.pred_score for sample in predicted])
    torch.testing.assert_close(found['logits'].softmax(1), scores)
    torch.testing.assert_close(found['backbone'], found['backbone.layer3'])
    torch.testing.assert_close(
        model.forgery_head.fc(found['fused']).detach(), found['logits'], rtol=1e-4, atol=1e-5
    )
    assert not any(module._forward_hooks for module in model.modules())


def test_a_baseline_without_neck_has_features_too(tiny_config: Path) -> None:
    changes = {'model.neck': None, 'model.artifact_head': None, 'model.forgery_head.artifact_channels': None}
    model = untrained_model(load_config(tiny_config, changes), 0)
    names = FeatureExtractor(model).shapes((112, 112))
    assert [name for name in names if 'layer' not in name] == ['pixels', 'backbone', 'fused', 'logits']


def test_other_backbones_tell_their_stages(tiny_config: Path) -> None:
    backbone = dict(_delete_=True, type='mmpretrain.MobileNetV2', widen_factor=0.5, out_indices=(4, 6))
    changes = {
        'model.backbone': backbone,
        'model.neck': None,
        'model.artifact_head': None,
        'model.forgery_head.artifact_channels': None,
        'model.forgery_head.in_channels': 160,
    }
    names = FeatureExtractor(untrained_model(load_config(tiny_config, changes), 0)).shapes((64, 64))
    assert names['backbone'] == 160
    assert sum(name.startswith('backbone.') for name in names) >= 1


def test_names_are_checked() -> None:
    known = ['pixels', 'backbone', 'fused']
    assert chosen_features(None, known) == ['backbone', 'fused']
    assert chosen_features(['fused', 'pixels'], known) == ['pixels', 'fused']
    with pytest.raises(InputError, match=r'head.*unknown.*backbone'):
        chosen_features(['head'], known)


def test_untrained_networks_depend_on_the_seed_only(tiny_config: Path) -> None:
    cfg = load_config(tiny_config)
    one, same, other = (untrained_model(cfg, seed).state_dict() for seed in (0, 0, 1))
    key = 'backbone.layer2.0.conv1.weight'
    assert torch.equal(one[key], same[key])
    assert not torch.equal(one[key], other[key])


def test_extraction_is_resumed_and_survives_damage(
    tiny: tuple[Any, Any], tiny_prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg, model = tiny
    monkeypatch.setattr(extraction, 'PART_ROWS', 20)
    datasets = face_datasets(cfg, [tiny_prepared])
    found = extract(model, datasets, ['backbone', 'logits'], tmp_path, batch_size=7)
    assert len(found) == 57
    assert found.features == ['backbone', 'logits']
    (folder,) = tmp_path.iterdir()
    parts = sorted(folder.iterdir())
    assert [pq.read_metadata(part).num_rows for part in parts] == [20, 20, 17]
    parts[1].write_bytes(b'damaged')
    times = [part.stat().st_mtime_ns for part in parts]
    again = extract(model, face_datasets(cfg, [tiny_prepared]), ['backbone', 'logits'], tmp_path)
    np.testing.assert_allclose(again.feature('backbone'), found.feature('backbone'), rtol=1e-4, atol=1e-5)
    assert [part.stat().st_mtime_ns == time for part, time in zip(parts, times, strict=True)] == [
        True,
        False,
        True,
    ]
    other = untrained_model(cfg, 1)
    extract(other, face_datasets(cfg, [tiny_prepared]), ['backbone', 'logits'], tmp_path)
    assert len(list(tmp_path.iterdir())) == 2


def test_fakes_are_in_the_clip_of_their_genuine_recording(
    tiny: tuple[Any, Any], takes: list[Path], tmp_path: Path
) -> None:
    cfg, model = tiny
    faces = extract(model, face_datasets(cfg, takes, split='test'), ['logits'], tmp_path)
    genuine, both = select_clips(faces), select_clips(faces, 'both')
    assert genuine.names == both.names == ['200', '201', '202']
    assert (genuine.rows.size, both.rows.size) == (27, 81)
    assert np.unique(genuine.clip).size == np.unique(both.clip).size == 9
    # Every fake has the source 999.
    with pytest.raises(InputError, match='needs at least 2 such'):
        select_clips(faces, 'fakes', 'source')


def test_hiding_the_face_keeps_the_corner() -> None:
    points = np.array([[60 + 20 * np.cos(t), 60 + 25 * np.sin(t)] for t in np.linspace(0, 6, 68)], np.float32)
    points[27], points[33] = (60, 50), (60, 60)
    image = np.full((112, 112, 3), 9, np.uint8)
    hidden = HideFace()({'img': image, 'landmarks': points})['img']
    assert (hidden[60, 60] == FILL).all()
    assert (hidden[0, 0] == 9).all()
    assert (image == 9).all()
    region = face_region(points, (112, 112))
    assert all(region[int(y), int(x)] for x, y in points)


def test_tool_from_end_to_end(
    tiny_config: Path, checkpoint: Path, takes: list[Path], tmp_path: Path, call_probe: Callable[..., Any]
) -> None:
    arguments = (tiny_config, checkpoint, '--index', *takes, '--out', tmp_path, '--seeds', 2)
    status, out, err = call_probe('identity_probe.py', *arguments, '--features', 'backbone', 'logits')
    assert (status, err) == (0, '')
    # The takes show the same images, so that pixels suffice.
    rows = [[cell.strip() for cell in line.strip('|').split('|')] for line in out.splitlines()]
    assert {('trained', 'backbone'), ('shuffled', 'logits')} <= {tuple(row[:2]) for row in rows}
    assert any(row[:2] == ['pixels', 'pixels'] and row[2].startswith('1.000') for row in rows)
    assert 'recognizer: left out' in out
    for suffix in ('json', 'md', 'png'):
        assert (tmp_path / f'identity_probe.{suffix}').stat().st_size > 500


def test_tool_lists_features(tiny_config: Path, checkpoint: Path, call_probe: Callable[..., Any]) -> None:
    status, out, _ = call_probe('identity_probe.py', tiny_config, checkpoint, '--list-features')
    assert status == 0
    assert [line.split() for line in out.splitlines()][1] == ['backbone.layer1', '8']


def test_tool_refuses_bad_input(
    tiny_config: Path,
    checkpoint: Path,
    tiny_prepared: Path,
    takes: list[Path],
    tmp_path: Path,
    call_probe: Callable[..., Any],
) -> None:
    nobody = tmp_path / 'nobody'
    rows = read_index(tiny_prepared / 'index.parquet').to_pylist()
    write_index(
        [{**row, 'target_id': None} for row in rows if row['split'] == 'val'], nobody / 'index.parquet'
    )
    (nobody / 'frames').symlink_to(tiny_prepared / 'frames')
    other = tmp_path / 'other.pth'
    torch.save({'state_dict': {'weight': torch.zeros(1)}}, other)
    start = (tiny_config, checkpoint, '--out', tmp_path / 'out')
    for arguments, text in (
        ((*start, '--index', tiny_prepared), 'two clips or more'),
        ((*start, '--index', tiny_prepared, '--split-time'), 'need 8'),
        ((*start, '--index', tiny_prepared, tiny_prepared), 'has the content of'),
        ((*start, '--index', nobody), 'names no target identity'),
        ((*start, '--index', *takes, '--features', 'nose'), 'nose: unknown'),
        ((*start, '--index', *takes, '--controls', 'luck'), 'luck: choose of'),
        ((*start, '--index', *takes, '--split', 'half'), 'half: choose one'),
        ((*start, '--index', *takes, '--recognizer-dir', tmp_path / 'no'), 'does not exist'),
        (start, 'name at least one'),
        ((*start, '--index', tmp_path / 'no.parquet'), 'does not exist'),
        ((tiny_config, other, '--index', *takes), 'other.pth'),
    ):
        status, _, err = call_probe('identity_probe.py', *arguments)
        assert (status, text in err) == (1, True), err


def test_init_model_and_untrained_have_the_same_form(tiny: tuple[Any, Any], checkpoint: Path) -> None:
    cfg, model = tiny
    loaded = init_model(cfg, checkpoint)
    assert all(torch.equal(a, b) for a, b in zip(loaded.parameters(), model.parameters(), strict=True))


def test_shift_tool(
    tiny_config: Path, checkpoint: Path, takes: list[Path], tmp_path: Path, call_probe: Callable[..., Any]
) -> None:
    arguments = (tiny_config, checkpoint, '--index', *takes, '--json', tmp_path / 'shift.json')
    status, out, err = call_probe('identity_shift.py', *arguments)
    assert (status, err) == (0, '')
    # The takes show the same images: all variance of genuine videos is between people.
    line = next(line for line in out.splitlines() if 'ICC(1) of genuine videos, logit' in line)
    assert '1.000 (' in line
    assert '3 identities' in out
    assert json.loads((tmp_path / 'shift.json').read_text())['videos'] == 27
    for wrong, text in (((), 'give CONFIG CKPT'), (('--scores', tmp_path / 'no.parquet'), 'does not exist')):
        status, _, err = call_probe('identity_shift.py', *wrong)
        assert (status, text in err) == (1, True), err
    status, _, err = call_probe('identity_shift.py', tiny_config, checkpoint, '--scores', 'x', '--index', 'y')
    assert (status, 'either' in err) == (1, True)
