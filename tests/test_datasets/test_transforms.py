# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import copy
import re
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from iid_mm.datasets.functional import alignment, geometry
from iid_mm.datasets.transforms import (
    AlignFace,
    DegradeFace,
    DistortFace,
    FlipFace,
    LoadForgeryPair,
    MultiScaleFacialSwap,
    PackForgeryInputs,
)
from iid_mm.datasets.transforms.degrade_face import PROBS
from iid_mm.datasets.transforms.pack_forgery_inputs import META_KEYS
from iid_mm.errors import InputError
from iid_mm.registry import TRANSFORMS


class Recorder(dict):
    """A dictionary that remembers which keys were read."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.read: set[str] = set()

    def __getitem__(self, key: str) -> Any:
        self.read.add(key)
        return super().__getitem__(key)

    def get(self, key: str, default: Any = None) -> Any:
        self.read.add(key)
        return super().get(key, default)

    def __contains__(self, key: object) -> bool:
        self.read.add(str(key))
        return super().__contains__(key)


def documented(transform: object) -> dict[str, dict[str, bool]]:
    """Keys of each section of the docstring; the value says whether they are conditional."""
    sections: dict[str, dict[str, bool]] = {'Required': {}, 'Modified': {}, 'Added': {}}
    name = ''
    for line in (type(transform).__doc__ or '').splitlines():
        if match := re.match(r' {4}(\w+) Keys:', line):
            name = match.group(1)
        elif match := re.match(r' {4}- (\w+)(.*)', line):
            sections[name][match.group(1)] = '(' in match.group(2) and 'optional' in match.group(2)
        elif line.strip() and not line.startswith(' ' * 6):
            name = '' if not line.startswith('    - ') else name
    return sections


def test_documented_reads_the_docstring() -> None:
    assert documented(AlignFace()) == {
        'Required': {'img': False, 'landmarks': False, 'source_img': True, 'img_path': True},
        'Modified': {'img': False, 'landmarks': False, 'source_img': False, 'img_shape': False},
        'Added': {'warp_matrix': False},
    }


@pytest.fixture
def sample(prepared: Path, landmarks: np.ndarray) -> dict[str, Any]:
    """A fake with a pair, as the dataset hands it to the pipeline."""
    frames = prepared / 'frames/ffpp'
    return {
        'img_path': str(frames / 'Deepfakes/c23/000_999/00000.png'),
        'source_img_path': str(frames / 'youtube/c23/000/00000.png'),
        'landmarks': landmarks,
        'gt_label': 1,
        'video_key': 'ffpp/Deepfakes/c23/000_999',
        'frame': 0,
        'dataset': 'ffpp',
        'method': 'Deepfakes',
        'target_id': '000',
        'source_id': '999',
        'mask_path': None,
    }


PIPELINE = [
    LoadForgeryPair(),
    DistortFace('jpeg', 3),
    AlignFace(jitter={}),
    MultiScaleFacialSwap(partial_prob=1.0),
    DegradeFace(probs=dict.fromkeys(PROBS, 1.0)),
    FlipFace(prob=1.0),
    PackForgeryInputs(),
]


@pytest.mark.parametrize('number', range(len(PIPELINE)), ids=lambda n: type(PIPELINE[n]).__name__)
def test_documented_keys_are_what_happens(number: int, sample: dict[str, Any]) -> None:
    np.random.seed(0)
    for transform in PIPELINE[:number]:
        sample = transform(sample)
    transform = PIPELINE[number]
    before = copy.deepcopy(sample)
    recorder = Recorder(sample)
    results = transform(recorder)
    keys = documented(transform)
    reads = recorder.read - set(keys['Added'])
    if isinstance(transform, PackForgeryInputs):
        reads -= set(META_KEYS)
        assert set(results) == set(keys['Added'])
    else:
        assert results is recorder
        added = set(dict.keys(results)) - set(before)
        assert added == set(keys['Added'])
        changed = {key for key in before if not np.array_equal(before[key], dict.get(results, key))}
        always = {key for key, optional in keys['Modified'].items() if not optional}
        assert always <= changed <= set(keys['Modified'])
    assert reads <= set(keys['Required'])
    needed = {key for key, optional in keys['Required'].items() if not optional}
    assert needed <= recorder.read


@pytest.mark.parametrize('transform', PIPELINE, ids=lambda t: type(t).__name__)
def test_repr_rebuilds_the_transform(transform: object) -> None:
    text = repr(transform)
    rebuilt = eval(text, {type(transform).__name__: type(transform)})
    assert repr(rebuilt) == text
    assert TRANSFORMS.get(type(transform).__name__) is type(transform)


def test_load(sample: dict[str, Any]) -> None:
    results = LoadForgeryPair()(dict(sample))
    np.testing.assert_array_equal(results['img'], cv2.imread(sample['img_path']))
    np.testing.assert_array_equal(results['source_img'], cv2.imread(sample['source_img_path']))
    assert results['img_shape'] == results['ori_shape'] == (160, 160)
    assert 'source_img' not in LoadForgeryPair()({**sample, 'gt_label': 0})
    assert 'source_img' not in LoadForgeryPair()({**sample, 'source_img_path': None})
    assert 'source_img' not in LoadForgeryPair(with_source=False)(dict(sample))
    alone = LoadForgeryPair()({'img_path': sample['img_path']})
    assert set(alone) == {'img_path', 'img', 'img_shape', 'ori_shape'}


@pytest.mark.parametrize('suffix', ['.png', '.jpg'])
@pytest.mark.parametrize('share', [0.0, 0.3, 0.99])
def test_load_truncated(tmp_path: Path, sample: dict[str, Any], suffix: str, share: float) -> None:
    path = tmp_path / f'cut{suffix}'
    data = cv2.imencode(suffix, cv2.imread(sample['img_path']))[1].tobytes()
    path.write_bytes(data)
    LoadForgeryPair()({'img_path': str(path)})
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(InputError, match=rf'cut\{suffix}.* cannot be decoded .*truncated'):
        LoadForgeryPair()({'img_path': str(path)})
    with pytest.raises(InputError, match='cut'):
        LoadForgeryPair()({**sample, 'source_img_path': str(path)})


def test_load_missing_garbage_and_unequal(tmp_path: Path, sample: dict[str, Any]) -> None:
    with pytest.raises(FileNotFoundError, match=r"gone\.png', which the index lists"):
        LoadForgeryPair()({**sample, 'img_path': str(tmp_path / 'gone.png')})
    path = tmp_path / 'other.png'
    path.write_text('not an image')
    with pytest.raises(InputError, match=r'other\.png'):
        LoadForgeryPair()({**sample, 'img_path': str(path)})
    cv2.imwrite(str(path), np.zeros((9, 7, 3), np.uint8))
    with pytest.raises(InputError, match=r'\(160, 160\).*other\.png.*\(9, 7\)'):
        LoadForgeryPair()({**sample, 'source_img_path': str(path)})


@pytest.mark.parametrize('size', [(224, 224), (112, 112), (200, 160)])
def test_align_puts_the_face_on_the_template(sample: dict[str, Any], size: tuple[int, int]) -> None:
    results = AlignFace(size=size)(LoadForgeryPair()(sample))
    assert results['img'].shape == results['source_img'].shape == (size[1], size[0], 3)
    assert results['img_shape'] == (size[1], size[0])
    found = alignment.five_points(results['landmarks'])
    wanted = alignment.template(size)
    # A similarity cannot match every face, but it leaves no common shift.
    np.testing.assert_allclose(found.mean(0), wanted.mean(0), atol=1e-3)
    assert np.abs(found - wanted).max() < 20 * min(size) / 224


def test_align_jitter_moves_both_images_alike(sample: dict[str, Any]) -> None:
    loaded = LoadForgeryPair()(sample)
    loaded['source_img'] = loaded['img'].copy()
    plain = AlignFace()(dict(loaded))
    transform = AlignFace(jitter={})
    matrices = []
    for seed in range(50):
        np.random.seed(seed)
        results = transform(dict(loaded))
        np.testing.assert_array_equal(results['img'], results['source_img'])
        moved = geometry.transform_points(loaded['landmarks'], results['warp_matrix'])
        np.testing.assert_array_equal(results['landmarks'], moved)
        matrices.append(results['warp_matrix'])
    zooms = np.array([np.sqrt(np.linalg.det(m[:, :2])) for m in matrices])
    angles = np.rad2deg([np.arctan2(m[1, 0], m[0, 0]) for m in matrices])
    base = np.sqrt(np.linalg.det(plain['warp_matrix'][:, :2]))
    assert 0.05 < (zooms / base).std() < 0.25
    assert np.abs(angles).max() <= 31
    assert np.abs(angles).max() > 5
    none = {'scale_std': 0, 'shift': 0, 'rotation': 0, 'stretch_prob': 0}
    still = AlignFace(jitter=none)(dict(loaded))
    np.testing.assert_allclose(still['warp_matrix'], plain['warp_matrix'], atol=1e-9)


def test_align_bad_input(sample: dict[str, Any]) -> None:
    loaded = LoadForgeryPair()(sample)
    with pytest.raises(InputError, match=r'landmarks of .*00000\.png.* has shape \(67, 2\)'):
        AlignFace()({**loaded, 'landmarks': np.zeros((67, 2), np.float32)})
    with pytest.raises(InputError, match='one crop window'):
        AlignFace()({**loaded, 'source_img': np.zeros((3, 3, 3), np.uint8)})
    with pytest.raises(InputError, match=r'size=\(0, 5\)'):
        AlignFace(size=(0, 5))
    with pytest.raises(InputError, match='jitter: unknown zoom'):
        AlignFace(jitter={'zoom': 1})
    with pytest.raises(InputError, match='scale=0'):
        AlignFace(scale=0)


def test_degradation_is_seeded_and_switchable(aligned: dict[str, Any]) -> None:
    image = aligned['img'].copy()
    off = DegradeFace(probs=dict.fromkeys(PROBS, 0.0))
    np.testing.assert_array_equal(off({'img': image})['img'], image)
    transform = DegradeFace(probs=dict.fromkeys(PROBS, 1.0))
    results = []
    for seed in (1, 1, 2):
        np.random.seed(seed)
        results.append(transform({'img': image})['img'])
    np.testing.assert_array_equal(results[0], results[1])
    assert (results[0] != results[2]).any()
    np.testing.assert_array_equal(image, aligned['img'])
    for name in PROBS:
        only = DegradeFace(probs={**dict.fromkeys(PROBS, 0.0), name: 1.0})
        result = only({'img': image})['img']
        assert result.shape == image.shape
        assert result.dtype == np.uint8
        assert (result != image).any(), name


def test_degradation_bad_input() -> None:
    with pytest.raises(InputError, match='probs: unknown rain; known: half_resolution'):
        DegradeFace(probs={'rain': 1})
    with pytest.raises(InputError, match='strengths: unknown depth'):
        DegradeFace(strengths={'depth': 1})
    with pytest.raises(InputError, match=r"probs\['jpeg'\]=2"):
        DegradeFace(probs={'jpeg': 2})


def test_flip(aligned: dict[str, Any]) -> None:
    aligned['gt_bboxes'] = np.array([[0, 0, 224, 224], [10, 20, 50, 100]], dtype=np.float32)
    results = FlipFace(prob=1.0)(copy.deepcopy(aligned))
    np.testing.assert_array_equal(results['img'], aligned['img'][:, ::-1])
    np.testing.assert_array_equal(results['source_img'], aligned['source_img'][:, ::-1])
    assert results['gt_bboxes'].tolist() == [[0, 0, 224, 224], [174, 20, 214, 100]]
    assert results['landmarks'][36, 0] < results['landmarks'][45, 0]
    back = FlipFace(prob=1.0)(copy.deepcopy(results))
    for key in ('img', 'source_img', 'gt_bboxes'):
        np.testing.assert_array_equal(back[key], aligned[key])
    np.testing.assert_allclose(back['landmarks'], aligned['landmarks'], atol=1e-4)
    kept = FlipFace(prob=0.0)(copy.deepcopy(aligned))
    assert not kept['flip']
    np.testing.assert_array_equal(kept['img'], aligned['img'])


def test_pack(aligned: dict[str, Any]) -> None:
    results = MultiScaleFacialSwap(partial_prob=1.0)(aligned)
    results.update(img_path='a.png', img_shape=(224, 224), video_key='v', frame=3, extra=1)
    packed = PackForgeryInputs()(results)
    assert set(packed) == {'inputs', 'data_samples'}
    assert packed['inputs'].dtype == torch.uint8
    np.testing.assert_array_equal(packed['inputs'].numpy(), results['img'].transpose(2, 0, 1))
    sample = packed['data_samples']
    assert sample.gt_label.tolist() == [1]
    assert sample.gt_instances.bboxes.dtype == torch.float32
    assert sample.gt_instances.bboxes.tolist() == results['gt_bboxes'].tolist()
    assert sample.gt_instances.labels.tolist() == [0, 0]
    assert sample.metainfo == {
        'img_path': 'a.png',
        'img_shape': (224, 224),
        'video_key': 'v',
        'frame': 3,
        'swap_kind': 'partial',
    }
    # A genuine sample has no boxes but has instances; a bare image has neither.
    results = MultiScaleFacialSwap()({'img': aligned['img'], 'gt_label': 0})
    sample = PackForgeryInputs()(results)['data_samples']
    assert sample.gt_instances.bboxes.shape == (0, 4)
    bare = PackForgeryInputs()({'img': aligned['img']})['data_samples']
    assert 'gt_instances' not in bare
    assert 'gt_label' not in bare


def test_cached_images_are_those_of_the_file(tmp_path: Path, sample: dict[str, Any]) -> None:
    # Its own copy: other tests read the set, too.
    sample['img_path'] = shutil.copy(sample['img_path'], tmp_path)
    image = cv2.imread(sample['img_path'])
    load = LoadForgeryPair(cache_mib=1)
    first = load(dict(sample))['img']
    first[:] = 0
    Path(sample['img_path']).unlink()
    assert np.array_equal(load(dict(sample))['img'], image)
    # A copy, as a worker process gets it, begins without.
    with pytest.raises(FileNotFoundError):
        copy.deepcopy(load)(dict(sample))
    with pytest.raises(InputError, match='cache_mib=-1'):
        LoadForgeryPair(cache_mib=-1)


def test_a_full_cache_takes_no_more(tmp_path: Path) -> None:
    paths = [str(tmp_path / f'{i}.png') for i in range(3)]
    for path in paths:
        cv2.imwrite(path, np.zeros((400, 500, 3), np.uint8))
    # 600 kB each: one fits into 1 MiB.
    load = LoadForgeryPair(cache_mib=1)
    for path in paths:
        load({'img_path': path, 'gt_label': 0})
    for path in paths:
        Path(path).unlink()
    load({'img_path': paths[0], 'gt_label': 0})
    for path in paths[1:]:
        with pytest.raises(FileNotFoundError):
            load({'img_path': path, 'gt_label': 0})
