# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mmdet.evaluation.functional.mean_ap import average_precision, tpfp_default

from iid_mm.evaluation.localization.box_precision import (
    IOU_THRESHOLDS,
    box_average_precision,
    collect_detections,
    mean_average_precision,
)


def precision(images: list[list[tuple[float, float]]], truths: int, threshold: float = 0.5) -> float:
    """Images as lists of (score, overlap)."""
    arrays = [np.array(image, dtype=np.float64).reshape(-1, 2) for image in images]
    return box_average_precision(collect_detections(arrays), truths, threshold)


def test_by_hand() -> None:
    # In order of scores: right, wrong, right, wrong. Precision 1, 1/2, 2/3, 2/4; three true boxes.
    images = [[(0.9, 0.7), (0.6, 0.1)], [(0.8, 0.2)], [(0.7, 0.5)]]
    assert precision(images, 3) == pytest.approx((1 + 2 / 3) / 3)
    # The precision at a recall is the best at this or a higher one.
    images = [[(0.9, 0.0)], [(0.8, 0.6)], [(0.7, 0.6)]]
    assert precision(images, 2) == pytest.approx(2 / 3)


def test_the_first_match_takes_the_true_box() -> None:
    assert precision([[(0.9, 0.6), (0.8, 0.95)]], 1) == 1.0
    # At 0.9 the second box is the first match, after a wrong one.
    assert precision([[(0.9, 0.6), (0.8, 0.95)]], 1, 0.9) == 0.5
    two = [[(0.9, 0.6), (0.8, 0.95)], [(0.7, 0.5)]]
    assert precision(two, 2) == pytest.approx(1 / 2 + (2 / 3) / 2)


def test_an_overlap_at_the_threshold_counts() -> None:
    assert precision([[(0.3, 0.5)]], 1, 0.5) == 1.0
    assert precision([[(0.3, np.nextafter(0.5, 0))]], 1, 0.5) == 0.0


def test_many_images_round_nothing() -> None:
    below = float(np.nextafter(0.5, 0))
    images: list[list[tuple[float, float]]] = [[] for _ in range(100_000)]
    images.append([(0.9, below), (0.8, 0.5)])
    # The first box misses by the least possible, so the second is right.
    assert precision(images, 1) == 0.5


def test_ties_have_no_order() -> None:
    # One right and one wrong box of one score: precision 1/2 at recall 1.
    for images in ([[(0.5, 1.0)], [(0.5, 0.0)]], [[(0.5, 0.0)], [(0.5, 1.0)]], [[(0.5, 0.0), (0.5, 1.0)]]):
        assert precision(images, 1) == 0.5


@pytest.mark.parametrize('images', [[], [[], []]])
def test_nothing_found(images: list[list[tuple[float, float]]]) -> None:
    assert precision(images, 2) == 0.0
    assert math.isnan(precision(images, 0))


def test_boxes_without_truth() -> None:
    assert math.isnan(precision([[(0.9, 0.0)]], 0))


def test_mean_over_thresholds() -> None:
    assert IOU_THRESHOLDS == (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
    found = collect_detections([np.array([[0.9, 0.72]])])
    assert mean_average_precision(found, 1) == pytest.approx(0.5)


IMAGES = st.lists(
    st.tuples(st.booleans(), st.lists(st.integers(0, 20), max_size=5)), min_size=1, max_size=12
).filter(lambda images: any(fake for fake, _ in images))


@settings(max_examples=60, deadline=None)
@given(images=IMAGES, seed=st.integers(0, 1000))
def test_against_mmdet(images: list[tuple[bool, list[int]]], seed: int) -> None:
    """The loop over boxes of mmdet's mean average precision, for different scores."""
    rng = np.random.default_rng(seed)
    total = sum(len(widths) for _, widths in images)
    scores = iter(rng.permutation(total) / max(total, 1))
    mine: list[list[tuple[float, float]]] = []
    dets, truths = [], []
    for fake, widths in images:
        own = [float(next(scores)) for _ in widths]
        # A box of width w within the true one of width 20.
        mine.append([(s, w / 20 if fake else 0.0) for s, w in zip(own, widths, strict=True)])
        dets.append(np.array([[0, 0, w, 10, s] for s, w in zip(own, widths, strict=True)]).reshape(-1, 5))
        truths.append(np.array([[0.0, 0, 20, 10]] if fake else []).reshape(-1, 4))
    for threshold in (0.5, 0.75, 0.95):
        flags = [
            tpfp_default(d, t, np.empty((0, 4)), iou_thr=threshold) for d, t in zip(dets, truths, strict=True)
        ]
        order = np.argsort(-np.vstack(dets)[:, -1])
        right, wrong = (np.hstack([f[k][0] for f in flags])[order].cumsum() for k in (0, 1))
        num = sum(len(t) for t in truths)
        expected = average_precision(right / num, right / np.maximum(right + wrong, 1e-9)) if total else 0.0
        assert precision(mine, num, threshold) == pytest.approx(float(expected), abs=1e-6)


@settings(max_examples=40, deadline=None)
@given(images=IMAGES, seed=st.integers(0, 1000))
def test_a_weight_is_that_many_copies(images: list[tuple[bool, list[int]]], seed: int) -> None:
    rng = np.random.default_rng(seed)
    weights = rng.integers(0, 4, len(images))
    boxes = [
        [(round(float(s), 1), w / 20 if fake else 0.0) for s, w in zip(rng.random(len(ws)), ws, strict=True)]
        for fake, ws in images
    ]
    truths = int(sum(w for w, (fake, _) in zip(weights, images, strict=True) if fake))
    copies = [image for image, w in zip(boxes, weights, strict=True) for _ in range(w)]
    arrays = [np.array(image).reshape(-1, 2) for image in boxes]
    found = collect_detections(arrays)
    value = box_average_precision(found, truths, 0.5, weights.astype(np.float64))
    assert value == pytest.approx(precision(copies, truths), nan_ok=True)
