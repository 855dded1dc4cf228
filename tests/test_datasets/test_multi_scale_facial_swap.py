# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import copy
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from iid_mm.datasets.functional.facial_swap import change_scores
from iid_mm.datasets.transforms import MultiScaleFacialSwap
from iid_mm.errors import InputError

WINDOWS = ((40, 80), (80, 120), (120, 160), (224, 224))


def check_contract(results: dict[str, Any]) -> None:
    height, width = results['img'].shape[:2]
    boxes, labels = results['gt_bboxes'], results['gt_bboxes_labels']
    assert boxes.dtype == np.float32
    assert labels.dtype == np.int64
    assert boxes.shape == (len(labels), 4)
    assert not labels.any()
    assert (boxes >= 0).all()
    assert (boxes <= [width, height, width, height]).all()
    assert (boxes[:, 2:] > boxes[:, :2]).all()
    assert results['img'].dtype == np.uint8


@pytest.mark.parametrize('with_source', [True, False])
def test_genuine_keeps_its_pixels(aligned: dict[str, Any], with_source: bool) -> None:
    sample = {**aligned, 'gt_label': 0}
    if not with_source:
        del sample['source_img'], sample['landmarks']
    before = sample['img'].copy()
    results = MultiScaleFacialSwap(partial_prob=1.0)(sample)
    np.testing.assert_array_equal(results['img'], before)
    assert results['gt_bboxes'].shape == (0, 4)
    assert results['gt_bboxes_labels'].shape == (0,)
    assert results['swap_kind'] == 'genuine'
    check_contract(results)


@pytest.mark.parametrize('source', ['absent', 'none'])
def test_fake_without_pair_stays(aligned: dict[str, Any], source: str) -> None:
    if source == 'absent':
        del aligned['source_img']
    else:
        aligned['source_img'] = None
    before = aligned['img'].copy()
    results = MultiScaleFacialSwap(partial_prob=1.0)(aligned)
    np.testing.assert_array_equal(results['img'], before)
    assert results['gt_bboxes'].tolist() == [[0, 0, 224, 224]]
    assert results['swap_kind'] == 'untouched'


@pytest.mark.parametrize('poisson', [0.0, 1.0])
def test_partial_changes_only_the_window(aligned: dict[str, Any], poisson: float) -> None:
    transform = MultiScaleFacialSwap(partial_prob=1.0, poisson_prob=poisson)
    genuine, fake = aligned['source_img'].copy(), aligned['img'].copy()
    seen = set()
    for seed in range(40):
        np.random.seed(seed)
        results = transform(copy.copy(aligned))
        check_contract(results)
        assert results['swap_kind'] == 'partial'
        whole, window = results['gt_bboxes'].astype(int)
        assert whole.tolist() == [0, 0, 224, 224]
        size = (window[2] - window[0], window[3] - window[1])
        assert size in WINDOWS or size[::-1] in WINDOWS
        seen.add(tuple(int(v) for v in size))
        changed = (results['img'] != genuine).any(axis=2)
        assert changed.any()
        inside = np.zeros_like(changed)
        inside[window[1] : window[3], window[0] : window[2]] = True
        assert not (changed & ~inside).any()
    assert seen == {size for w, h in WINDOWS for size in ((w, h), (h, w))}
    # The inputs are left as they were.
    np.testing.assert_array_equal(aligned['img'], fake)
    np.testing.assert_array_equal(aligned['source_img'], genuine)


def test_partial_takes_the_most_altered_place(aligned: dict[str, Any]) -> None:
    fake = aligned['source_img'].copy()
    fake[100:140, 130:170] = 255 - fake[100:140, 130:170]
    transform = MultiScaleFacialSwap(windows=((80, 80),), partial_prob=1.0, poisson_prob=0.0)
    results = transform({**aligned, 'img': fake})
    x0, y0, x1, y1 = results['gt_bboxes'][1]
    assert x0 <= 130
    assert y0 <= 100
    assert x1 >= 170
    assert y1 >= 140
    np.testing.assert_array_equal(results['img'][110:130, 140:160], fake[110:130, 140:160])


@pytest.mark.parametrize('poisson', [0.0, 1.0])
@pytest.mark.parametrize('elastic', [0.0, 1.0])
def test_global_swaps(aligned: dict[str, Any], poisson: float, elastic: float) -> None:
    probs = {'partial_prob': 0.0, 'poisson_prob': poisson, 'elastic_prob': elastic}
    genuine, fake = aligned['source_img'], aligned['img']
    into_fake = MultiScaleFacialSwap(**probs, genuine_into_fake_prob=1.0, keep_fake_prob=0.0)
    results = into_fake(copy.copy(aligned))
    assert results['swap_kind'] == 'genuine_into_fake'
    assert results['gt_bboxes'].tolist() == [[0, 0, 224, 224]]
    # Far from the face the frame is the fake; inside it has the genuine face's structure.
    np.testing.assert_array_equal(results['img'][0], fake[0])
    if not poisson:
        np.testing.assert_array_equal(results['img'][110:150, 100:125], genuine[110:150, 100:125])
    into_genuine = MultiScaleFacialSwap(**probs, genuine_into_fake_prob=0.0, keep_fake_prob=0.0)
    results = into_genuine(copy.copy(aligned))
    assert results['swap_kind'] == 'fake_into_genuine'
    np.testing.assert_array_equal(results['img'][0], genuine[0])
    if not poisson:
        np.testing.assert_array_equal(results['img'][110:150, 100:125], fake[110:150, 100:125])


def test_keep_fake(aligned: dict[str, Any]) -> None:
    before = aligned['img'].copy()
    transform = MultiScaleFacialSwap(partial_prob=0, keep_fake_prob=1, genuine_into_fake_prob=0)
    results = transform(aligned)
    np.testing.assert_array_equal(results['img'], before)
    assert results['gt_bboxes'].tolist() == [[0, 0, 224, 224]]


def test_genuine_face_over_all_that_was_forged_is_redrawn(aligned: dict[str, Any]) -> None:
    """A forgery inside the hull would be undone: such a result must not be called fake."""
    fake = aligned['source_img'].copy()
    fake[120:160, 90:135] = 255 - fake[120:160, 90:135]
    transform = MultiScaleFacialSwap(
        partial_prob=0, genuine_into_fake_prob=1, keep_fake_prob=0, elastic_prob=0, max_redraws=2
    )
    results = transform({**aligned, 'img': fake})
    assert results['swap_kind'] == 'untouched'
    np.testing.assert_array_equal(results['img'], fake)
    assert results['gt_bboxes'].tolist() == [[0, 0, 224, 224]]


def test_compression_noise_does_not_count_as_forgery(aligned: dict[str, Any]) -> None:
    """Noise all over the frame passes `min_changed`, but the forgery is gone: `min_kept` decides."""
    genuine = aligned['source_img']
    fake = genuine.copy()
    fake[120:160, 90:135] = 255 - fake[120:160, 90:135]
    noise = np.random.default_rng(0).normal(0, 2, fake.shape)
    fake = np.clip(np.rint(fake + noise), 0, 255).astype(np.uint8)
    assert np.count_nonzero(change_scores(fake, genuine) > 1e-3) > 30000
    arguments = {'partial_prob': 0, 'genuine_into_fake_prob': 1, 'keep_fake_prob': 0, 'elastic_prob': 0}
    for poisson in (0.0, 1.0):
        transform = MultiScaleFacialSwap(**arguments, poisson_prob=poisson)
        assert transform({**aligned, 'img': fake})['swap_kind'] == 'untouched'
        transform = MultiScaleFacialSwap(**arguments, poisson_prob=poisson, min_kept=0)
        assert transform({**aligned, 'img': fake})['swap_kind'] == 'genuine_into_fake'
    # A forgery that also reaches outside the hull is kept.
    fake[10:50, 90:135] = 255 - fake[10:50, 90:135]
    transform = MultiScaleFacialSwap(**arguments)
    assert transform({**aligned, 'img': fake})['swap_kind'] == 'genuine_into_fake'


@pytest.mark.parametrize(
    ('share', 'kind'), [(0.0, 'genuine_into_fake'), (0.3, 'genuine_into_fake'), (0.7, 'untouched')]
)
def test_result_must_keep_a_share_of_the_forgery(aligned: dict[str, Any], share: float, kind: str) -> None:
    """Two patches are forged, one inside the hull, which the genuine face undoes, and one above it."""
    fake = aligned['source_img'].copy()
    for rows in (slice(120, 160), slice(2, 42)):
        fake[rows, 90:135] = 255 - fake[rows, 90:135]
    transform = MultiScaleFacialSwap(
        partial_prob=0,
        genuine_into_fake_prob=1,
        keep_fake_prob=0,
        elastic_prob=0,
        poisson_prob=0,
        min_kept_share=share,
    )
    results = transform({**aligned, 'img': fake.copy()})
    assert results['swap_kind'] == kind
    if kind != 'untouched':
        kept, whole = (change_scores(image, aligned['source_img']).sum() for image in (results['img'], fake))
        assert 0.3 < kept / whole < 0.7


def test_equal_frames_fall_back(aligned: dict[str, Any]) -> None:
    sample = {**aligned, 'img': aligned['source_img'].copy()}
    results = MultiScaleFacialSwap(partial_prob=1.0)(sample)
    assert results['swap_kind'] == 'untouched'
    assert results['gt_bboxes'].tolist() == [[0, 0, 224, 224]]


def test_redraw_bound_is_in_pixels_of_224(aligned: dict[str, Any]) -> None:
    """11 x 11 px of reach around one changed pixel; the bound decides, scaled with the area."""
    fake = aligned['source_img'].copy()
    fake[130, 110] ^= 128
    changed = np.count_nonzero(change_scores(fake, aligned['source_img']) > 1e-3)
    assert 9 <= changed <= 121
    probs = {'partial_prob': 0, 'keep_fake_prob': 0, 'genuine_into_fake_prob': 0, 'poisson_prob': 0}
    for bound, kind in ((changed - 1, 'fake_into_genuine'), (changed, 'untouched')):
        transform = MultiScaleFacialSwap(**probs, elastic_prob=0, min_changed=bound)
        assert transform({**aligned, 'img': fake.copy()})['swap_kind'] == kind


def test_shares() -> None:
    np.random.seed(0)
    transform = MultiScaleFacialSwap(max_redraws=0)
    plans = [transform._draw_plan((224, 224)) for _ in range(4000)]
    kinds = Counter(plan.kind for plan in plans)
    expected = {'partial': 0.2, 'genuine_into_fake': 0.4, 'fake_into_genuine': 0.2, 'untouched': 0.2}
    for kind, share in expected.items():
        assert kinds[kind] / 4000 == pytest.approx(share, abs=0.03)
    assert np.mean([plan.poisson for plan in plans]) == pytest.approx(0.5, abs=0.03)
    swaps = [plan for plan in plans if 'into' in plan.kind]
    assert np.mean([plan.bend is not None for plan in swaps]) == pytest.approx(0.5, abs=0.03)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 2**31),
    width=st.integers(48, 300),
    height=st.integers(48, 300),
    move=st.tuples(st.floats(-80, 80), st.floats(-80, 80)),
)
def test_any_canvas_and_place(
    aligned: dict[str, Any], seed: int, width: int, height: int, move: tuple[float, float]
) -> None:
    """Boxes stay inside and hold the change, also when windows exceed the canvas or the face leaves."""
    rng = np.random.default_rng(seed)
    genuine = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    fake = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    points = (aligned['landmarks'] * [width / 224, height / 224] + move).astype(np.float32)
    np.random.seed(seed)
    results = MultiScaleFacialSwap(partial_prob=1.0, max_redraws=2)(
        {'img': fake, 'source_img': genuine, 'landmarks': points, 'gt_label': 1}
    )
    check_contract(results)
    if results['swap_kind'] == 'partial':
        x0, y0, x1, y1 = results['gt_bboxes'][1].astype(int)
        outside = np.ones((height, width), dtype=bool)
        outside[y0:y1, x0:x1] = False
        np.testing.assert_array_equal(results['img'][outside], genuine[outside])
    else:
        np.testing.assert_array_equal(results['img'], fake)


def test_same_seed_same_result(aligned: dict[str, Any]) -> None:
    transform = MultiScaleFacialSwap()
    for seed in range(6):
        outcomes = []
        for _ in range(2):
            np.random.seed(seed)
            outcomes.append(transform(copy.deepcopy(aligned)))
        np.testing.assert_array_equal(outcomes[0]['img'], outcomes[1]['img'])
        np.testing.assert_array_equal(outcomes[0]['gt_bboxes'], outcomes[1]['gt_bboxes'])


def test_bad_input(aligned: dict[str, Any]) -> None:
    transform = MultiScaleFacialSwap()
    with pytest.raises(InputError, match=r'landmarks has shape \(5, 2\)'):
        transform({**aligned, 'landmarks': np.zeros((5, 2), np.float32)})
    with pytest.raises(InputError, match='differ in shape'):
        transform({**aligned, 'source_img': np.zeros((10, 10, 3), np.uint8)})
    with pytest.raises(InputError, match='gt_label=2'):
        transform({**aligned, 'gt_label': 2})
    for arguments, message in (
        ({'windows': ()}, 'windows'),
        ({'windows': ((40, 0),)}, 'windows'),
        ({'partial_prob': 1.5}, 'partial_prob=1.5'),
        ({'genuine_into_fake_prob': 0.8, 'keep_fake_prob': 0.3}, 'keep_fake_prob=1.1'),
        ({'max_redraws': -1}, 'max_redraws=-1'),
        ({'min_kept': -5}, 'min_kept=-5'),
    ):
        with pytest.raises(InputError, match=message):
            MultiScaleFacialSwap(**arguments)
