# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import logging
import random
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from mmengine.dataset import BaseDataset
from torch.utils.data import DataLoader

from iid_mm.datasets.forgery_dataset import ForgeryDataset
from iid_mm.datasets.index import INDEX_SCHEMA, read_index, write_index
from iid_mm.errors import InputError, InvalidIndexError
from iid_mm.registry import DATASETS

PIPELINE = [
    {'type': 'LoadForgeryPair'},
    {'type': 'AlignFace', 'size': (64, 64), 'jitter': {}},
    {'type': 'MultiScaleFacialSwap', 'windows': ((20, 30), (64, 64))},
    {'type': 'DegradeFace'},
    {'type': 'FlipFace'},
    {'type': 'PackForgeryInputs'},
]


def names(dataset: BaseDataset) -> list[tuple[str, int]]:
    infos = [dataset.get_data_info(i) for i in range(len(dataset))]
    return [(info['video_key'].removeprefix('ffpp/'), info['frame']) for info in infos]


def test_samples(prepared: Path) -> None:
    dataset = DATASETS.build(
        {'type': 'ForgeryDataset', 'ann_file': 'index.parquet', 'data_root': str(prepared), 'split': 'test'}
    )
    assert dataset.metainfo == {'classes': ('artifact',)}
    videos = ('Deepfakes/c23/002_999', 'FaceSwap/c23/002_999', 'youtube/c23/002')
    assert names(dataset) == [(video, frame) for video in videos for frame in range(4)]
    info = dataset.get_data_info(0)
    landmarks = info.pop('landmarks')
    frames = f'{prepared}/frames/ffpp'
    assert info == {
        'img_path': f'{frames}/Deepfakes/c23/002_999/00000.png',
        'source_img_path': f'{frames}/youtube/c23/002/00000.png',
        'gt_label': 1,
        'video_key': 'ffpp/Deepfakes/c23/002_999',
        'frame': 0,
        'dataset': 'ffpp',
        'method': 'Deepfakes',
        'target_id': '002',
        'source_id': '999',
        'mask_path': None,
        'sample_idx': 0,
    }
    expected = read_index(prepared / 'index.parquet')['landmarks'][0].as_py()
    assert landmarks.dtype == np.float32
    np.testing.assert_array_equal(landmarks.ravel(), np.float32(expected))
    genuine = dataset.get_data_info(8)
    assert genuine['source_img_path'] is None
    assert genuine['source_id'] is None
    assert dataset.get_cat_ids(0) == [1]
    assert dataset.get_cat_ids(8) == [0]


def test_methods_keep_genuine(prepared: Path) -> None:
    dataset = ForgeryDataset('index.parquet', prepared, 'test', methods=['FaceSwap'])
    assert {name.split('/')[0] for name, _ in names(dataset)} == {'FaceSwap', 'youtube'}
    with pytest.raises(InputError, match=r'no fake of Swapper in .*there: Deepfakes, FaceSwap'):
        ForgeryDataset('index.parquet', prepared, 'test', methods=['Swapper', 'FaceSwap'])
    with pytest.raises(InputError, match=r"give a list, e.g. \['FaceSwap'\]"):
        ForgeryDataset('index.parquet', prepared, methods='FaceSwap')  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r'methods=\[\]: name manipulations'):
        ForgeryDataset('index.parquet', prepared, methods=[])


def test_frames_per_video(prepared: Path) -> None:
    for count, frames in ((1, [2]), (2, [1, 3]), (3, [0, 2, 3]), (9, [0, 1, 2, 3])):
        dataset = ForgeryDataset('index.parquet', prepared, 'test', frames_per_video=count)
        assert [frame for name, frame in names(dataset) if name.startswith('FaceSwap')] == frames
        assert len(dataset) == 3 * len(frames)
    with pytest.raises(InputError, match='frames_per_video=0'):
        ForgeryDataset('index.parquet', prepared, frames_per_video=0)


def test_require_pair(prepared: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = read_index(prepared / 'index.parquet').to_pylist()
    for row in rows:
        if row['method'] == 'FaceSwap':
            row['source_image'] = None
    write_index(rows, tmp_path / 'index.parquet')
    assert len(ForgeryDataset(tmp_path / 'index.parquet')) == 24
    with caplog.at_level(logging.WARNING):
        dataset = ForgeryDataset(tmp_path / 'index.parquet', require_pair=True)
    assert len(dataset) == 16
    assert 'FaceSwap' not in str(names(dataset))


def test_several_indices_and_indices(prepared: Path, tmp_path: Path) -> None:
    rows = read_index(prepared / 'index.parquet').to_pylist()
    for row in rows:
        row['dataset'], row['video_key'] = 'copy', row['video_key'].replace('ffpp/', 'copy/')
    write_index(rows, tmp_path / 'index.parquet')
    dataset = ForgeryDataset([prepared / 'index.parquet', tmp_path / 'index.parquet'], split='test')
    assert len(dataset) == 24
    assert dataset.get_data_info(0)['img_path'].startswith(str(prepared))
    assert dataset.get_data_info(12)['img_path'].startswith(str(tmp_path))
    assert len(ForgeryDataset('index.parquet', prepared, indices=5)) == 5
    assert names(ForgeryDataset('index.parquet', prepared, indices=[3, 1]))[0][1] == 3
    assert len(ForgeryDataset('index.parquet', prepared).get_subset(7)) == 7


def test_bad_arguments(prepared: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"split='val' is empty in .*index\.parquet; .* test, train"):
        ForgeryDataset('index.parquet', prepared, 'val')
    with pytest.raises(InputError, match="split='dev'"):
        ForgeryDataset('index.parquet', prepared, 'dev')
    with pytest.raises(FileNotFoundError, match=r'nothing\.parquet'):
        ForgeryDataset('nothing.parquet', prepared)
    with pytest.raises(InputError, match='at least one'):
        ForgeryDataset([])
    with pytest.raises(InputError, match='seed=-1'):
        ForgeryDataset('index.parquet', prepared, seed=-1)
    rows = [r for r in read_index(prepared / 'index.parquet').to_pylist() if r['label']]
    write_index([{**r, 'source_image': None} for r in rows], tmp_path / 'i.parquet')
    with pytest.raises(InputError, match='no sample of split'):
        ForgeryDataset(tmp_path / 'i.parquet', require_pair=True)


@pytest.mark.parametrize(
    ('column', 'value', 'message'),
    [
        ('image', '../secret.png', r"row 0, column 'image': must be a relative path"),
        ('source_image', '/etc/x.png', r"column 'source_image'"),
        ('landmarks', [1.0] * 10, r"column 'landmarks': needs 136 or 162 values"),
    ],
)
def test_invalid_index_is_refused(
    prepared: Path, tmp_path: Path, column: str, value: Any, message: str
) -> None:
    rows = read_index(prepared / 'index.parquet').to_pylist()
    rows[0][column] = value
    pq.write_table(pa.Table.from_pylist(rows, schema=INDEX_SCHEMA), tmp_path / 'i.parquet')
    with pytest.raises(InvalidIndexError, match=message):
        ForgeryDataset(tmp_path / 'i.parquet')
    table = read_index(prepared / 'index.parquet').drop_columns([column])
    pq.write_table(table, tmp_path / 'i.parquet')
    with pytest.raises(InvalidIndexError, match=rf'missing column\(s\) {column}'):
        ForgeryDataset(tmp_path / 'i.parquet')


def test_broken_image_is_an_error_not_another_sample(prepared: Path, tmp_path: Path) -> None:
    rows = read_index(prepared / 'index.parquet').to_pylist()
    write_index(rows, tmp_path / 'index.parquet')
    (tmp_path / 'frames').symlink_to(prepared / 'frames')
    dataset = ForgeryDataset(tmp_path / 'index.parquet', pipeline=PIPELINE)
    assert dataset[0]['inputs'].shape == (3, 64, 64)
    (tmp_path / 'frames').unlink()
    with pytest.raises(FileNotFoundError, match='000_999/00000'):
        dataset[0]
    path = tmp_path / rows[0]['image']
    path.parent.mkdir(parents=True)
    path.write_bytes((prepared / rows[0]['image']).read_bytes()[:2000])
    with pytest.raises(InputError, match=r'000_999/00000.*truncated'):
        dataset[0]


def test_pipeline_that_returns_none_is_an_error(prepared: Path) -> None:
    dataset = ForgeryDataset('index.parquet', prepared, pipeline=[lambda results: None])
    with pytest.raises(RuntimeError, match=r'returned None for .*00000'):
        dataset[0]


def same(first: dict[str, Any], second: dict[str, Any]) -> bool:
    boxes = [item['data_samples'].gt_instances.bboxes.tolist() for item in (first, second)]
    return torch.equal(first['inputs'], second['inputs']) and boxes[0] == boxes[1]


def test_seeded_samples_depend_on_seed_epoch_and_number_alone(prepared: Path) -> None:
    def build(seed: int | None) -> ForgeryDataset:
        return ForgeryDataset('index.parquet', prepared, pipeline=PIPELINE, seed=seed)

    dataset, again = build(5), build(5)
    forward = [dataset[i] for i in range(len(dataset))]
    np.random.seed(99)
    random.seed(99)
    backward = [again[i] for i in reversed(range(len(again)))][::-1]
    assert all(same(a, b) for a, b in zip(forward, backward, strict=True))
    assert not all(same(forward[i], build(6)[i]) for i in range(8))
    dataset.set_epoch(1)
    assert dataset.epoch == 1
    assert not all(same(forward[i], dataset[i]) for i in range(8))
    dataset.set_epoch(0)
    assert same(forward[3], dataset[3])
    unseeded = build(None)
    assert not all(same(unseeded[i], unseeded[i]) for i in range(8))


def test_seeding_leaves_the_global_generators_alone(prepared: Path) -> None:
    dataset = ForgeryDataset('index.parquet', prepared, pipeline=PIPELINE, seed=1)
    np.random.seed(3)
    random.seed(3)
    expected = np.random.rand(), random.random()
    np.random.seed(3)
    random.seed(3)
    dataset[0]
    assert (np.random.rand(), random.random()) == expected


def test_workers_change_nothing_and_see_the_epoch(prepared: Path) -> None:
    dataset = ForgeryDataset('index.parquet', prepared, pipeline=PIPELINE, seed=2, indices=6)
    expected = {}
    for epoch in (0, 1):
        dataset.set_epoch(epoch)
        expected[epoch] = [dataset[i] for i in range(6)]
    loader = DataLoader(dataset, batch_size=None, num_workers=2, persistent_workers=True, prefetch_factor=1)
    for epoch in (1, 0):
        dataset.set_epoch(epoch)
        found = list(loader)
        assert all(same(a, b) for a, b in zip(found, expected[epoch], strict=True))
