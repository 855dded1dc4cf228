# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from iid_mm.errors import InputError
from iid_mm.models import LoRABackbone, pretrained
from iid_mm.registry import MODELS
from iid_mm.utils.checkpoint import check_state_dict, load_weights

VIT: dict[str, Any] = dict(
    type='mmpretrain.VisionTransformer',
    arch=dict(embed_dims=16, num_layers=2, num_heads=2, feedforward_channels=32),
    img_size=32,
    patch_size=8,
    out_type='featmap',
    out_indices=(0, 1),
)
TARGETS: list[Any] = ['attn.qkv', dict(layer=r'.*attn\.proj', rank=3)]


@pytest.fixture
def weights_file(tmp_path: Path) -> Path:
    torch.manual_seed(1)
    plain = MODELS.build(copy.deepcopy(VIT))
    plain.init_weights()
    path = tmp_path / 'pretrained.pth'
    torch.save(dict(state_dict={f'backbone.{k}': v for k, v in plain.state_dict().items()}), path)
    return path


def pretrained_vit(path: Path | str) -> dict[str, Any]:
    return {**VIT, 'init_cfg': dict(type='Pretrained', checkpoint=str(path), prefix='backbone')}


def build(module: dict[str, Any], **options: Any) -> LoRABackbone:
    cfg = dict(type='LoRABackbone', module=copy.deepcopy(module), targets=copy.deepcopy(TARGETS), rank=2)
    return MODELS.build({**cfg, **options})


def learn(model: nn.Module) -> None:
    """Give the adapters other weights than those that they start from."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if '.lora_' in name:
                parameter.add_(0.1 * torch.randn(parameter.shape))


def test_only_adapters_are_trained() -> None:
    model = build(VIT)
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    assert len(trained) == 2 * 2 * 2  # blocks, layers, matrices
    assert all('.lora_' in name for name in trained)
    assert tuple(trained['module.layers.0.attn.qkv.lora_down.weight'].shape) == (2, 16)
    assert tuple(trained['module.layers.1.attn.proj.lora_up.weight'].shape) == (16, 3)


def test_starts_as_the_pretrained_backbone(weights_file: Path) -> None:
    plain = MODELS.build(pretrained_vit(weights_file))
    plain.init_weights()
    model = build(pretrained_vit(weights_file))
    model.init_weights()
    image = torch.rand(2, 3, 32, 32)
    model.eval()
    # mmpretrain's backbones return nothing from eval().
    plain.eval()
    for own, expected in zip(model(image), plain(image), strict=True):
        assert torch.equal(own, expected)
    learn(model)
    assert not torch.equal(model(image)[0], plain(image)[0])


def test_a_complete_checkpoint_needs_no_pretrained_file(weights_file: Path, tmp_path: Path) -> None:
    model = build(pretrained_vit(weights_file))
    model.init_weights()
    learn(model)
    torch.save(model.state_dict(), tmp_path / 'whole.pth')
    weights_file.unlink()
    other = build(pretrained_vit(weights_file))
    load_weights(other, tmp_path / 'whole.pth')
    image = torch.rand(2, 3, 32, 32)
    assert torch.equal(other.eval()(image)[1], model.eval()(image)[1])


def test_a_checkpoint_of_adapters(weights_file: Path, tmp_path: Path) -> None:
    def make(file: Path) -> nn.ModuleDict:
        # The backbone is one of several modules, as in a detector.
        parts = dict(first=nn.Linear(2, 2), backbone=build(pretrained_vit(file), store_base=False))
        return nn.ModuleDict({**parts, 'last': nn.Linear(2, 2)})

    model = make(weights_file)
    model['backbone'].init_weights()
    learn(model)
    state = model.state_dict()
    kept = [key for key in state if key.startswith('backbone.')]
    assert len(kept) == 8 + 1
    assert {'first.weight', 'last.weight', 'backbone.base_checksum'} < set(state)
    torch.save(state, tmp_path / 'adapters.pth')

    other = make(weights_file)
    load_weights(other, tmp_path / 'adapters.pth')
    image = torch.rand(2, 3, 32, 32)
    assert torch.equal(other['backbone'].eval()(image)[1], model['backbone'].eval()(image)[1])

    wrong = torch.load(weights_file)
    wrong['state_dict']['backbone.layers.0.ln1.bias'][0] += 1e-6
    torch.save(wrong, tmp_path / 'wrong.pth')
    with pytest.raises(InputError, match=r'adapters for other frozen weights \(checksum [0-9a-f]{8}\)'):
        load_weights(make(tmp_path / 'wrong.pth'), tmp_path / 'adapters.pth')


def test_unreachable_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(url: str, **_: Any) -> None:
        raise ConnectionError('no route to host')

    monkeypatch.setattr(pretrained, 'fetch_checkpoint', fail)
    messages: list[str] = []
    monkeypatch.setattr(pretrained, 'print_log', lambda text, **_: messages.append(text))
    url = 'https://example.invalid/clip.pth'
    build(pretrained_vit(url)).init_weights()
    assert 'VisionTransformer STARTS FROM RANDOM' in messages[0]
    with pytest.raises(InputError, match=f'store_base=False needs the pretrained weights of {url}'):
        build(pretrained_vit(url), store_base=False).init_weights()


@pytest.mark.parametrize(
    ('options', 'text'),
    [
        (dict(targets=[]), r'targets=\[\]: list the layers'),
        (dict(targets='qkv'), "targets='qkv': list the layers"),
        (
            dict(targets=['qkv', 'attn.query']),
            "'attn.query' names no linear layer of the backbone; their names end in .*proj, qkv, for "
            "instance 'layers.0.attn.qkv'",
        ),
        (dict(targets=[dict(rank=2)]), r"targets\[0\]=.* has no 'layer'"),
        (dict(targets=[dict(layer='qkv', rnk=2)]), r'targets\[0\] has unknown settings rnk'),
        (dict(targets=['*qkv']), r"targets\[0\]='\*qkv' is no regular expression"),
        (dict(rank=0), "rank=0 of target 'attn.qkv': must be at least 1"),
        (dict(store_base=False), 'store_base=False needs module.init_cfg'),
        (
            dict(module=dict(type='mmpretrain.ResNet', depth=18, out_indices=(3,))),
            "'attn.qkv' names no linear layer of the backbone; it has none, ResNet",
        ),
    ],
)
def test_bad_input(options: dict[str, Any], text: str) -> None:
    with pytest.raises(InputError, match=text):
        build(options.pop('module', VIT), **options)


def test_frozen_batch_norms_keep_their_statistics() -> None:
    # A backbone with linear layers and batch norms.
    model = build(dict(type='mmpretrain.EfficientFormer', arch='l1', out_indices=(3,)), targets=['qkv'])
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    before = model._checksum()
    model.train()
    assert model.training
    assert norms
    assert not any(norm.training for norm in norms)
    model(torch.rand(1, 3, 224, 224))
    assert model._checksum() == before


def test_depths_are_those_of_the_backbone() -> None:
    model, plain = build(VIT), MODELS.build(copy.deepcopy(VIT))
    depths = [
        model.get_layer_depth(f'backbone.module.layers.{n}.attn.qkv.lora_up.weight', 'backbone.')
        for n in (0, 1)
    ]
    assert depths == [
        plain.get_layer_depth(f'backbone.layers.{n}.attn.qkv.weight', 'backbone.') for n in (0, 1)
    ]
    assert depths[0] != depths[1]


def test_another_rank_is_another_model(weights_file: Path) -> None:
    state = build(VIT).state_dict()
    with pytest.raises(InputError, match='of another shape'):
        check_state_dict(build(VIT, rank=5), state, 'file')
