# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json
import math
import runpy

import cv2
import numpy as np
import pytest

from iid_mm.errors import InputError
from iid_mm.utils.cli import run_tool
from storage_benchmark import Crop, all_encoders, compare_to_trace, load_crops, manipulated, measure_storage
from support.paths import REPOSITORY

TOOL = REPOSITORY / 'tools' / 'benchmarks' / 'benchmark.py'


def photograph(side=64, seed=0):
    rng = np.random.default_rng(seed)
    coarse = cv2.resize(rng.uniform(30, 220, (6, 6, 3)).astype(np.float32), (side, side))
    return np.clip(coarse + rng.normal(0, 3, coarse.shape), 0, 255).astype(np.uint8)


def test_manipulated_region():
    genuine = np.full((40, 40, 3), 100, np.uint8)
    fake = genuine.copy()
    fake[20, 20, 1] += 10
    fake[5, 5] += 9
    expected = np.zeros((40, 40), bool)
    expected[16:25, 16:25] = True
    np.testing.assert_array_equal(manipulated(fake, genuine), expected)


def test_energies():
    genuine = np.full((40, 40, 3), 100, np.uint8)
    fake = genuine.copy()
    fake[20, 20] = 130
    error = np.ones((40, 40, 3), np.float32)
    energies = compare_to_trace(error, fake, genuine)
    # 9 x 9 pixels of three channels; the trace is one pixel of three channels.
    assert energies[:2] == (243, 2700)
    # A constant has no fine structure; of a single pixel a Gaussian of 1 px keeps little.
    assert energies[2] == pytest.approx(0, abs=1e-6)
    kept = 1 / (2 * math.pi)
    assert energies[3] == pytest.approx(2700 * (1 - 2 * kept + 1 / (4 * math.pi)), rel=0.02)


def test_measure():
    genuine = photograph()
    fake = genuine.copy()
    fake[20:40, 20:40] = 255 - fake[20:40, 20:40]

    def brighter(image):
        ok, data = cv2.imencode('.png', image + 1)
        assert ok
        return data.tobytes()

    image = np.minimum(fake, 250)
    metrics = measure_storage(
        [Crop(image, genuine), Crop(image, genuine)],
        {'png': all_encoders()['png 6'], 'brighter': brighter},
        rounds=1,
    )
    png = metrics['png']
    assert png['psnr'] is None
    assert (png['changed'], png['error_to_trace'], png['high_error_to_trace']) == (0, 0, 0)
    assert png['encode_ms'] > 0
    assert png['bytes'] == len(all_encoders()['png 6'](image))
    assert metrics['brighter']['psnr'] == pytest.approx(20 * math.log10(255))
    assert metrics['brighter']['changed'] == 1
    energies = compare_to_trace(np.ones(image.shape, np.float32), image, genuine)
    assert metrics['brighter']['error_to_trace'] == pytest.approx(energies[0] / energies[1])
    alone = measure_storage([Crop(image)], {'png': all_encoders()['png 6']}, rounds=1)['png']
    assert (alone['error_to_trace'], alone['high_error_to_trace']) == (None, None)


def test_every_format_is_readable():
    image = photograph(32)
    for name, encode in all_encoders().items():
        decoded = cv2.imdecode(np.frombuffer(encode(image), np.uint8), cv2.IMREAD_COLOR)
        if 'jpg' in name or name in ('webp 95', 'webp 100'):
            assert decoded.shape == image.shape
        else:
            np.testing.assert_array_equal(decoded, image)


def test_load_crops(tiny_prepared, tmp_path):
    crops = load_crops(tiny_prepared / 'index.parquet', 5)
    assert len(crops) == 5
    assert all(crop.genuine is not None and crop.image.shape == (64, 64, 3) for crop in crops)
    assert len(load_crops(tiny_prepared / 'index.parquet', 1000, split='val')) == 4
    small = load_crops(tiny_prepared / 'index.parquet', 2, max_side=32)
    assert [crop.image.shape for crop in small] == [(32, 32, 3)] * 2
    folder = load_crops(tiny_prepared / 'frames', 3)
    assert len(folder) == 3
    assert all(crop.genuine is None for crop in folder)
    with pytest.raises(InputError, match='no crop to measure'):
        load_crops(tmp_path, 3)
    with pytest.raises(FileNotFoundError, match='no such index or folder'):
        load_crops(tmp_path / 'gone', 3)


def test_tool(tiny_prepared, tmp_path, monkeypatch, capsys):
    main = runpy.run_path(str(TOOL))['main']
    command = [str(TOOL), 'storage', '--samples', '2', '--out', str(tmp_path / 'f.json')]
    monkeypatch.setattr('sys.argv', [*command, '--index', str(tiny_prepared / 'index.parquet')])
    assert run_tool(main) == 0
    assert 'webp (as written)' in capsys.readouterr().out
    report = json.loads((tmp_path / 'f.json').read_text())
    assert (report['crops'], report['mean_longest_side']) == (2, 64)
    assert report['formats']['png 1']['error_to_trace'] == 0
    monkeypatch.setattr('sys.argv', [*command, '--images', str(tiny_prepared / 'frames'), '--max-side', '-1'])
    assert run_tool(main) == 1
    assert '--max-side -1' in capsys.readouterr().err
    monkeypatch.setattr('sys.argv', [*command, '--images', str(tiny_prepared / 'frames'), '--max-side', '16'])
    assert run_tool(main) == 0
    assert json.loads((tmp_path / 'f.json').read_text())['mean_longest_side'] == 16
