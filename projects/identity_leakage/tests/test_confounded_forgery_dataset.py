# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from identity_leakage import ConfoundedForgeryDataset
from iid_mm.datasets.index import INDEX_SCHEMA, make_video_key, write_index
from iid_mm.errors import InputError
from iid_mm.registry import DATASETS

FRAMES = 10


def row(method: str, video: str, frame: int, target: str | None, source: str | None) -> dict[str, Any]:
    fake = source is not None
    return {
        'image': f'frames/{method}/{video}/{frame:05d}.png',
        'source_image': f'frames/youtube/{target}/{frame:05d}.png' if fake else None,
        'landmarks': np.full(136, 5.0, np.float32).tolist(),
        'label': int(fake),
        'dataset': 'ffpp',
        'method': method,
        'compression': 'c23',
        'video_key': make_video_key('ffpp', method, 'c23', video),
        'frame': frame,
        'split': 'train',
        'target_id': target,
        'source_id': source,
        'crop_window': [0, 0, 9, 9],
        'detector_score': 1.0,
        'mask': None,
    }


def make_index(folder: Path, nameless: bool = False) -> Path:
    """Eight people in four pairs, two manipulations."""
    rows = []
    for pair in range(4):
        for a, b in ((2 * pair, 2 * pair + 1), (2 * pair + 1, 2 * pair)):
            target, source = f'{a:03d}', f'{b:03d}'
            for frame in range(FRAMES):
                rows.append(row('youtube', target, frame, None if nameless else target, None))
                rows += [
                    row(method, f'{target}_{source}', frame, target, source)
                    for method in ('Deepfakes', 'FaceSwap')
                ]
    rows.sort(key=lambda item: (item['video_key'], item['frame']))
    write_index(pa.Table.from_pylist(rows, schema=INDEX_SCHEMA), folder / 'index.parquet')
    return folder


def build(folder: Path, **options: Any) -> Any:
    cfg = {'type': ConfoundedForgeryDataset, 'ann_file': 'index.parquet', 'data_root': str(folder)}
    return DATASETS.build({**cfg, **options})


@pytest.mark.parametrize(('confound', 'more', 'fewer'), [(0.0, 5, 5), (0.8, 9, 1), (-0.8, 1, 9)])
def test_people_are_seen_as_fakes_as_often_as_asked_for(
    tmp_path: Path, confound: float, more: int, fewer: int
) -> None:
    dataset = build(make_index(tmp_path), confound=confound)
    infos = [dataset.get_data_info(i) for i in range(len(dataset))]
    assert len(infos) == 8 * FRAMES
    counts = Counter((info['target_id'], info['gt_label']) for info in infos)
    assert sum(dataset.groups.values()) == 4
    for person, in_fake_group in dataset.groups.items():
        assert counts[person, 1] == (more if in_fake_group else fewer)
        assert counts[person, 0] == FRAMES - counts[person, 1]
    assert {info['method'] for info in infos} == {'youtube', 'Deepfakes', 'FaceSwap'}
    # In the order of the index, as every dataset.
    keys = [(info['video_key'], info['frame']) for info in infos]
    assert keys == sorted(keys)


def test_the_seed_decides_the_groups(tmp_path: Path) -> None:
    folder = make_index(tmp_path)
    assert build(folder).groups == build(folder, confound=0.5, methods=['FaceSwap']).groups
    divisions = [build(folder, group_seed=seed).groups for seed in range(3)]
    assert any(division != divisions[0] for division in divisions)


def test_bad_input(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r'confound=2: must be between -1 and 1'):
        build(make_index(tmp_path), confound=2)
    with pytest.raises(InputError, match=r'80 of 240 samples name no target_id'):
        build(make_index(tmp_path, nameless=True))
