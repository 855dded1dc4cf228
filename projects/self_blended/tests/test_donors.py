# SPDX-License-Identifier: Apache-2.0
"""Faces of other people as sources of blended images."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iid_mm.datasets.functional.geometry import transform_points, warp_image
from iid_mm.errors import InputError
from iid_mm.registry import TRANSFORMS
from self_blended import DonorForgeryDataset, LoadDonor, SelfBlendedImage
from self_blended.blend import BlendPlan, ColorChange, self_blend
from self_blended.donor_forgery_dataset import Donors
from self_blended.load_donor import fit_affine

from .blend_plans import blend_plan

SIDE = 64


@pytest.fixture(autouse=True)
def _scope(iid_scope: None) -> None:
    pass


def shape(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(8, 56, (68, 2)).astype(np.float32)


def ring() -> np.ndarray:
    """Landmarks on a circle about the center."""
    angles = np.linspace(0, 2 * np.pi, 68)
    return (32 + 20 * np.stack([np.cos(angles), np.sin(angles)], axis=1)).astype(np.float32)


def sample(person: str | None, label: int = 0, seed: int = 0) -> dict[str, Any]:
    return {'img_path': f'{person}.png', 'gt_label': label, 'target_id': person, 'landmarks': shape(seed)}


def test_the_donor_is_another_person_with_the_most_similar_landmarks() -> None:
    samples = [sample('a', seed=1), sample('b', seed=2), sample('x', 1, seed=1), sample('c', seed=3)]
    every = np.arange(9)
    # Place and size of a face do not count.
    alike = shape(3) * 2.5 + 40
    assert Donors(samples).choose(alike, 'a', every) == samples[3]
    # The face that is most alike is the person's own.
    assert Donors(samples).choose(shape(1), 'a', every)['target_id'] in ('b', 'c')
    # Somebody without genuine samples may get anyone.
    assert Donors(samples).choose(shape(1), 'z', every) == samples[0]
    assert Donors(samples).choose(shape(1), None, every) == samples[0]


def test_only_the_candidates_are_asked() -> None:
    samples = [sample('a', seed=1), sample('b', seed=2), sample('c', seed=3)]
    found = Donors(samples)
    for number in range(4):
        # The others of 'a' are b and c, in this order.
        assert found.choose(shape(3), 'a', np.array([number])) == samples[1 + number % 2]


@pytest.mark.parametrize(
    ('samples', 'message'),
    [
        ([sample('a'), sample('a'), sample('b', 1)], r'of 1 person\(s\), and donors need two'),
        ([sample('a', 1), sample('b', 1)], r'of 0 person\(s\)'),
        ([sample('a'), sample(None)], r"'None.png' names no target_id"),
    ],
)
def test_sets_without_donors_are_refused(samples: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Donors(samples)


@settings(max_examples=30, deadline=None)
@given(
    linear=st.lists(st.floats(-2, 2), min_size=4, max_size=4),
    shift=st.lists(st.floats(-50, 50), min_size=2, max_size=2),
)
def test_an_affine_map_is_found_again(linear: list[float], shift: list[float]) -> None:
    matrix = np.c_[np.reshape(linear, (2, 2)), shift]
    points = shape(0)
    found = fit_affine(points, points @ matrix[:, :2].T + matrix[:, 2])
    assert np.allclose(found, matrix, atol=1e-3)


def test_the_donor_lies_over_the_face(tiny_prepared: Path) -> None:
    dataset = build(tiny_prepared, [dict(type='LoadForgeryPair'), dict(type='LoadDonor', prob=1.0)])
    genuine, donor = (
        next(
            dataset.get_data_info(number)
            for number in range(len(dataset))
            if is_genuine_of(dataset, number, who)
        )
        for who in ('000', '001')
    )
    donor['landmarks'] = genuine['landmarks'] - np.array([5, 3], np.float32)
    step = LoadDonor(prob=1.0)
    found = step({**genuine, 'img': np.zeros((SIDE, SIDE, 3), np.uint8), 'donors': Only(donor)})
    # Its landmarks lie five pixels to the left and three above, so the image moves back by as much.
    loaded = TRANSFORMS.build(dict(type='LoadForgeryPair'))(dict(donor))['img']
    inner = slice(16, 48)
    expected = np.roll(loaded, (3, 5), (0, 1))[inner, inner].astype(int)
    assert np.abs(found['donor_img'][inner, inner].astype(int) - expected).max() <= 2


class Only:
    """Donors that know one face."""

    def __init__(self, face: dict[str, Any]) -> None:
        self.face = face

    def choose(self, *args: Any) -> dict[str, Any]:
        return dict(self.face)


def is_genuine_of(dataset: DonorForgeryDataset, number: int, person: str) -> bool:
    info = dataset.get_data_info(number)
    return info['gt_label'] == 0 and info['target_id'] == person


def build(root: Path, pipeline: list[Any], **options: Any) -> DonorForgeryDataset:
    return DonorForgeryDataset(root / 'index.parquet', pipeline=pipeline, seed=0, **options)


def test_samples_know_the_donors_and_depend_on_the_seed_only(tiny_prepared: Path) -> None:
    pipeline = [
        dict(type='LoadForgeryPair'),
        dict(type='AlignFace', size=(SIDE, SIDE), jitter=dict()),
        dict(type='LoadDonor', prob=0.5),
        dict(type='SelfBlendedImage'),
        dict(type='PackForgeryPair'),
    ]
    first, second = build(tiny_prepared, pipeline), pickle.loads(pickle.dumps(build(tiny_prepared, pipeline)))
    numbers = [number for number in range(len(first)) if first.get_data_info(number)['gt_label'] == 0]
    for number in numbers:
        fake, genuine = first[number]
        again = second[number]
        assert np.array_equal(fake['inputs'], again[0]['inputs'])
        assert np.array_equal(genuine['inputs'], again[1]['inputs'])
        assert (fake['data_samples'].gt_label, genuine['data_samples'].gt_label) == (1, 0)
    assert len(numbers) >= 4


def test_half_of_the_genuine_samples_get_a_donor_and_fakes_none() -> None:
    step = LoadDonor(prob=0.5)
    drawn = [step._draw() is not None for _ in range(400)]
    assert 160 < sum(drawn) < 240
    assert step({'gt_label': 1}) == {'gt_label': 1}


def face_plan(**options: Any) -> BlendPlan:
    """The whole face from brows to chin, moved by three pixels, with narrow edges."""
    usual = dict(scale=(1.1, 1.1), shift=(3.0, 0.0), hull='brows_to_chin', sigmas=(1.0, 1.0))
    return blend_plan(**{**usual, **options})


def test_the_donor_is_the_source_in_the_colors_of_the_face() -> None:
    points = ring()
    image, donor = np.full((SIDE, SIDE, 3), 100, np.uint8), np.full((SIDE, SIDE, 3), 60, np.uint8)
    donor[28:36, 28:36] = 70
    fake, target, mask = self_blend(image, points, face_plan(), donor)
    assert np.array_equal(target, image)
    # Means match, details stay, and the donor is not moved; the spread may be matched by 0.6 at least.
    inside = mask > 0.999
    assert fake[inside].mean() == pytest.approx(100, abs=1)
    assert 5 <= int(fake[32, 32, 0]) - int(fake[32, 18, 0]) <= 7
    assert (fake[mask == 0] == 100).all()
    # A part of the difference of the means stays, twelve levels at most.
    for mismatch, level in ((0.1, 96), (1.0, 93)):
        fake, *_ = self_blend(image, points, face_plan(mismatch=mismatch), donor)
        assert fake[inside].mean() == pytest.approx(level, abs=1)


@pytest.mark.parametrize('of_source', [True, False])
def test_both_people_get_the_colors_and_one_the_sharpness(of_source: bool) -> None:
    points = ring()
    image = np.full((SIDE, SIDE, 3), 100, np.uint8)
    image[:, ::8] = 120
    donor = np.roll(image, 4, axis=1) - 30
    change = ColorChange(brightness=40, reduce=4.0)
    fake, target, mask = self_blend(image, points, face_plan(change=change, of_source=of_source), donor)
    inside, outside = mask > 0.999, mask == 0
    # Brighter all over, so that no seam gives the blend away by its color.
    assert fake[inside].mean() == pytest.approx(fake[outside].mean(), abs=2)
    assert target.mean() == pytest.approx(image.mean() + 40, abs=1)
    blurred, sharp = (inside, outside) if of_source else (outside, inside)
    assert fake[sharp].std() > 2 * fake[blurred].std()


@pytest.mark.parametrize('zoom', [0.3, 0.45, 0.8])
def test_donors_are_resampled_as_faces_are(zoom: float, tmp_path: Path) -> None:
    import cv2

    rng = np.random.default_rng(0)
    cv2.imwrite(str(tmp_path / 'face.png'), rng.integers(0, 256, (200, 200, 3), dtype=np.uint8))
    face = {
        'img_path': str(tmp_path / 'face.png'),
        'gt_label': 0,
        'landmarks': shape(0) * 3,
        'target_id': 'a',
    }
    matrix = np.array([[zoom, 0, 2.5], [0, zoom, -1.5]])
    loaded = TRANSFORMS.build(dict(type='LoadForgeryPair'))(dict(face))
    aligned = warp_image(loaded['img'], matrix, (SIDE, SIDE))
    results = {**loaded, 'img': aligned, 'landmarks': transform_points(face['landmarks'], matrix)}
    found = LoadDonor(prob=1.0)({**results, 'donors': Only(face)})['donor_img']
    # The same face by the other way is the same image, but for the rounding of the fit.
    assert np.abs(found.astype(int) - aligned).max() <= 1


def test_subsets_keep_all_donors(tiny_prepared: Path) -> None:
    whole = build(tiny_prepared, [])
    landmarks = whole.get_data_info(0)['landmarks']
    expected = [whole.donors.choose(landmarks, '000', np.array([n]))['img_path'] for n in range(6)]
    subset = whole.get_subset([5, 1])
    whole.get_subset_([0, 1, 2])
    for dataset in (whole, subset):
        donors = dataset.get_data_info(1)['donors']
        assert [donors.choose(landmarks, '000', np.array([n]))['img_path'] for n in range(6)] == expected


def test_the_transform_takes_the_donor_once() -> None:
    points = ring()
    image = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    np.random.seed(0)
    results = {'img': image, 'landmarks': points, 'gt_label': 0, 'donor_img': 255 - image}
    results = SelfBlendedImage(hulls=['brows_to_chin'], ratios=[1.0])(results)
    assert results['gt_label'] == 1
    assert 'donor_img' not in results
    # A negative differs where a copy would not.
    assert np.abs(results['img'].astype(int) - results['source_img']).mean() > 10


@pytest.mark.parametrize(
    ('options', 'message'),
    [(dict(prob=1.5), 'prob=1.5'), (dict(candidates=0), 'candidates=0'), (dict(cache_mib=-1), 'cache_mib')],
)
def test_wrong_arguments(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        LoadDonor(**options)


def test_wrong_use(tiny_prepared: Path) -> None:
    with pytest.raises(
        InputError, match=r"no donors: LoadDonor needs dataset=dict\(type='DonorForgeryDataset'"
    ):
        LoadDonor(prob=1.0)({'gt_label': 0})
    with pytest.raises(InputError, match=r'of 0 person.*paired_only of the dataset'):
        build(tiny_prepared, [], paired_only=True)
    with pytest.raises(InputError, match=r'mismatch=2'):
        SelfBlendedImage(mismatch=2)
