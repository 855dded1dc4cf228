# SPDX-License-Identifier: Apache-2.0
"""The transform, the dataset of whole videos, their batches, and original videos."""

from __future__ import annotations

import shutil
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from iid_mm.datasets import DistortFace, LoadForgeryPair
from iid_mm.datasets.functional import h264
from iid_mm.datasets.functional.distortion import DISTORTIONS, LEVELS, psnr
from iid_mm.errors import InputError
from iid_mm.structures.video_record import ImageFiles, VideoFile
from iid_mm.utils.typing import ImageArray
from robustness import DistortOriginal, VideoBatchSampler, VideoForgeryDataset
from robustness import originals as originals_module
from robustness.originals import CropPlace, recompress_original
from support.media import make_frames, write_image, write_video

VIDEO = 'video_compression'
LOAD = dict(type='LoadForgeryPair', with_source=False)


@pytest.fixture
def videos(tiny_prepared: Path) -> VideoForgeryDataset:
    """9 videos of 3 frames."""
    return VideoForgeryDataset(ann_file=str(tiny_prepared / 'index.parquet'), split='test', test_mode=True)


def load(dataset: VideoForgeryDataset, index: int) -> dict[str, Any]:
    return dict(LoadForgeryPair(with_source=False).transform(dataset.get_data_info(index)))


class TestTransform:
    @pytest.mark.parametrize('kind', DISTORTIONS)
    def test_keys_and_repeats(self, kind: str, videos: VideoForgeryDataset) -> None:
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
    def test_level_0_is_the_identity(self, kind: str, videos: VideoForgeryDataset) -> None:
        results = load(videos, 0)
        before = results['img'].copy()
        np.testing.assert_array_equal(DistortFace(kind, 0).transform(results)['img'], before)

    def test_place_on_the_disk_and_global_seeds_do_not_matter(
        self, videos: VideoForgeryDataset, tiny_prepared: Path, tmp_path: Path
    ) -> None:
        root = Path(shutil.copytree(tiny_prepared, tmp_path / 'moved'))
        moved = VideoForgeryDataset(
            ann_file='index.parquet', data_root=str(root), split='test', test_mode=True
        )
        np.random.seed(1)
        first = DistortFace('gaussian_noise', 2).transform(load(videos, 5))['img']
        after = np.random.rand()
        np.random.seed(1)
        assert np.random.rand() == after
        second = DistortFace('gaussian_noise', 2).transform(load(moved, 5))['img']
        np.testing.assert_array_equal(first, second)

    def test_samples_differ(self, videos: VideoForgeryDataset) -> None:
        noise = []
        for index in (0, 1, 3):
            results = load(videos, index)
            clean = results['img'].astype(int)
            noise.append(DistortFace('gaussian_noise', 1).transform(results)['img'] - clean)
        assert np.corrcoef([n.ravel() for n in noise])[np.triu_indices(3, 1)] == pytest.approx(0, abs=0.05)

    def test_video_is_encoded_once(
        self, videos: VideoForgeryDataset, monkeypatch: pytest.MonkeyPatch
    ) -> None:
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

    def test_compressed_crops_are_those_of_the_video(self, videos: VideoForgeryDataset) -> None:
        clean = [load(videos, index)['img'] for index in (3, 4, 5)]
        transform = DistortFace(VIDEO, 1)
        found = [transform.transform(load(videos, index))['img'] for index in (5, 3, 4)]
        for image, expected in zip(found, np.roll(h264.recompress_crops(clean, 30), 1, axis=0), strict=True):
            np.testing.assert_array_equal(image, expected)

    def test_crops_that_are_not_beside_the_index(
        self, videos: VideoForgeryDataset, tiny_prepared: Path, tmp_path: Path
    ) -> None:
        shutil.copy(tiny_prepared / 'index.parquet', tmp_path)
        args = dict(data_root=str(tmp_path), ann_file='index.parquet', split='test', test_mode=True)
        apart = VideoForgeryDataset(**args, backend_args=dict(prefix=str(tiny_prepared)))
        found, expected = (DistortFace(VIDEO, 2).transform(load(set_, 4)) for set_ in (apart, videos))
        np.testing.assert_array_equal(found['img'], expected['img'])

    def test_bad(self, videos: VideoForgeryDataset) -> None:
        with pytest.raises(InputError, match="'fog' is unknown"):
            DistortFace('fog', 0)
        for level in (-1, 6):
            with pytest.raises(InputError, match='must be one of 1 to 5'):
                DistortFace('jpeg', level)
        results = load(videos, 0)
        del results['video_images']
        with pytest.raises(InputError, match='VideoForgeryDataset'):
            DistortFace(VIDEO, 1).transform(results)

    def test_repr(self) -> None:
        assert repr(DistortFace('jpeg', 3)) == "DistortFace(kind='jpeg', level=3)"


class TestVideos:
    def test_other_crops_of_the_video(self, videos: VideoForgeryDataset) -> None:
        assert [(r.start, r.stop) for r in videos.video_ranges] == [(n, n + 3) for n in range(0, 27, 3)]
        for index in range(27):
            info = videos.get_data_info(index)
            assert info['video_images'][info['video_position']] == info['img_path']
            assert len(info['video_images']) == 3
            folder = Path(info['img_path']).parent
            assert [Path(path).name for path in info['video_images']] == sorted(
                p.name for p in folder.iterdir()
            )

    def test_thinned_out(self, tiny_prepared: Path) -> None:
        file = str(tiny_prepared / 'index.parquet')
        dataset = VideoForgeryDataset(ann_file=file, split='test', frames_per_video=2, test_mode=True)
        assert {len(dataset.get_data_info(i)['video_images']) for i in range(len(dataset))} == {2}

    @pytest.mark.parametrize('size', [1, 2, 3, 7, 64])
    @pytest.mark.parametrize('processes', [1, 2, 3])
    def test_batches(
        self, size: int, processes: int, videos: VideoForgeryDataset, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        module = 'robustness.datasets.video_batch_sampler.get_dist_info'
        parts = []
        for rank in range(processes):
            monkeypatch.setattr(module, lambda rank=rank: (rank, processes))
            sampler = VideoBatchSampler(SimpleNamespace(dataset=videos), size)
            parts.append(list(sampler))
            assert len(sampler) == len(parts[-1])
        batches = [parts[n % processes][n // processes] for n in range(sum(map(len, parts)))]
        assert [i for batch in batches for i in batch] == list(range(27))
        assert max(map(len, batches)) <= size
        if size >= 3:
            # No video lies in two batches.
            assert all(batch[0] % 3 == 0 and batch[-1] % 3 == 2 for batch in batches)
        monkeypatch.setattr(module, lambda: (0, 1))
        assert list(VideoBatchSampler(SimpleNamespace(dataset=videos), size)) == batches

    def test_bad_batches(self, videos: VideoForgeryDataset) -> None:
        with pytest.raises(InputError, match='batch_size=0'):
            VideoBatchSampler(SimpleNamespace(dataset=videos), 0)

    def test_workers_give_the_same(self, tiny_prepared: Path, iid_scope: None) -> None:
        pipeline = [LOAD, dict(type='DistortFace', kind=VIDEO, level=4)]
        file = str(tiny_prepared / 'index.parquet')
        dataset = VideoForgeryDataset(ann_file=file, split='test', test_mode=True, pipeline=pipeline)
        found = {}
        for workers in (0, 2):
            loader = torch.utils.data.DataLoader(
                dataset,
                batch_sampler=VideoBatchSampler(SimpleNamespace(dataset=dataset), 7),
                num_workers=workers,
                collate_fn=list,
            )
            found[workers] = [sample['img'] for batch in loader for sample in batch]
        np.testing.assert_array_equal(found[0], found[2])


@pytest.fixture
def clip(tmp_path: Path) -> tuple[VideoFile, list[ImageArray]]:
    """Frames as images, so that nothing is lost before the compression."""
    frames = make_frames(20, size=(96, 64))
    names = [write_image(tmp_path / f'{n:03d}.png', image).name for n, image in enumerate(frames)]
    return ImageFiles(tmp_path, tuple(names), tuple(range(20))), frames  # type: ignore[return-value]


class TestOriginals:
    def test_crops_of_compressed_frames(self, clip: tuple[Any, list[ImageArray]]) -> None:
        source, frames = clip
        compressed = list(h264.recompress(frames, 35))
        places = [CropPlace(7, (10, 4, 51, 45), (41, 41)), CropPlace(3, (0, 0, 96, 64), (48, 32))]
        (one, one_bad), (two, two_bad) = recompress_original(source, places, 35)
        np.testing.assert_array_equal(one, frames[7][4:45, 10:51])
        np.testing.assert_array_equal(one_bad, compressed[7][4:45, 10:51])
        half = cv2.resize(compressed[3], (48, 32), interpolation=cv2.INTER_AREA)
        np.testing.assert_array_equal(two_bad, half)
        assert psnr(two, two_bad) > 25

    def test_video_file(self, tmp_path: Path) -> None:
        path = write_video(tmp_path / 'a.mp4', make_frames(12))
        ((clean, compressed),) = recompress_original(
            VideoFile(path), [CropPlace(11, (5, 5, 40, 40), (35, 35))], 30
        )
        assert clean.shape == compressed.shape == (35, 35, 3)
        assert 30 < psnr(clean, compressed) < 60

    def test_frame_rate(self, tmp_path: Path) -> None:
        path = write_video(tmp_path / 'a.mp4', make_frames(5))
        assert originals_module._rate(VideoFile(path)) == 25
        assert originals_module._rate(ImageFiles(tmp_path, (), ())) == 25
        (tmp_path / 'b.mp4').write_bytes(b'none')
        assert originals_module._rate(VideoFile(tmp_path / 'b.mp4')) == 25

    def test_bad(self, clip: tuple[Any, list[ImageArray]]) -> None:
        source, _ = clip
        with pytest.raises(InputError, match=r'frame 20 cannot be read from .*not there'):
            recompress_original(source, [CropPlace(20, (0, 0, 8, 8), (8, 8))], 30)
        with pytest.raises(
            InputError, match=r'crop window \(0, 0, 97, 8\) of frame 0 is not inside 96 x 64 px'
        ):
            recompress_original(source, [CropPlace(0, (0, 0, 97, 8), (97, 8))], 30)

    @pytest.fixture
    def downloaded(self, tiny_prepared: Path, tmp_path: Path) -> Path:
        """The tiny set's crops as frames of videos in the layout `folder`, with their keys."""
        for label, name in (
            ('real', 'youtube'),
            ('fake/Deepfakes', 'Deepfakes'),
            ('fake/FaceSwap', 'FaceSwap'),
        ):
            for video in (tiny_prepared / 'frames/ffpp' / name / 'c23').glob('20*'):
                shutil.copytree(video, tmp_path / 'set' / label / video.name)
        return tmp_path / 'set'

    def test_exact_for_a_set(
        self, tiny_prepared: Path, downloaded: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        module = 'robustness.datasets.video_forgery_dataset.find_originals'
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
        with pytest.raises(
            FileNotFoundError, match=r'1 of 9 videos of the index are not in .*youtube/c23/201'
        ):
            VideoForgeryDataset(
                ann_file=str(tiny_prepared / 'index.parquet'),
                split='test',
                originals=dict(root=downloaded, layout='folder'),
            )

    def test_unknown_layout(self, tiny_prepared: Path) -> None:
        with pytest.raises(InputError, match='magic'):
            VideoForgeryDataset(
                ann_file=str(tiny_prepared / 'index.parquet'),
                split='test',
                originals=dict(root=tiny_prepared, layout='magic'),
            )


def test_every_level_damages_video_more(videos: VideoForgeryDataset) -> None:
    likeness = []
    for level in LEVELS:
        results = load(videos, 1)
        clean = results['img'].copy()
        likeness.append(psnr(clean, DistortFace(VIDEO, level).transform(results)['img']))
    assert all(b < a for a, b in pairwise(likeness)), likeness
