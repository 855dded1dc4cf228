# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from iid_mm.errors import InputError
from iid_mm.models import ExplicitAnchorGenerator, SSDBBoxCoder

FEATURE_SIZES = [(7, 7), (5, 5), (3, 3), (1, 1)]


def published() -> ExplicitAnchorGenerator:
    return ExplicitAnchorGenerator(
        strides=[32, 45, 75, 224],
        sizes=[
            [(40, 80), (80, 40)],
            [(80, 120), (120, 80)],
            [(120, 160), (160, 120)],
            [(224, 224), (224, 224)],
        ],
    )


def test_168_anchors_of_the_published_model() -> None:
    anchors = published().grid_priors(FEATURE_SIZES, device='cpu')
    assert [tuple(a.shape) for a in anchors] == [(98, 4), (50, 4), (18, 4), (2, 4)]


@pytest.mark.parametrize(
    ('level', 'first', 'last'),
    [
        (0, [-4, -24, 36, 56], [168, 188, 248, 228]),
        (1, [-17.5, -37.5, 62.5, 82.5], [142.5, 162.5, 262.5, 242.5]),
        (2, [-22.5, -42.5, 97.5, 117.5], [107.5, 127.5, 267.5, 247.5]),
        (3, [0, 0, 224, 224], [0, 0, 224, 224]),
    ],
)
def test_first_and_last_anchor_of_each_level(level: int, first: list[float], last: list[float]) -> None:
    anchors = published().grid_priors(FEATURE_SIZES, device='cpu')[level]
    assert anchors[0].tolist() == first
    assert anchors[-1].tolist() == last


def test_anchors_run_row_by_row_then_in_the_order_given() -> None:
    anchors = published().grid_priors(FEATURE_SIZES, device='cpu')[0]
    centers = (anchors[:, :2] + anchors[:, 2:]) / 2
    sizes = anchors[:, 2:] - anchors[:, :2]
    assert centers[:3].tolist() == [[16, 16], [16, 16], [48, 16]]
    assert centers[14].tolist() == [16, 48]
    assert sizes[:4].tolist() == [[40, 80], [80, 40], [40, 80], [80, 40]]


def test_repr_of_the_anchors_names_sizes() -> None:
    assert '(40.0, 80.0)' in repr(published())


@pytest.mark.parametrize(
    ('strides', 'sizes', 'message'),
    [
        ([32, 45], [[(40, 80)]], '2 levels and sizes 1'),
        ([32], [[]], r'sizes\[0\]'),
        ([32, 45], [[(40, 80)], [(0, 80)]], r'sizes\[1\].*above 0'),
    ],
)
def test_bad_anchors_are_errors(strides: list[int], sizes: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        ExplicitAnchorGenerator(strides, sizes)


def coder() -> SSDBBoxCoder:
    return SSDBBoxCoder(target_means=[0.0] * 4, target_stds=[0.1, 0.1, 0.2, 0.2])


def test_encode_by_hand() -> None:
    # Anchor: center (20, 40), 40x80. Box: center (30, 40), 40x40.
    offsets = coder().encode(torch.tensor([[0.0, 0, 40, 80]]), torch.tensor([[10.0, 20, 50, 60]]))
    assert torch.allclose(offsets, torch.tensor([[10 / 40 / 0.1, 0, 0, math.log(0.5) / 0.2]]))


def test_decode_by_hand() -> None:
    boxes = coder().decode(torch.tensor([[0.0, 0, 40, 80]]), torch.tensor([[2.5, 0, 0, math.log(0.5) / 0.2]]))
    assert torch.allclose(boxes, torch.tensor([[10.0, 20, 50, 60]]), atol=1e-4)


def test_large_offsets_are_not_limited() -> None:
    # exp(0.2 * 40) = 2981 times the anchor; mmdet's coder stops at 62.5 times.
    box = coder().decode(torch.tensor([[0.0, 0, 2, 2]]), torch.tensor([[0.0, 0, 40, 40]]))[0]
    assert torch.allclose(box[2] - box[0], torch.tensor(2 * math.exp(8.0)), rtol=1e-5)


def test_decode_clips_to_the_image() -> None:
    box = coder().decode(
        torch.tensor([[0.0, 0, 2, 2]]), torch.tensor([[0.0, 0, 40, 40]]), max_shape=(112, 100)
    )
    assert box.tolist() == [[0, 0, 100, 112]]


corner = st.floats(-100, 300, width=32)
extent = st.floats(1, 300, width=32)


@settings(max_examples=60, deadline=None)
@given(st.tuples(corner, corner, extent, extent), st.tuples(corner, corner, extent, extent))
def test_round_trip(anchor: tuple[float, ...], box: tuple[float, ...]) -> None:
    a = torch.tensor([[anchor[0], anchor[1], anchor[0] + anchor[2], anchor[1] + anchor[3]]])
    b = torch.tensor([[box[0], box[1], box[0] + box[2], box[1] + box[3]]])
    decoded = coder().decode(a, coder().encode(a, b))
    assert torch.allclose(decoded, b, atol=0.05)
