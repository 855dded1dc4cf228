# SPDX-License-Identifier: Apache-2.0
"""DistortFace on the dataset of whole videos."""

from __future__ import annotations

import shutil
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from iid_mm.datasets.functional import h264
from iid_mm.datasets.functional.distortion import DISTORTIONS, LEVELS, psnr
from iid_mm.datasets.transforms import DistortFace, LoadForgeryPair
from iid_mm.errors import InputError
from iid_mm.preparation.lmdb_packing import pack_index
from robustness import VideoForgeryDataset

VIDEO = 'video_compression'


def load(dataset: VideoForgeryDataset, index: int) -> dict[str, Any]:
    return dict(LoadForgeryPair(with_source=False).transform(dataset.get_data_info(index)))


@pytest.mark.parametrize('kind', DISTORTIONS)
def test_keys_and_repeats(kind: str, videos: VideoForgeryDataset) -> None:
    results = load(videos, 4)
    before, keys = results['img'].copy(), set(results)
    landmarks = results['landmarks'].copy()
    changed = DistortFace(kind, 3).transform(results)
    assert set(changed) == keys
    assert changed['img'].shape == before.shape
    assert (changed['img'] != before).any()
    np.testing.assert_array_equal(changed['landmarks'], landmarks)
    again = DistortFace(kind, 3).transform(load(videos, 4))
    np.testing.assert_array_equal(again['img'], changed['img'])


@pytest.mark.parametrize('kind', DISTORTIONS)
def test_level_0_is_the_identity(kind: str, videos: VideoForgeryDataset) -> None:
    results = load(videos, 0)
    before = results['img'].copy()
    np.testing.assert_array_equal(DistortFace(kind, 0).transform(results)['img'], before)


def test_place_on_the_disk_and_global_seeds_do_not_matter(
    videos: VideoForgeryDataset, tiny_prepared: Path, tmp_path: Path
) -> None:
    root = Path(shutil.copytree(tiny_prepared, tmp_path / 'moved'))
    moved = VideoForgeryDataset(ann_file='index.parquet', data_root=str(root), split='test', test_mode=True)
    np.random.seed(1)
    first = DistortFace('gaussian_noise', 2).transform(load(videos, 5))['img']
    after = np.random.rand()
    np.random.seed(1)
    assert np.random.rand() == after
    second = DistortFace('gaussian_noise', 2).transform(load(moved, 5))['img']
    np.testing.assert_array_equal(first, second)


def test_samples_differ(videos: VideoForgeryDataset) -> None:
    noise = []
    for index in (0, 1, 3):
        results = load(videos, index)
        clean = results['img'].astype(int)
        noise.append(DistortFace('gaussian_noise', 1).transform(results)['img'] - clean)
    assert np.corrcoef([n.ravel() for n in noise])[np.triu_indices(3, 1)] == pytest.approx(0, abs=0.05)


def test_video_is_encoded_once(videos: VideoForgeryDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    monkeypatch.setattr(
        'iid_mm.datasets.functional.h264.recompress_crops',
        lambda crops, crf: calls.append(crf) or [c.copy() for c in crops],
    )
    transform = DistortFace(VIDEO, 2)
    for index in range(6):
        results = load(videos, index)
        clean = results['img'].copy()
        np.testing.assert_array_equal(transform.transform(results)['img'], clean)
        results['img'][:] = 0
    assert calls == [32, 32]


def test_compressed_crops_are_those_of_the_video(videos: VideoForgeryDataset) -> None:
    clean = [load(videos, index)['img'] for index in (3, 4, 5)]
    transform = DistortFace(VIDEO, 1)
    found = [transform.transform(load(videos, index))['img'] for index in (5, 3, 4)]
    for image, expected in zip(found, np.roll(h264.recompress_crops(clean, 30), 1, axis=0), strict=True):
        np.testing.assert_array_equal(image, expected)


def test_crops_in_a_database(videos: VideoForgeryDataset, tiny_prepared: Path, tmp_path: Path) -> None:
    pytest.importorskip('lmdb')
    shutil.copy(tiny_prepared / 'index.parquet', tmp_path)
    args = dict(data_root=str(tmp_path), ann_file='index.parquet', split='test', test_mode=True)
    pack_index(tiny_prepared, tmp_path / 'images.lmdb', progress=False)
    apart = VideoForgeryDataset(**args, backend_args=dict(backend='lmdb'))
    found, expected = (DistortFace(VIDEO, 2).transform(load(set_, 4)) for set_ in (apart, videos))
    np.testing.assert_array_equal(found['img'], expected['img'])


def test_bad(videos: VideoForgeryDataset) -> None:
    with pytest.raises(InputError, match="'fog' is unknown"):
        DistortFace('fog', 0)
    for level in (-1, 6):
        with pytest.raises(InputError, match='must be one of 1 to 5'):
            DistortFace('jpeg', level)
    results = load(videos, 0)
    del results['video_images']
    with pytest.raises(InputError, match='VideoForgeryDataset'):
        DistortFace(VIDEO, 1).transform(results)


def test_repr() -> None:
    assert repr(DistortFace('jpeg', 3)) == "DistortFace(kind='jpeg', level=3)"


def test_every_level_damages_video_more(videos: VideoForgeryDataset) -> None:
    likeness = []
    for level in LEVELS:
        results = load(videos, 1)
        clean = results['img'].copy()
        likeness.append(psnr(clean, DistortFace(VIDEO, level).transform(results)['img']))
    assert all(b < a for a, b in pairwise(likeness)), likeness
