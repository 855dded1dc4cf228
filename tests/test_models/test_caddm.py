# SPDX-License-Identifier: Apache-2.0
"""Converted checkpoints against a model that is put together from independent parts."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from iid_mm.apis import init_model
from iid_mm.errors import InputError
from iid_mm.models.caddm import background_last, convert_caddm
from iid_mm.utils.checkpoint import check_state_dict
from support.paths import REPOSITORY

CONFIGS = REPOSITORY / 'configs'
CONFIG_OF = {
    'resnet34': 'iid_r34_ffpp.py',
    'efficientnet-b3': 'iid_effb3_ffpp.py',
    'efficientnet-b4': 'iid_effb4_ffpp.py',
}
SIDES = (7, 5, 3, 1)


class Resnet34(nn.Module):
    """torchvision's network; the features before the classifier."""

    def __init__(self) -> None:
        super().__init__()
        from torchvision.models import resnet34

        self.net = resnet34(weights=None)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        net = self.net
        x = net.maxpool(net.relu(net.bn1(net.conv1(x))))
        return net.layer4(net.layer3(net.layer2(net.layer1(x))))


class Efficientnet(nn.Module):
    """The network of efficientnet_pytorch; the features before the classifier."""

    def __init__(self, name: str) -> None:
        super().__init__()
        from efficientnet_pytorch import EfficientNet

        self.net = EfficientNet.from_name(name, image_size=224)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net.extract_features(x)


def make_backbone(name: str) -> nn.Module:
    return Resnet34() if name == 'resnet34' else Efficientnet(name)


def original_name(name: str) -> str:
    """From the name of a neck's or a head's weight to that in a CADDM checkpoint."""
    name = re.sub(
        r'^neck\.blocks\.(\d)\.',
        lambda m: f'adm.adm_extra_layers.{m[1]}.' + ('0.' if m[1] != '3' else ''),
        name,
    )
    name = name.replace('shortcut', 'downsample')
    name = name.replace('artifact_head.conv_cls', 'adm.multi_scale_detection_module.ms_cls')
    name = name.replace('artifact_head.conv_reg', 'adm.multi_scale_detection_module.ms_dets')
    return name.replace('forgery_head.fc', 'fc')


def decode(anchors: torch.Tensor, offsets: torch.Tensor) -> torch.Tensor:
    size = anchors[:, 2:] - anchors[:, :2]
    center = (anchors[:, 2:] + anchors[:, :2]) / 2 + offsets[..., :2] * 0.1 * size
    size = size * (offsets[..., 2:] * 0.2).exp()
    return torch.cat([center - size / 2, center + size / 2], dim=-1)


def rows(maps: list[torch.Tensor], channels: int) -> torch.Tensor:
    return torch.cat([m.permute(0, 2, 3, 1).reshape(len(m), -1, channels) for m in maps], dim=1)


def warm_up(module: nn.Module, x: torch.Tensor, randomize: Callable[[nn.Module], None]) -> None:
    """Set batch norm statistics so that signals neither vanish nor grow, then disturb them."""
    norms = [m for m in module.modules() if isinstance(m, nn.BatchNorm2d)]
    usual = [m.momentum for m in norms]
    for m in norms:
        m.momentum = 1.0
    module.train()(x)
    for m, momentum in zip(norms, usual, strict=True):
        m.momentum = momentum
    randomize(module)
    module.eval()


def oracle_outputs(
    feature: torch.Tensor, weights: dict[str, torch.Tensor], adm: Callable[..., list[torch.Tensor]]
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Logits, anchor logits (background first) and offsets from the weights of a CADDM checkpoint."""
    neck = {}
    for key, value in weights.items():
        if match := re.fullmatch(r'adm\.adm_extra_layers\.(\d)\.(?:0\.)?(.+)', key):
            neck[f'{match[1]}.{match[2].replace("downsample", "shortcut")}'] = value
    levels = adm(neck, feature)

    def predict(kind: str) -> list[torch.Tensor]:
        name = f'adm.multi_scale_detection_module.{kind}'
        return [
            F.conv2d(
                level,
                weights[f'{name}.{i}.weight'],
                weights[f'{name}.{i}.bias'],
                padding=1 if i < 3 else 0,
            )
            for i, level in enumerate(levels)
        ]

    fused = feature.mean(dim=(2, 3)) + levels[-1].flatten(1)
    logits = fused @ weights['fc.weight'].T + weights['fc.bias']
    return logits, rows(predict('ms_cls'), 2), rows(predict('ms_dets'), 4)


@pytest.mark.parametrize('name', list(CONFIG_OF))
@torch.no_grad()
def test_parity(name: str, adm_oracle: Any, randomize: Any) -> None:
    torch.manual_seed(0)
    model = init_model(CONFIGS / CONFIG_OF[name])
    backbone = make_backbone(name)
    x = torch.randint(0, 256, (2, 3, 224, 224)).float()
    x[1] = x[1] * torch.linspace(0, 1, 224)
    warm_up(backbone, x, randomize)
    feature = backbone(x)
    warm_up(model.neck, (feature,), randomize)  # type: ignore[arg-type]
    weights = {original_name(k): v for k, v in model.state_dict().items() if not k.startswith('backbone.')}
    for key in weights:
        # Strong predictors, so that scores, offsets and boxes differ from anchor to anchor.
        if 'multi_scale' in key or key.startswith('fc.'):
            weights[key] = (0.003 if 'ms_dets' in key else 0.02) * torch.randn_like(weights[key])
    weights |= {f'base_model.{k}': v for k, v in backbone.net.state_dict().items()}  # type: ignore[union-attr]
    logits, anchor_logits, offsets = oracle_outputs(feature, weights, adm_oracle)
    # Alive, and boxes of sensible size: two inputs and the anchors of one input give different results.
    for result in (logits, anchor_logits, offsets):
        assert (result[0] - result[1]).abs().max() > 1e-2
    assert anchor_logits.std(dim=1).min() > 1e-2
    assert 0.5 < offsets.abs().max() < 5

    state, unknown = convert_caddm(weights, name)
    assert unknown == []
    check_state_dict(model, state, 'converted')
    model.load_state_dict(state)
    model.eval()
    found_logits, (cls_maps, reg_maps) = model(x, mode='tensor')
    assert torch.allclose(found_logits, logits, atol=1e-4)
    assert torch.allclose(rows(cls_maps, 2), anchor_logits.flip(-1), atol=1e-4)
    scores = rows(cls_maps, 2).softmax(-1)[..., 0]
    assert torch.allclose(scores, anchor_logits.softmax(-1)[..., 1], atol=1e-4)
    assert torch.allclose(rows(reg_maps, 4), offsets, atol=1e-4)
    head = model.artifact_head
    assert head is not None
    anchors = torch.cat(head.prior_generator.grid_priors([(s, s) for s in SIDES], device='cpu'))
    boxes = head.bbox_coder.decode(anchors, rows(reg_maps, 4)[0])
    expected_boxes = decode(anchors, offsets[0])
    assert torch.allclose(boxes, expected_boxes, atol=1e-4, rtol=1e-6)


def test_background_last_by_hand() -> None:
    # Anchor 0: background 0, artifact 1; anchor 1: background 2, artifact 3.
    assert background_last(torch.tensor([0.0, 1, 2, 3])).tolist() == [1, 0, 3, 2]
    weight = torch.arange(4.0)[:, None, None, None].expand(4, 2, 1, 1)
    assert background_last(weight)[:, 1, 0, 0].tolist() == [1, 0, 3, 2]


def test_prefix_of_data_parallel_training_is_accepted() -> None:
    state, unknown = convert_caddm({'module.fc.bias': torch.zeros(2)}, 'resnet34')
    assert list(state) == ['forgery_head.fc.bias']
    assert unknown == []


@pytest.mark.parametrize('key', ['base_model.fc.weight', 'base_model._fc.bias'])
def test_the_classifier_of_the_backbone_is_left_out(key: str) -> None:
    assert convert_caddm({key: torch.zeros(2)}, 'efficientnet-b4') == ({}, [])


@pytest.mark.parametrize(
    'key',
    [
        'base_model._blocks.32._bn9.weight',
        'base_model._blocks.99._bn0.weight',
        'base_model.layer1.0.conv1.weight',
        'adm.other.weight',
        'extra',
    ],
)
def test_keys_without_counterpart_are_reported(key: str) -> None:
    assert convert_caddm({key: torch.zeros(2)}, 'efficientnet-b4') == ({}, [key])


def test_unknown_backbone() -> None:
    with pytest.raises(InputError, match=r"'resnet50' is unknown.*resnet34, efficientnet-b3"):
        convert_caddm({}, 'resnet50')
