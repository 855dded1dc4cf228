# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from iid_mm.identity import extraction
from iid_mm.identity.extraction import FILL, HideFace, extract, face_datasets, face_region
from iid_mm.identity.probe_report import untrained_model


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
