# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from iid_mm.datasets.index import INDEX_SCHEMA
from iid_mm.datasets.sample_table import SampleTable


def row(number: int, fake: bool, points: int = 68) -> dict[str, Any]:
    return dict(
        image=f'frames/{number}.png',
        source_image=f'frames/{number}_source.png' if fake else None,
        landmarks=np.arange(2 * points, dtype=np.float32) + number,
        label=int(fake),
        dataset='d',
        method='A' if fake else 'real',
        compression='c23',
        video_key=f'd/{number // 2}',
        frame=10 * number,
        split='train',
        target_id=f't{number}' if number else None,
        source_id=f's{number}' if fake else None,
        crop_window=[0, 0, 1, 1],
        detector_score=1.0,
        mask=f'masks/{number}.png' if number == 1 else None,
    )


def arrow(rows: list[dict[str, Any]], chunk: int = 1) -> pa.Table:
    return pa.concat_tables(
        pa.Table.from_pylist(rows[i : i + chunk], schema=INDEX_SCHEMA) for i in range(0, len(rows), chunk)
    )


# Any object: samples only carry it.
STORAGE: Any = 'lmdb'


@pytest.fixture
def samples() -> SampleTable:
    table = SampleTable()
    table.add(arrow([row(0, False), row(1, True, 81)]), '/one')
    table.add(arrow([row(2, True)]), '/two', storage=STORAGE)
    return table


def test_a_sample_by_hand(samples: SampleTable) -> None:
    found = samples[1]
    landmarks = found.pop('landmarks')
    assert landmarks.dtype == np.float32
    np.testing.assert_array_equal(landmarks, np.arange(162, dtype=np.float32).reshape(81, 2) + 1)
    assert found == dict(
        img_path='/one/frames/1.png',
        source_img_path='/one/frames/1_source.png',
        gt_label=1,
        video_key='d/0',
        frame=10,
        dataset='d',
        method='A',
        target_id='t1',
        source_id='s1',
        mask_path='/one/masks/1.png',
    )
    assert type(found['gt_label']) is type(found['frame']) is int


def test_what_is_missing_is_none(samples: SampleTable) -> None:
    names = ('source_img_path', 'target_id', 'source_id', 'mask_path')
    assert [samples[0][name] for name in names] == [None] * 4


def test_tables_follow_one_another(samples: SampleTable) -> None:
    assert len(samples) == 3
    assert [sample['img_path'] for sample in samples] == [
        '/one/frames/0.png',
        '/one/frames/1.png',
        '/two/frames/2.png',
    ]
    assert samples[-1]['img_path'] == samples[2]['img_path'] == '/two/frames/2.png'
    assert ('storage' in samples[1], samples[2]['storage']) == (False, STORAGE)
    assert [sample['frame'] for sample in samples[::2]] == [0, 20]
    assert samples[3:] == []
    for index in (3, -4):
        with pytest.raises(IndexError, match=f'sample {index} of 3'):
            samples[index]


def test_travels_to_other_processes(samples: SampleTable) -> None:
    for other in (pickle.loads(pickle.dumps(samples)), copy.deepcopy(samples)):
        assert [sample['img_path'] for sample in other] == [sample['img_path'] for sample in samples]


def test_nothing() -> None:
    assert len(SampleTable()) == 0
    assert list(SampleTable()) == []
