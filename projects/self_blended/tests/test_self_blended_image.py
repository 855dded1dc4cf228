# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iid_mm.datasets.forgery_dataset import ForgeryDataset
from iid_mm.datasets.transforms import MultiScaleFacialSwap
from iid_mm.errors import InputError
from iid_mm.registry import TRANSFORMS
from self_blended import SelfBlendedImage
from self_blended.blend import (
    HULLS,
    ColorChange,
    blended_box,
    blending_mask,
    change_color,
    hull_points,
    move,
    self_blend,
)
from support.paths import REPOSITORY

from .blend_plans import blend_plan

SIDE = 112


@pytest.fixture(autouse=True)
def _scope(iid_scope: None) -> None:
    pass


def face_points(count: int = 68) -> np.ndarray:
    t = np.linspace(0, np.pi, 17)
    points = np.full((count, 2), 56.0)
    points[:17] = np.stack([56 - 36 * np.cos(t), 46 + 46 * np.sin(t)], axis=1)
    points[17:27] = np.stack([np.linspace(26, 86, 10), np.full(10, 34.0)], axis=1)
    points[31], points[33], points[35] = (48, 64), (56, 66), (64, 64)
    turn = np.linspace(0, 2 * np.pi, 20, endpoint=False)
    points[48:68] = np.stack([56 + 14 * np.cos(turn), 76 + 6 * np.sin(turn)], axis=1)
    points[68:] = (56, 8)
    return points.astype(np.float32)


def random_image(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)


def genuine() -> dict[str, Any]:
    return {'img': random_image(), 'landmarks': face_points(), 'gt_label': 0, 'img_path': 'a.png'}


def test_without_changes_the_image_stays() -> None:
    image = random_image()
    fake, target, mask = self_blend(image, face_points(), blend_plan())
    assert np.abs(fake.astype(int) - image).max() <= 1
    assert np.array_equal(target, image)
    assert mask.max() == pytest.approx(1)


def test_the_fake_is_the_source_inside_and_the_target_outside() -> None:
    image = np.full((SIDE, SIDE, 3), 100, np.uint8)
    change = ColorChange(brightness=40)
    for of_source, inside, outside in ((True, 140, 100), (False, 100, 140)):
        fake, target, mask = self_blend(image, face_points(), blend_plan(change=change, of_source=of_source))
        assert (fake[mask > 0.9999] == inside).all()
        assert (fake[mask == 0] == outside).all()
        assert (target == outside).all()
        half = np.abs(mask - 0.5) < 0.05
        assert np.abs(fake[half].astype(int) - 120).max() <= 3


def test_the_ratio_is_the_highest_value() -> None:
    mask = blending_mask(face_points(), (SIDE, SIDE), blend_plan(ratio=0.25))
    assert mask.max() == pytest.approx(0.25)
    assert mask.dtype == np.float32


def test_which_gaussian_is_wider_decides_whether_the_region_grows() -> None:
    areas = [
        (blending_mask(face_points(), (SIDE, SIDE), blend_plan(sigmas=sigmas)) > 0.5).sum()
        for sigmas in ((6.0, 2.0), (2.0, 2.0), (2.0, 6.0))
    ]
    assert areas[0] < areas[1]
    assert areas[0] < areas[2]


def test_hulls() -> None:
    points = face_points()
    assert hull_points(points, 'brows_to_chin').shape == (68, 2)
    assert hull_points(points, 'inner').shape == (51, 2)
    # 30 % of the 58 px from chin to brows above the brows.
    assert hull_points(points, 'face')[:, 1].min() == pytest.approx(34 - 0.3 * 58, abs=0.1)
    assert hull_points(face_points(81), 'face')[:, 1].min() == 8
    sizes = [(blending_mask(points, (SIDE, SIDE), blend_plan(hull=hull)) > 0.5).sum() for hull in HULLS]
    assert sizes == sorted(sizes, reverse=True)
    mouth = blended_box(blending_mask(points, (SIDE, SIDE), blend_plan(hull='mouth')))
    assert mouth is not None
    assert 30 < mouth[0] < mouth[2] < 82
    assert 50 < mouth[1] < mouth[3] < 96


def test_move_by_hand() -> None:
    image = np.zeros((SIDE, SIDE, 3), np.uint8)
    image[50:60, 40:50] = 200
    moved = move(image, (1, 1), (7, -3))
    assert np.array_equal(moved[47:57, 47:57], image[50:60, 40:50])
    grown = move(image, (1.5, 1), (0, 0))
    columns = np.flatnonzero(grown[55, :, 0] > 100)
    # Distances from the center 55.5 grow by half.
    assert columns.min() == pytest.approx(55.5 + 1.5 * (40 - 55.5), abs=1)


def test_color_by_hand() -> None:
    image = np.full((2, 2, 3), 100, np.uint8)
    assert change_color(image, ColorChange(shifts=(1, -2, 300)))[0, 0].tolist() == [101, 98, 255]
    # (100 - 127.5) * 2 + 127.5 - 2.5 = 70
    assert change_color(image, ColorChange(contrast=2, brightness=-2.5))[0, 0].tolist() == [70] * 3


def test_a_genuine_sample_becomes_a_pair() -> None:
    np.random.seed(0)
    sample = genuine()
    result = SelfBlendedImage()(dict(sample))
    assert result['gt_label'] == 1
    assert result['swap_kind'] == 'self_blended'
    assert result['source_img_path'] == 'a.png'
    assert result['gt_bboxes'].shape == (2, 4)
    assert result['gt_bboxes'][0].tolist() == [0, 0, SIDE, SIDE]
    x0, y0, x1, y1 = result['gt_bboxes'][1].astype(int)
    change = np.abs(result['img'].astype(int) - result['source_img'])
    # Nearly all of the difference lies in the box.
    assert change[y0:y1, x0:x1].sum() > 0.95 * change.sum() > 0


def test_fakes_and_those_not_drawn_stay() -> None:
    fake = MultiScaleFacialSwap()({**genuine(), 'gt_label': 1})
    kept = SelfBlendedImage()(dict(fake))
    assert np.array_equal(kept['img'], fake['img'])
    assert np.array_equal(kept['gt_bboxes'], fake['gt_bboxes'])
    result = SelfBlendedImage(prob=0)(genuine())
    assert result['gt_label'] == 0
    assert result['gt_bboxes'].shape == (0, 4)
    assert 'source_img' not in result


def test_a_faint_fake_stays_genuine() -> None:
    flat = {**genuine(), 'img': np.full((SIDE, SIDE, 3), 90, np.uint8)}
    result = SelfBlendedImage(color=0, min_change=3)(flat)
    assert result['gt_label'] == 0


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31))
def test_any_draw_gives_a_box_inside_the_canvas(seed: int) -> None:
    np.random.seed(seed)
    result = SelfBlendedImage()(genuine())
    assert result['img'].shape == (SIDE, SIDE, 3)
    assert result['img'].dtype == np.uint8
    for x0, y0, x1, y1 in result['gt_bboxes']:
        assert 0 <= x0 < x1 <= SIDE
        assert 0 <= y0 < y1 <= SIDE


def test_seeded_and_rebuilt_from_its_repr() -> None:
    transform = SelfBlendedImage(prob=0.9, hulls=('inner',))
    rebuilt = eval(repr(transform), {'SelfBlendedImage': SelfBlendedImage})
    assert repr(rebuilt) == repr(transform)
    images = []
    for one in (transform, rebuilt):
        np.random.seed(5)
        images.append(one(genuine())['img'])
    assert np.array_equal(*images)
    assert TRANSFORMS.get('SelfBlendedImage') is SelfBlendedImage


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'prob': 2}, 'prob=2'),
        ({'hulls': ('ears',)}, 'hulls: unknown ears'),
        ({'ratios': (0.0,)}, 'ratios'),
        ({'sigma': (3, 1)}, 'sigma'),
    ],
)
def test_bad_arguments(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        SelfBlendedImage(**options)


def test_bad_samples() -> None:
    with pytest.raises(InputError, match='gt_label=2'):
        SelfBlendedImage()({**genuine(), 'gt_label': 2})
    with pytest.raises(InputError, match='landmarks'):
        SelfBlendedImage()({**genuine(), 'landmarks': np.zeros((5, 2), np.float32)})


def test_only_genuine_samples_are_needed(tiny_prepared: Path) -> None:
    dataset = ForgeryDataset(tiny_prepared / 'index.parquet', split='train', genuine_only=True)
    assert {sample['gt_label'] for sample in dataset} == {0}
    assert len(dataset) == 8
    with pytest.raises(InputError, match='leave nothing'):
        ForgeryDataset(tiny_prepared / 'index.parquet', genuine_only=True, paired_only=True)


@pytest.mark.parametrize('name', ['sbi_adm_r18_ffpp', 'sbi_mfs_r18_ffpp', 'sbi_adm_effb4_ffpp'])
def test_configs(name: str, tiny_prepared: Path) -> None:
    from iid_mm.registry import DATASETS
    from iid_mm.utils.config import load_config

    cfg = load_config(
        REPOSITORY / 'projects/self_blended/configs' / f'{name}.py', {'data_root': str(tiny_prepared)}
    )
    loader = cfg.train_dataloader
    assert loader.collate_fn.type == 'iid_mm.collate_pairs'
    dataset = DATASETS.build(loader.dataset)
    labels = [int(item['data_samples'].gt_label) for i in range(len(dataset)) for item in dataset[i]]
    assert set(labels) == {0, 1}
