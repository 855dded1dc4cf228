# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from iid_mm.datasets.functional import h264
from iid_mm.datasets.transforms import LoadForgeryPair
from iid_mm.errors import InputError
from robustness import DistortOriginal, VideoForgeryDataset
from robustness import originals as originals_module

VIDEO = 'video_compression'


def load(dataset: VideoForgeryDataset, index: int) -> dict[str, Any]:
    return dict(LoadForgeryPair(with_source=False).transform(dataset.get_data_info(index)))


@pytest.fixture
def downloaded(tiny_prepared: Path, tmp_path: Path) -> Path:
    """The tiny set's crops as frames of videos in the layout `folder`, with their keys."""
    for label, name in (
        ('real', 'youtube'),
        ('fake/Deepfakes', 'Deepfakes'),
        ('fake/FaceSwap', 'FaceSwap'),
    ):
        for video in (tiny_prepared / 'frames/ffpp' / name / 'c23').glob('20*'):
            shutil.copytree(video, tmp_path / 'set' / label / video.name)
    return tmp_path / 'set'


def test_exact_for_a_set(tiny_prepared: Path, downloaded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = 'robustness.video_forgery_dataset.find_originals'
    found = originals_module.find_originals(downloaded, 'folder')
    names = {'real': 'youtube'}
    renamed = {}
    for key, source in found.items():
        _, method, _, video = key.split('/', 3)
        renamed[f'ffpp/{names.get(method, method)}/c23/{video.split("/")[-1]}'] = source
    monkeypatch.setattr(module, lambda *_: renamed)
    dataset = VideoForgeryDataset(
        ann_file=str(tiny_prepared / 'index.parquet'),
        split='test',
        test_mode=True,
        originals=dict(root=downloaded, layout='folder'),
    )
    clean = [load(dataset, index)['img'] for index in (0, 1, 2)]
    transform = DistortOriginal(VIDEO, 5)
    exact = [transform.transform(load(dataset, index))['img'] for index in (0, 1, 2)]
    # The crops are the whole frames here: compressing these once each is the same.
    np.testing.assert_array_equal(exact, list(h264.recompress(clean, 40)))
    # A set whose crops come from elsewhere.
    renamed['ffpp/Deepfakes/c23/200_999'] = renamed['ffpp/FaceSwap/c23/201_999']
    with pytest.raises(InputError, match='the crop is not a part of the original video'):
        DistortOriginal(VIDEO, 5).transform(
            load(
                VideoForgeryDataset(
                    ann_file=str(tiny_prepared / 'index.parquet'),
                    split='test',
                    test_mode=True,
                    originals=dict(root=downloaded, layout='folder'),
                ),
                0,
            )
        )
    del renamed['ffpp/youtube/c23/201']
    with pytest.raises(FileNotFoundError, match=r'1 of 9 videos of the index are not in .*youtube/c23/201'):
        VideoForgeryDataset(
            ann_file=str(tiny_prepared / 'index.parquet'),
            split='test',
            originals=dict(root=downloaded, layout='folder'),
        )
