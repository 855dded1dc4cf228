# SPDX-License-Identifier: Apache-2.0
"""Maps of the Grad-CAM family on models small enough to work the maps out by hand."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from iid_mm.errors import InputError, MissingExtraError
from iid_mm.registry import MODELS
from iid_mm.visualization.class_maps import CAM_METHODS, check_layer, class_maps, usable_layers

KERNEL = torch.tensor([[1.0, 0.0, 0.0], [0.0, 2.0, 0.0]])
"""Weights of the 1x1 convolution: two maps of three colors."""
WEIGHT = torch.tensor([[0.5, -1.0], [3.0, -2.0]])
"""Weights of the logits (genuine, fake) on the two pooled maps."""


class TupleConv(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 1, bias=False)
        self.conv.weight.data = KERNEL[:, :, None, None].clone()
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor]:
        return (self.relu(self.conv(x)),)


class PooledLinear(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(2, 2, bias=False)
        self.fc.weight.data = WEIGHT.clone()

    def forward(self, last: torch.Tensor, level: torch.Tensor | None = None) -> torch.Tensor:
        assert level is None
        return self.fc(last.mean(dim=(2, 3)))


class LinearDetector(nn.Module):
    """Logits that are linear in the maps, so that gradients are known."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = TupleConv()
        self.neck = None
        self.artifact_head = None
        self.forgery_head = PooledLinear()

    def fused_map(self, levels: Any) -> None:
        return None


@pytest.fixture
def model() -> Any:
    return LinearDetector().eval()


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))


needs_library = pytest.mark.skipif(
    find_spec('pytorch_grad_cam') is None,
    reason='grad-cam is not installed (extra attention)',
)


@needs_library
def test_grad_cam_is_the_map_worked_out_by_hand(model: Any, images: torch.Tensor) -> None:
    first, second = images[:, 0], 2 * images[:, 1]
    # The gradient of a logit is its weight over the 20 cells, everywhere, and so is its mean.
    expected = ((3.0 * first - 2.0 * second) / 20).clamp(min=0)
    np.testing.assert_allclose(class_maps(model, images), expected, atol=1e-6)
    # At the convolution, too, though the activation after it works in place.
    np.testing.assert_allclose(class_maps(model, images, layer='backbone.conv'), expected, atol=1e-6)
    assert model.backbone.relu.inplace
    assert model.backbone.conv.weight.grad is None
    # Nothing is stretched to 0..1: twice the logits make twice the map.
    model.forgery_head.fc.weight.data *= 2
    np.testing.assert_allclose(class_maps(model, images), 2 * expected, atol=1e-6)


@needs_library
def test_layer_cam_takes_positive_gradients_only(model: Any, images: torch.Tensor) -> None:
    np.testing.assert_allclose(class_maps(model, images, 'layercam'), 3.0 * images[:, 0] / 20, atol=1e-6)


@needs_library
def test_grad_cam_plus_plus_weighs_positive_gradients(model: Any, images: torch.Tensor) -> None:
    # Equation 19 of the paper with a gradient g that is equal everywhere: alpha = g^2 / (2 g^2 + S g^3).
    g = 3.0 / 20
    sums = images[:, 0].sum(dim=(1, 2))
    weight = 20 * g * g**2 / (2 * g**2 + sums * g**3 + 1e-6)
    expected = weight[:, None, None] * images[:, 0]
    np.testing.assert_allclose(class_maps(model, images, 'gradcam++'), expected, rtol=1e-4)


@needs_library
@pytest.mark.parametrize('sign', [1.0, -1.0])
def test_eigen_cam_points_at_the_largest_magnitude(model: Any, sign: float) -> None:
    # One map varies: the first component is that map about its mean, turned to its largest magnitude.
    images = torch.full((1, 3, 4, 4), 0.5)
    images[0, 0, 1, 2] = 0.5 + sign * 0.4
    expected = np.zeros((4, 4))
    expected[1, 2] = 0.4 * 15 / 16
    np.testing.assert_allclose(class_maps(model, images, 'eigencam')[0], expected, atol=1e-6)


@needs_library
def test_the_predicted_class_is_explained_where_asked(model: Any) -> None:
    images = torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    # Logits are 0.5 a - b and 3 a - 2 b: fake is decided for where 2.5 a > b.
    images[0, 1] = 0.1
    images[1, 0], images[1, 1] = 0.1, 0.9
    own = class_maps(model, images, target='predicted')
    np.testing.assert_allclose(own[0], (3 * images[0, 0] - 0.4).clamp(min=0) / 16, atol=1e-6)
    # 0.05 - 1.8 is negative everywhere: nothing speaks for genuine.
    np.testing.assert_array_equal(own[1], 0)


@needs_library
@pytest.mark.parametrize('method', CAM_METHODS)
def test_maps_of_a_whole_detector(
    iid_scope: None, tiny_model_cfg: dict[str, Any], randomize: Callable[..., None], method: str
) -> None:
    torch.manual_seed(0)
    detector: Any = MODELS.build(tiny_model_cfg).eval()
    randomize(detector)
    images = torch.rand(2, 3, 112, 112) * 255
    before = {name: value.clone() for name, value in detector.state_dict().items()}
    for layer in ('backbone', 'backbone.layer3', 'neck.blocks.0'):
        maps = class_maps(detector, images, method, layer)
        assert maps.shape == (2, 112, 112)
        assert np.isfinite(maps).all()
        assert maps.min() >= 0
        # A face does not depend on the others of its batch.
        np.testing.assert_allclose(
            maps[1:], class_maps(detector, images[1:], method, layer), rtol=1e-3, atol=1e-3 * maps.max()
        )
    assert all(torch.equal(value, before[name]) for name, value in detector.state_dict().items())
    assert all(parameter.grad is None for parameter in detector.parameters())
    assert not any(module._forward_hooks for module in detector.modules())
    # `backbone` is the output of its last stage.
    np.testing.assert_array_equal(
        class_maps(detector, images, method), class_maps(detector, images, method, 'backbone.layer3')
    )


def test_layers_are_listed(iid_scope: None, tiny_model_cfg: dict[str, Any], model: Any) -> None:
    assert usable_layers(model, (4, 4)) == ['backbone', 'backbone.conv', 'backbone.relu']
    layers = usable_layers(MODELS.build(tiny_model_cfg), (112, 112))
    assert {'backbone', 'backbone.layer1', 'backbone.layer3.1.conv2', 'neck.blocks.2'} <= set(layers)
    # One cell; used twice in a block; not on the way to the decision; not even an image.
    absent = {'neck.blocks.3', 'backbone.layer1.0.relu', 'artifact_head', 'forgery_head.fc'}
    assert not absent & set(layers)


def test_wrong_names(iid_scope: None, tiny_model_cfg: dict[str, Any], images: torch.Tensor) -> None:
    detector: Any = MODELS.build(tiny_model_cfg)
    canvas = torch.zeros(1, 3, 112, 112)
    listed = r'choose one of backbone, .*backbone\.layer3, .*neck\.blocks\.0, .* layers inside of these'
    with pytest.raises(InputError, match=r"layer='layer9' is unknown; " + listed):
        check_layer(detector, 'layer9', (112, 112))
    with pytest.raises(InputError, match=r"layer='forgery_head\.fc' gives no single map"):
        check_layer(detector, 'forgery_head.fc', (112, 112))
    with pytest.raises(InputError, match=r"method='cam' is unknown; choose one of gradcam, gradcam\+\+"):
        class_maps(detector, canvas, 'cam')
    with pytest.raises(InputError, match="target='real' is unknown; choose one of fake, predicted"):
        class_maps(detector, canvas, target='real')


def test_a_missing_library_is_named(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, 'pytorch_grad_cam', None)
    with pytest.raises(MissingExtraError, match=r'grad-cam is not installed.*iid-mm\[attention\]'):
        class_maps(model, torch.zeros(1, 3, 4, 4))
