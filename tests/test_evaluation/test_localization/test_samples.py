# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from iid_mm.errors import InputError
from iid_mm.evaluation.localization.samples import (
    GENUINE,
    read_localization,
    unique_samples,
    write_localization,
)
from support.localization import make_frame, square


def test_repeated_samples_count_once() -> None:
    samples = [
        make_frame(),
        make_frame(frame=1),
        make_frame('youtube', '000', state=GENUINE),
    ]
    assert unique_samples([*samples[::-1], samples[1], samples[0]]) == samples


def test_file(tmp_path: Path) -> None:
    grid = (255 * square(3, 4)).astype(np.uint8).tobytes()
    samples = unique_samples(
        [
            make_frame(boxes=[(0.9, 0.6, 1.0), (0.5, 0.8, 0.4)], grid=grid),
            make_frame('youtube', '000', state=GENUINE, grid=grid),
        ]
    )
    samples[0].maps[0, 3] = math.nan
    path = tmp_path / 'new' / 'samples.parquet'
    write_localization(samples, path)
    for one, other in zip(read_localization(path), samples, strict=True):
        for name, value in one._asdict().items():
            np.testing.assert_array_equal(value, getattr(other, name))
            assert np.shape(value) == np.shape(getattr(other, name))
    path = path.with_name(f'{"x" * 247}.parquet')
    write_localization([], path)
    assert read_localization(path) == []


def test_bad_files(tmp_path: Path) -> None:
    path = tmp_path / 'samples.parquet'
    with pytest.raises(FileNotFoundError, match=r'samples\.parquet does not exist'):
        read_localization(path)
    path.write_bytes(b'nothing')
    with pytest.raises(InputError, match='is no localization file, or is damaged'):
        read_localization(path)
    sample = make_frame(boxes=[(0.9, 0.6, 1.0)])
    write_localization([sample._replace(center=np.zeros(3))], path)
    with pytest.raises(InputError, match=r"column 'center' does not have the shape \(10,\)"):
        read_localization(path)
