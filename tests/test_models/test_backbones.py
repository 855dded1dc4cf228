# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional as F

from iid_mm.models.backbones import StaticPadEfficientNet
from iid_mm.models.backbones.static_pad_efficientnet import StaticPadConv2d


@pytest.mark.parametrize(
    ('kernel', 'stride', 'size', 'padding', 'out'),
    [
        # 'same' padding: (ceil(size / stride) - 1) * stride + kernel - size, the smaller half first.
        (3, 2, 380, (0, 1), 190),
        (5, 2, 95, (2, 2), 48),
        (5, 2, 56, (1, 2), 28),
        (3, 1, 56, (1, 1), 56),
        (1, 1, 56, (0, 0), 56),
    ],
)
def test_padding_by_hand(kernel: int, stride: int, size: int, padding: tuple[int, int], out: int) -> None:
    conv = StaticPadConv2d(2, 3, kernel, stride=stride, padding=kernel // 2, bias=False)
    assert conv.fix_padding(size) == out
    assert (conv.before, conv.after) == padding
    x = torch.rand(1, 2, 20, 20)
    expected = F.conv2d(F.pad(x, padding * 2), conv.weight, stride=stride)
    assert torch.equal(conv(x), expected)


@pytest.mark.parametrize(('native', 'kind'), [(True, 'static'), (False, 'adaptive')])
def test_same_features_as_efficientnet_pytorch(native: bool, kind: str, randomise: Any) -> None:
    """b1, whose resolution 240 px has odd sizes in between (15) where 224 px has even ones (14)."""
    from efficientnet_pytorch import EfficientNet
    from mmpretrain.models.backbones import EfficientNet as Adaptive

    from iid_mm.models.caddm import _translate_efficientnet

    torch.manual_seed(0)
    oracle = EfficientNet.from_name('efficientnet-b1', **({} if native else {'image_size': 224}))
    x = 255 * torch.rand(2, 3, 224, 224)
    for module in oracle.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        oracle.train().extract_features(x)
        randomise(oracle.eval())
        expected = oracle.extract_features(x)
    assert (expected[0] - expected[1]).abs().max() > 0.1

    results = {}
    counts = {'efficientnet-b1': (2, 3, 3, 4, 4, 5, 2)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr('iid_mm.models.caddm.EFFICIENTNET_BLOCKS', counts)
        state = {
            _translate_efficientnet(name, 'efficientnet-b1'): value
            for name, value in oracle.state_dict().items()
            if not name.startswith('_fc')
        }
    for name, kind_of in (('static', StaticPadEfficientNet), ('adaptive', Adaptive)):
        model = kind_of(arch='b1', norm_cfg=dict(type='BN', eps=1e-3))
        model.load_state_dict(state)
        model.eval()
        with torch.no_grad():
            results[name] = model(x)[0]
    assert torch.allclose(results.pop(kind), expected, atol=1e-4)
    # The other padding is not the same, so the choice matters.
    assert (next(iter(results.values())) - expected).abs().max() > 0.1
