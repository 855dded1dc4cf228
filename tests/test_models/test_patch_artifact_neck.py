# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional as F

from iid_mm.errors import InputError
from iid_mm.models import ArtifactNeck, PatchArtifactNeck


def test_levels_of_a_vision_transformer() -> None:
    neck = PatchArtifactNeck([12, 12], channels=8)
    levels = neck((torch.rand(2, 12, 16, 16), torch.rand(2, 12, 16, 16)))
    assert [tuple(level.shape) for level in levels] == [(2, 8, s, s) for s in (7, 5, 3, 1)]


def test_first_level_is_made_of_the_joined_normalized_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    neck = PatchArtifactNeck([6, 4], channels=8, size=7).eval()
    feats = (torch.randn(2, 6, 14, 14), 5 * torch.randn(2, 4, 14, 14))
    seen: list[Any] = []
    monkeypatch.setattr(ArtifactNeck, 'forward', lambda self, maps: seen.append(maps) or maps)
    neck(feats)
    expected = torch.zeros(2, 8, 14, 14)
    for feat, (_, linear) in zip(feats, neck.adapters, strict=True):
        mean, var = feat.mean(1, keepdim=True), feat.var(1, unbiased=False, keepdim=True)
        normed = (feat - mean) / (var + 1e-5).sqrt()
        expected += F.conv2d(normed, linear.weight[:, :, None, None], linear.bias)
    assert len(seen) == 1
    assert len(seen[0]) == 1
    # 14 cells to 7: means of 2x2.
    torch.testing.assert_close(seen[0][0], F.avg_pool2d(expected, 2))


@pytest.mark.parametrize(
    ('options', 'text'),
    [
        (dict(in_channels=12), 'in_channels=12: give a list'),
        (dict(in_channels=[]), r'in_channels=\[\]: give a list'),
        (dict(in_channels=[12], size=6), 'size=6: must be at least 7'),
    ],
)
def test_bad_arguments(options: dict[str, Any], text: str) -> None:
    with pytest.raises(InputError, match=text):
        PatchArtifactNeck(**options)


@pytest.mark.parametrize(
    ('shapes', 'text'),
    [
        ([(1, 12, 14, 14)], r'made for maps of \[12, 12\] channels and got \[12\]'),
        ([(1, 12, 14, 14), (1, 10, 14, 14)], r'got \[12, 10\]; set in_channels'),
        ([(1, 12), (1, 12)], r"out_type='featmap'"),
        ([(1, 12, 7, 7), (1, 12, 6, 7)], 'a map of 6 cells a side and size=7'),
    ],
)
def test_maps_that_do_not_fit(shapes: list[tuple[int, ...]], text: str) -> None:
    neck = PatchArtifactNeck([12, 12], channels=8)
    with pytest.raises(InputError, match=text):
        neck(tuple(torch.zeros(shape) for shape in shapes))
