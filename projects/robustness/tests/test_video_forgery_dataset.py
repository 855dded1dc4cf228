# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest

from iid_mm.errors import InputError
from robustness import VideoForgeryDataset


def test_other_crops_of_the_video(videos: VideoForgeryDataset) -> None:
    assert [(r.start, r.stop) for r in videos.video_ranges] == [(n, n + 3) for n in range(0, 27, 3)]
    for index in range(27):
        info = videos.get_data_info(index)
        assert info['video_images'][info['video_position']] == info['img_path']
        assert len(info['video_images']) == 3
        folder = Path(info['img_path']).parent
        assert [Path(path).name for path in info['video_images']] == sorted(p.name for p in folder.iterdir())


def test_thinned_out(tiny_prepared: Path) -> None:
    file = str(tiny_prepared / 'index.parquet')
    dataset = VideoForgeryDataset(ann_file=file, split='test', frames_per_video=2, test_mode=True)
    assert {len(dataset.get_data_info(i)['video_images']) for i in range(len(dataset))} == {2}


def test_unknown_layout(tiny_prepared: Path) -> None:
    with pytest.raises(InputError, match='magic'):
        VideoForgeryDataset(
            ann_file=str(tiny_prepared / 'index.parquet'),
            split='test',
            originals=dict(root=tiny_prepared, layout='magic'),
        )
