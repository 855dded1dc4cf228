# SPDX-License-Identifier: Apache-2.0
"""A tiny copy of every dataset in its true layout: prepared, checked, and trained on for an iteration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.optim import OptimWrapper

from iid_mm.apis import init_model
from iid_mm.datasets.index import read_index
from iid_mm.preparation.checking.runner import check_indexes
from iid_mm.preparation.driver import RunOptions, make_settings, prepare
from iid_mm.preparation.layouts import LAYOUTS
from iid_mm.registry import DATASETS
from iid_mm.utils.typing import PointsArray
from support import image_trees
from support.image_trees import points_of
from support.media import face_points
from support.video_trees import VIDEO_TREES

TREES = {
    **VIDEO_TREES,
    'wilddeepfake': image_trees.write_wilddeepfake_tree,
    'folder': image_trees.write_folder_tree,
    'deepfakebench': image_trees.write_deepfakebench_tree,
    'caddm': image_trees.write_caddm_tree,
    'sbi': image_trees.write_sbi_tree,
}
# What the trees hold, gone through by hand: video key, split, target, source, frames, pair, mask. Of 12
# frames numbered n0, n0 + d, ... those in the middle of each half are n0 + 3 d and n0 + 9 d.
EXPECTED = {
    'ffpp': """
        ffpp/Deepfakes/c23/071_054 train 071 054 3,9 paired mask
        ffpp/Deepfakes/c23/720_672 val 720 672 3,9 paired mask
        ffpp/Deepfakes/c23/953_974 test 953 974 3,9 paired mask
        ffpp/FaceShifter/c23/071_054 train 071 054 3,9 paired -
        ffpp/youtube/c23/054 train 054 - 3,9 - -
        ffpp/youtube/c23/071 train 071 - 3,9 - -
        ffpp/youtube/c23/720 val 720 - 3,9 - -
        ffpp/youtube/c23/953 test 953 - 3,9 - -
    """,
    'dfd': """
        dfd/DeepFakeDetection/c23/01_02__hugging_happy__YVGY8LOK train 01 02 3,9 paired mask
        dfd/DeepFakeDetection/c23/01_02__walk_down_hall_angry__YVGY8LOK train 01 02 3,9 - -
        dfd/DeepFakeDetection/c23/02_06__hugging_happy__U6MDWIHG train 02 06 3,9 paired -
        dfd/actors/c23/01__hugging_happy train 01 - 3,9 - -
        dfd/actors/c23/02__hugging_happy train 02 - 3,9 - -
    """,
    'celebdf_v1': """
        celebdf_v1/Celeb-real/native/id0_0000 train id0 - 3,9 - -
        celebdf_v1/Celeb-real/native/id1_0000 test id1 - 3,9 - -
        celebdf_v1/Celeb-real/native/id2_0001 train id2 - 3,9 - -
        celebdf_v1/Celeb-synthesis/native/id0_id1_0000 train id0 id1 3,9 paired -
        celebdf_v1/Celeb-synthesis/native/id1_id0_0000 test id1 id0 3,9 paired -
        celebdf_v1/Celeb-synthesis/native/id1_id2_0000 train id1 id2 3,9 - -
        celebdf_v1/Celeb-synthesis/native/id2_id0_0001 train id2 id0 3,9 paired -
        celebdf_v1/YouTube-real/native/00170 test yt00170 - 3,9 - -
        celebdf_v1/YouTube-real/native/00208 train yt00208 - 3,9 - -
    """,
    'celebdf_v2': """
        celebdf_v2/Celeb-real/native/id0_0000 train id0 - 3,9 - -
        celebdf_v2/Celeb-real/native/id1_0000 test id1 - 3,9 - -
        celebdf_v2/Celeb-real/native/id2_0001 train id2 - 3,9 - -
        celebdf_v2/Celeb-synthesis/native/id0_id1_0000 train id0 id1 3,9 paired -
        celebdf_v2/Celeb-synthesis/native/id1_id0_0000 test id1 id0 3,9 paired -
        celebdf_v2/Celeb-synthesis/native/id1_id2_0000 train id1 id2 3,9 - -
        celebdf_v2/Celeb-synthesis/native/id2_id0_0001 train id2 id0 3,9 paired -
        celebdf_v2/YouTube-real/native/00170 test yt00170 - 3,9 - -
        celebdf_v2/YouTube-real/native/00208 train yt00208 - 3,9 - -
    """,
    'dfdc': """
        dfdc/fake/native/4001 val - - 3,9 - -
        dfdc/fake/native/aagfhgtpmv train vudstovrck - 3,9 - -
        dfdc/fake/native/aalscayrfi test - - 3,9 - -
        dfdc/fake/native/owxbbpjpch train wynotylpnm - 3,9 paired -
        dfdc/real/native/4000 val 4000 - 3,9 - -
        dfdc/real/native/aamrozxzsq test aamrozxzsq - 3,9 - -
        dfdc/real/native/abarnvbtwb train abarnvbtwb - 3,9 - -
        dfdc/real/native/wynotylpnm train wynotylpnm - 3,9 - -
    """,
    'dfdcp': """
        dfdcp/method_A/native/1003254_643049_A_001 train 643049 1003254 3,9 paired -
        dfdcp/method_A/native/1224068_1260311_C_001 test 1260311 1224068 3,9 - -
        dfdcp/method_B/native/1255229_1260311_C_001 test 1260311 1255229 3,9 paired -
        dfdcp/original_videos/native/1260311_C_001 test 1260311 - 3,9 - -
        dfdcp/original_videos/native/643049_A_001 train 643049 - 3,9 - -
    """,
    'deeperforensics': """
        deeperforensics/end_to_end/native/000_M101 train 000 M101 3,9 paired -
        deeperforensics/end_to_end/native/001_W006 val 001 W006 3,9 paired -
        deeperforensics/end_to_end/native/002_M004 test 002 M004 3,9 paired -
        deeperforensics/end_to_end/native/003_M101 train 003 M101 3,9 - -
        deeperforensics/end_to_end_mix_2_distortions/native/000_M101 train 000 M101 3,9 paired -
        deeperforensics/end_to_end_mix_2_distortions/native/001_W006 val 001 W006 3,9 paired -
        deeperforensics/end_to_end_mix_2_distortions/native/002_M004 test 002 M004 3,9 paired -
        deeperforensics/end_to_end_mix_2_distortions/native/003_M101 train 003 M101 3,9 - -
        deeperforensics/youtube/native/000 train 000 - 3,9 - -
        deeperforensics/youtube/native/001 val 001 - 3,9 - -
        deeperforensics/youtube/native/002 test 002 - 3,9 - -
    """,
    'ffiw': """
        ffiw/source/native/test_00000000 test test_00000000 - 3,9 - -
        ffiw/source/native/train_00000000 train train_00000000 - 3,9 - -
        ffiw/source/native/val_00000000 val val_00000000 - 3,9 - -
        ffiw/target/native/test_00000000 test test_00000000 - 3,9 paired mask
        ffiw/target/native/train_00000000 train train_00000000 - 3,9 paired mask
        ffiw/target/native/val_00000000 val val_00000000 - 3,9 paired mask
    """,
    'wilddeepfake': """
        wilddeepfake/fake/native/test/1/35 test - - 15,45 - -
        wilddeepfake/fake/native/test/1/7 test - - 115,145 - -
        wilddeepfake/fake/native/train/1/35 train - - 15,45 - -
        wilddeepfake/fake/native/train/1/7 train - - 115,145 - -
        wilddeepfake/fake/native/train/2/35 train - - 3,9 - -
        wilddeepfake/real/native/test/1/35 test - - 15,45 - -
        wilddeepfake/real/native/test/1/7 test - - 115,145 - -
        wilddeepfake/real/native/test/2/1 test - - 10,35 - -
        wilddeepfake/real/native/train/1/35 train - - 15,45 - -
        wilddeepfake/real/native/train/1/7 train - - 115,145 - -
    """,
    'folder': """
        folder/FaceSwap/native/test/clip test test/clip - 3,9 paired -
        folder/FaceSwap/native/train/clip train train/clip - 3,9 paired -
        folder/fake/native/train/still train train/still - 0 paired -
        folder/real/native/test/clip test test/clip - 3,9 - -
        folder/real/native/test/still test - - 0 - -
        folder/real/native/test/talk test - - 3,9 - -
        folder/real/native/train/clip train train/clip - 3,9 - -
        folder/real/native/train/still train train/still - 0 - -
        folder/real/native/train/talk train - - 3,9 - -
    """,
    'deepfakebench': """
        ffpp/Deepfakes/c23/071_054 train 071 054 81,243 paired mask
        ffpp/Deepfakes/c23/953_974 test 953 974 81,243 paired mask
        ffpp/youtube/c23/071 train 071 - 81,243 - -
        ffpp/youtube/c23/720 val 720 - 81,243 - -
        ffpp/youtube/c23/953 test 953 - 81,243 - -
    """,
    'caddm': """
        ffpp/Deepfakes/raw/071_054 train 071 054 27,81 paired -
        ffpp/Deepfakes/raw/953_974 test 953 974 27,81 paired -
        ffpp/youtube/raw/054 train 054 - 27,81 - -
        ffpp/youtube/raw/071 train 071 - 27,81 - -
        ffpp/youtube/raw/953 test 953 - 27,81 - -
    """,
    'sbi': """
        ffpp/Deepfakes/raw/071_054 train 071 054 93,279 paired mask
        ffpp/Deepfakes/raw/953_974 test 953 974 93,279 paired -
        ffpp/youtube/raw/071 train 071 - 93,279 - -
        ffpp/youtube/raw/953 test 953 - 93,279 - -
    """,
}
# Sets without an official split are for testing unless the user says otherwise.
CHOICES: dict[str, dict[str, Any]] = {'dfd': {'split': 'train'}}
FAKES = {
    *('Deepfakes', 'FaceShifter', 'DeepFakeDetection', 'Celeb-synthesis', 'fake', 'method_A', 'method_B'),
    *('end_to_end', 'end_to_end_mix_2_distortions', 'target', 'FaceSwap'),
}


def test_every_layout_has_a_tree() -> None:
    # Without a version its name stands for one of the two.
    assert set(TREES) == set(LAYOUTS) - {'celebdf'}


@pytest.fixture(scope='module')
def model(tiny_config: Path) -> torch.nn.Module:
    torch.manual_seed(0)
    return init_model(tiny_config)


def train_once(model: Any, tiny_config: Path, out: Path) -> dict[str, float]:
    """Losses of one training iteration on up to six samples."""
    cfg = Config.fromfile(str(tiny_config)).train_dataloader.dataset
    cfg.update(data_root=str(out), split='train')
    dataset = DATASETS.build(cfg)
    batch = pseudo_collate([dataset[number] for number in range(min(len(dataset), 6))])
    model.train()
    wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=1e-3))
    losses = model.train_step(batch, wrapper)
    return {name: float(value.detach()) for name, value in losses.items()}


def expected_points(name: str, row: dict[str, Any]) -> PointsArray:
    """Landmarks of a frame in the whole image: a face that moves one pixel to the right a frame."""
    if name == 'wilddeepfake':
        if row['video_key'].endswith('test/2/1'):
            # Cut off; side files count the frames that are there: 0, 5, ..., 35, 45, 55.
            position = {10: 2, 35: 7}[row['frame']]
        else:
            step = 1 if row['video_key'].endswith('train/2/35') else 5
            position = row['frame'] % 100 // step
        return face_points(10 + position, 14)
    position = row['frame'] // {'deepfakebench': 27, 'caddm': 9, 'sbi': 31}.get(name, 1)
    # Those that come with a set are in whole pixels and reach up to the forehead.
    with_set = name in ('deepfakebench', 'caddm', 'sbi')
    return points_of(position) if with_set else face_points(10 + position, 14)


@pytest.mark.parametrize('name', TREES)
def test_prepare_check_and_train(name: str, model: Any, tiny_config: Path, tmp_path: Path) -> None:
    root, out = tmp_path / name, tmp_path / 'out'
    TREES[name](root)
    run = RunOptions(progress=False)
    choices = {'analyzer': 'precomputed', 'frames': 2, 'masks': True, **CHOICES.get(name, {})}
    prepare(root, out, make_settings(name, run, **choices), run)

    rows = read_index(out / 'index.parquet').to_pylist()
    found: dict[tuple[str, ...], list[int]] = {}
    for row in rows:
        known = [row[column] or '-' for column in ('target_id', 'source_id')]
        notes = ['paired' if row['source_image'] else '-', 'mask' if row['mask'] else '-']
        found.setdefault((row['video_key'], row['split'], *known, *notes), []).append(row['frame'])
        assert row['label'] == int(row['method'] in FAKES)
        for column in ('image', 'source_image', 'mask'):
            assert row[column] is None or (out / row[column]).is_file()
        # A face of 20 px, with its forehead 26 px high: a window of 39 px; crops of others are kept whole.
        if name in ('wilddeepfake', 'deepfakebench'):
            assert row['crop_window'] == [0, 0, 64, 48]
        elif not row['image'].endswith('still/00000.webp'):
            step = {'caddm': 9, 'sbi': 31}.get(name, 1)
            position = row['frame'] // step
            assert row['crop_window'] == [position + 1, 2, position + 40, 41]
        np.testing.assert_allclose(
            np.reshape(row['landmarks'], (-1, 2)),
            expected_points(name, row) - row['crop_window'][:2],
            atol=1e-3,
        )
    lines = [' '.join([*key[:4], ','.join(map(str, frames)), *key[4:]]) for key, frames in found.items()]
    assert lines == [line.strip() for line in EXPECTED[name].strip().splitlines()]

    errors = [
        f
        for f in check_indexes([out / 'index.parquet'], num_workers=0, progress=False).findings
        if f.severity == 'error'
    ]
    assert errors == []
    losses = train_once(model, tiny_config, out)
    assert {'loss', 'forgery.loss_cls', 'artifact.loss_cls', 'artifact.loss_bbox'} <= set(losses)
    assert all(0 <= value < 1e3 for value in losses.values())
