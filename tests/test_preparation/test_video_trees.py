# SPDX-License-Identifier: Apache-2.0
"""What all layouts of videos have in common."""

from __future__ import annotations

import time
from pathlib import Path

import av
import numpy as np
import pytest

from iid_mm.errors import InputError
from iid_mm.preparation.layouts import celebdf, deeperforensics, dfd, dfdc, dfdcp, ffiw, ffpp
from iid_mm.preparation.layouts.base import LayoutOptions
from iid_mm.preparation.records import group_records
from iid_mm.structures.video_record import VideoFile
from support.media import make_frame
from support.video_trees import FRAMES, VIDEO_TREES, touch_videos

LAYOUTS = {
    layout.name: layout
    for module in (deeperforensics, dfd, dfdc, dfdcp, ffiw, ffpp)
    for layout in (module.LAYOUT,)
} | {layout.name: layout for layout in (celebdf.LAYOUT_V1, celebdf.LAYOUT_V2)}


@pytest.fixture(scope='module')
def scans(tmp_path_factory):
    found = {}
    for name, write in VIDEO_TREES.items():
        root = tmp_path_factory.mktemp(name)
        write(root)
        found[name] = root, LAYOUTS[name].scan(root, LayoutOptions())
    return found


@pytest.mark.parametrize('name', VIDEO_TREES)
def test_trees(scans, name):
    root, scan = scans[name]
    keys = [record.key for record in scan.records]
    assert keys == sorted(set(keys))
    assert scan.left_out
    splits = {record.split for record in scan.records}
    assert splits in ({'test'}, {'train', 'test'}, {'train', 'val', 'test'})
    for record in scan.records:
        assert isinstance(record.source, VideoFile)
        assert record.source.path.is_file()
        side = (root / 'landmarks' / record.source.path.relative_to(root)).with_suffix('.npy')
        assert np.load(side).shape == (FRAMES, 68, 2)
    genuine = {record.key: record for record in scan.records if record.label == 0}
    pairs = [(r, genuine[r.pair]) for r in scan.records if r.pair in genuine]
    assert pairs
    assert all(fake.split == real.split and fake.target_id == real.target_id for fake, real in pairs)
    assert sum(len(group.records) for group in group_records(scan.records)) == len(scan.records)


def test_video_of_a_tree(scans):
    root, _ = scans['ffpp']
    for name, expected in {
        'original_sequences/youtube/c23/videos/071.mp4': make_frame(3, seed=71),
        'manipulated_sequences/Deepfakes/c23/videos/071_054.mp4': make_frame(3, seed=71, fake=True),
    }.items():
        with av.open(str(root / name)) as container:
            frames = [frame.to_ndarray(format='bgr24') for frame in container.decode(video=0)]
        assert len(frames) == FRAMES
        assert np.abs(frames[3].astype(int) - expected).mean() < 6
    with av.open(str(root / 'manipulated_sequences/Deepfakes/masks/videos/071_054.mp4')) as container:
        mask = next(container.decode(video=0)).to_ndarray(format='gray')
    changed = np.abs(make_frame(0, seed=71).astype(int) - make_frame(0, seed=71, fake=True)).max(axis=2) > 0
    assert changed[mask > 127].mean() > 0.95
    assert not changed[mask <= 127].any()


def test_official_pairs_of_ffpp(scans):
    _, scan = scans['ffpp']
    assert [(r.video, r.method, r.split, r.pair, bool(r.mask)) for r in scan.records if r.label] == [
        ('071_054', 'Deepfakes', 'train', 'ffpp/youtube/c23/071', True),
        ('720_672', 'Deepfakes', 'val', 'ffpp/youtube/c23/720', True),
        ('953_974', 'Deepfakes', 'test', 'ffpp/youtube/c23/953', True),
        ('071_054', 'FaceShifter', 'train', 'ffpp/youtube/c23/071', False),
    ]


@pytest.mark.parametrize('layout', [*LAYOUTS.values(), celebdf.LAYOUT], ids=lambda layout: layout.name)
def test_texts_and_unknown_compression(layout, tmp_path):
    assert layout.summary
    assert 'ROOT' in layout.tree
    assert max(map(len, layout.tree.splitlines())) <= 100
    with pytest.raises(InputError, match=r'compression=.* is unknown to'):
        layout.scan(tmp_path, LayoutOptions(compression='c99'))


def test_no_file_is_asked_about_alone(tmp_path, monkeypatch):
    """A listing of 100,000 videos on a network disk must not ask for each of them."""
    touch_videos(tmp_path, (f'Celeb-synthesis/id0_id1_{n:05d}.mp4' for n in range(3000)))
    (tmp_path / 'List_of_testing_videos.txt').write_text('1 Celeb-real/id1_0000.mp4\n')
    calls = []
    stat = Path.stat
    monkeypatch.setattr(Path, 'stat', lambda self, **kwargs: calls.append(self) or stat(self, **kwargs))
    start = time.perf_counter()
    scan = celebdf.LAYOUT_V2.scan(tmp_path, LayoutOptions())
    assert len(scan.records) == 3000
    assert len(calls) < 20
    assert time.perf_counter() - start < 5
