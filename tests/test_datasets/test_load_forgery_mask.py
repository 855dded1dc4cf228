# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from iid_mm.datasets.transforms import AlignFace, FlipFace, LoadForgeryMask, PackForgeryInputs
from iid_mm.errors import InputError
from iid_mm.registry import TRANSFORMS

MASK = np.zeros((8, 12), dtype=np.uint8)
MASK[2:4, 3:9] = 255


@pytest.fixture
def sample(tmp_path: Path) -> dict[str, Any]:
    cv2.imwrite(str(tmp_path / 'mask.png'), MASK)
    return {
        'gt_label': 1,
        'mask_path': str(tmp_path / 'mask.png'),
        'img': np.zeros((8, 12, 3), dtype=np.uint8),
        'ori_shape': (8, 12),
    }


def test_as_stored(sample: dict[str, Any]) -> None:
    mask = LoadForgeryMask()(sample)['artifact_mask']
    assert mask.dtype == np.uint8
    np.testing.assert_array_equal(mask, MASK // 255)


@pytest.mark.parametrize(('threshold', 'count'), [(1, 3), (128, 2), (129, 1), (255, 1)])
def test_threshold(sample: dict[str, Any], threshold: int, count: int) -> None:
    gray = np.zeros((8, 12), dtype=np.uint8)
    gray[0, :3] = 1, 128, 255
    cv2.imwrite(sample['mask_path'], gray)
    assert LoadForgeryMask(threshold)(sample)['artifact_mask'].sum() == count


def test_shift_and_enlargement(sample: dict[str, Any]) -> None:
    sample['img'] = np.zeros((16, 24, 3), dtype=np.uint8)
    # Twice as large about pixel edges: center x goes to 2 x + 0.5.
    sample['warp_matrix'] = np.array([[2.0, 0, 0.5], [0, 2, 0.5]])
    mask = LoadForgeryMask()(sample)['artifact_mask']
    expected = np.zeros((16, 24), dtype=np.uint8)
    expected[4:8, 6:18] = 1
    np.testing.assert_array_equal(mask, expected)


@pytest.mark.parametrize(('width', 'seen'), [(1, False), (2, True)])
def test_a_pixel_counts_where_half_of_it_is_masked(sample: dict[str, Any], width: int, seen: bool) -> None:
    """Reduced by four: two of four columns are half of a pixel, one is a quarter."""
    mask = np.zeros((8, 12), dtype=np.uint8)
    mask[:4, 4 : 4 + width] = 255
    cv2.imwrite(sample['mask_path'], mask)
    sample['img'] = np.zeros((2, 3, 3), dtype=np.uint8)
    sample['warp_matrix'] = np.array([[0.25, 0, -0.375], [0, 0.25, -0.375]])
    expected = np.zeros((2, 3), dtype=np.uint8)
    expected[0, 1] = seen
    np.testing.assert_array_equal(LoadForgeryMask()(sample)['artifact_mask'], expected)


def test_follows_the_image(tmp_path: Path, landmarks: np.ndarray) -> None:
    """An image that is its own mask, through jitter and flip: both land in the same place."""
    gray = np.zeros((160, 160), dtype=np.uint8)
    cv2.ellipse(gray, (90, 70), (40, 25), 20, 0, 360, 255, -1)
    cv2.imwrite(str(tmp_path / 'mask.png'), gray)
    results = {
        'img': cv2.merge([gray] * 3),
        'landmarks': landmarks,
        'gt_label': 1,
        'mask_path': str(tmp_path / 'mask.png'),
        'ori_shape': (160, 160),
    }
    np.random.seed(3)
    for transform in (AlignFace(size=(112, 112), jitter={}), FlipFace(prob=1.0), LoadForgeryMask()):
        results = transform(results)
    # Interpolation before or after mirroring differs by rounding at the threshold.
    differs = results['artifact_mask'] != (results['img'][..., 0] >= 128)
    assert differs.mean() < 0.001
    assert 0.05 < results['artifact_mask'].mean() < 0.5


def test_genuine_faces_and_fakes_without_a_mask(sample: dict[str, Any]) -> None:
    genuine = LoadForgeryMask()({**sample, 'gt_label': 0, 'mask_path': None})
    assert genuine['artifact_mask'].shape == (8, 12)
    assert not genuine['artifact_mask'].any()
    assert 'artifact_mask' not in LoadForgeryMask()({**sample, 'mask_path': None})
    del sample['mask_path']
    assert 'artifact_mask' not in LoadForgeryMask()(sample)


def test_packing(sample: dict[str, Any]) -> None:
    packed = PackForgeryInputs()(LoadForgeryMask()(dict(sample)))['data_samples']
    assert packed.gt_artifact_mask.dtype == torch.uint8
    np.testing.assert_array_equal(packed.gt_artifact_mask.numpy(), MASK // 255)
    assert 'gt_artifact_mask' in packed.to_dict()
    assert 'gt_artifact_mask' not in PackForgeryInputs()(sample)['data_samples']


def test_keys_and_repr(sample: dict[str, Any]) -> None:
    before = copy.deepcopy(sample)
    results = LoadForgeryMask()(sample)
    assert set(results) - set(before) == {'artifact_mask'}
    assert all(np.array_equal(results[key], value) for key, value in before.items())
    assert repr(LoadForgeryMask(7)) == 'LoadForgeryMask(threshold=7)'
    assert isinstance(TRANSFORMS.build(dict(type='LoadForgeryMask')), LoadForgeryMask)


def test_bad_masks(sample: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(InputError, match='threshold=0'):
        LoadForgeryMask(0)
    with pytest.raises(InputError, match=r"mask '.*mask.png' is \(8, 12\) and its image \(8, 13\)"):
        LoadForgeryMask()({**sample, 'ori_shape': (8, 13)})
    with pytest.raises(FileNotFoundError, match=r"mask '.*none.png'.*prepare the set again"):
        LoadForgeryMask()({**sample, 'mask_path': str(tmp_path / 'none.png')})
    data = Path(sample['mask_path']).read_bytes()
    for broken in (b'', data[:-10], b'text'):
        Path(sample['mask_path']).write_bytes(broken)
        with pytest.raises(InputError, match=rf'cannot be decoded \({len(broken)} bytes\)'):
            LoadForgeryMask()(dict(sample))
