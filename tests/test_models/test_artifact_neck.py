# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from iid_mm.errors import InputError
from iid_mm.models import ArtifactNeck


def count(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(('side', 'expected'), [(7, (7, 5, 3, 1)), (9, (9, 7, 5, 3))])
def test_levels_shrink_by_two(side: int, expected: tuple[int, ...]) -> None:
    levels = ArtifactNeck(8)((torch.rand(2, 8, side, side),))
    assert [tuple(level.shape) for level in levels] == [(2, 8, s, s) for s in expected]


def test_levels_of_a_map_that_is_not_square() -> None:
    levels = ArtifactNeck(4)((torch.rand(1, 4, 7, 10),))
    assert [tuple(level.shape[2:]) for level in levels] == [(7, 10), (5, 8), (3, 6), (1, 4)]


def test_size_of_the_published_neck() -> None:
    # C = 1792; convolutions per block: 11 C^2, 27 C^2, 27 C^2, 19 C^2; the rest are biases and norms.
    with torch.device('meta'):
        neck = ArtifactNeck(1792)
    assert count(neck) == 84 * 1792**2 + 24 * 1792 == 269_789_184


def test_slim_neck_reduces_first() -> None:
    neck = ArtifactNeck(in_channels=[12], channels=4)
    # 1x1 convolution without bias and its norm come on top of the levels.
    assert count(neck) == 84 * 4**2 + 24 * 4 + 12 * 4 + 2 * 4
    levels = neck((torch.rand(2, 12, 7, 7),))
    assert [level.shape[1] for level in levels] == [4, 4, 4, 4]


def test_only_the_last_backbone_output_counts_without_laterals() -> None:
    neck = ArtifactNeck(in_channels=[2, 4]).eval()
    last = torch.rand(1, 4, 7, 7)
    one = neck((torch.zeros(1, 2, 14, 14), last))
    other = neck((torch.ones(1, 2, 14, 14), last))
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_laterals_add_pooled_earlier_outputs_to_every_level() -> None:
    torch.manual_seed(0)
    plain = ArtifactNeck(in_channels=[2, 4]).eval()
    lateral = ArtifactNeck(in_channels=[2, 4], lateral=True).eval()
    lateral.load_state_dict(plain.state_dict(), strict=False)
    assert lateral.laterals is not None
    first, last = torch.rand(1, 2, 14, 14), torch.rand(1, 4, 7, 7)
    levels, fused = plain((first, last)), lateral((first, last))
    # Average over 2x2 cells, 1x1 convolution, norm with its initial statistics (mean 0, variance 1).
    pooled = first.reshape(1, 2, 7, 2, 7, 2).mean(dim=(3, 5))
    added = torch.einsum('oc,ncij->noij', lateral.laterals[0].conv.weight[:, :, 0, 0], pooled)
    added = added / (1 + 1e-5) ** 0.5
    assert torch.allclose(fused[0] - levels[0], added, atol=1e-6)
    assert torch.allclose(fused[3] - levels[3], added.mean(dim=(2, 3), keepdim=True), atol=1e-6)


def test_laterals_train() -> None:
    neck = ArtifactNeck(in_channels=[2, 3, 4], channels=4, lateral=True)
    feats = (torch.rand(2, 2, 28, 28), torch.rand(2, 3, 14, 14), torch.rand(2, 4, 7, 7))
    sum(level.sum() for level in neck(feats)).backward()
    assert all(p.grad is not None for p in neck.parameters())


def test_equal_to_the_description(
    adm_oracle: Callable[..., list[torch.Tensor]], randomize: Callable[..., None]
) -> None:
    torch.manual_seed(0)
    neck = ArtifactNeck(16)
    for _ in range(3):
        neck((torch.rand(8, 16, 7, 7),))
    randomize(neck)
    neck.eval()
    x = torch.rand(3, 16, 7, 7)
    weights = {name.removeprefix('blocks.'): value for name, value in neck.state_dict().items()}
    with torch.no_grad():
        levels, expected = neck((x,)), adm_oracle(weights, x)
    for level, wanted in zip(levels, expected, strict=True):
        assert wanted.std() > 1e-3
        assert torch.allclose(level, wanted, atol=1e-5)


def test_small_map_is_an_error() -> None:
    with pytest.raises(InputError, match=r'\(4, 7\).*7x7.*enlarge the input'):
        ArtifactNeck(4)((torch.rand(1, 4, 4, 7),))


def test_wrong_channels_are_an_error() -> None:
    with pytest.raises(InputError, match=r'expects 4 channels and got 6.*in_channels'):
        ArtifactNeck(4)((torch.rand(1, 6, 7, 7),))


def test_laterals_need_several_outputs() -> None:
    with pytest.raises(InputError, match=r'lateral=True.*out_indices'):
        ArtifactNeck(4, lateral=True)


def test_laterals_with_too_few_outputs_are_an_error() -> None:
    neck = ArtifactNeck(in_channels=[2, 4], lateral=True)
    with pytest.raises(InputError, match=r'2 backbone outputs and got 1.*out_indices'):
        neck((torch.rand(1, 4, 7, 7),))
