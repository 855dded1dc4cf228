# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.dataset import pseudo_collate
from mmengine.registry import DefaultScope

from iid_mm.apis import init_model
from iid_mm.structures import ForgeryDataSample


@pytest.fixture(autouse=True, scope='package')
def _scope() -> Iterator[None]:
    with DefaultScope.overwrite_default_scope('iid_mm'):
        yield


def spread(model: torch.nn.Module, seed: int = 0) -> None:
    """Weights with which scores of anchors and of images differ clearly: no ties, no saturation."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        if name.startswith(('artifact_head', 'forgery_head.fc')) and name.endswith('weight'):
            scale = 0.5 / parameter[0].numel() ** 0.5
            parameter.data.copy_(scale * torch.randn(parameter.shape, generator=generator))


@pytest.fixture(scope='session')
def make_model(tiny_config: Path) -> Callable[..., Any]:
    """The tiny detector with other config values, weights spread."""

    def make(**options: Any) -> Any:
        torch.manual_seed(0)
        named = {name.replace('__', '.'): value for name, value in options.items()}
        model = init_model(tiny_config, cfg_options=named)
        spread(model)
        return model

    return make


@pytest.fixture(scope='session')
def _exported(make_model: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    from iid_mm.deployment import export_onnx

    path = tmp_path_factory.mktemp('onnx') / 'tiny.onnx'
    model = make_model()
    export_onnx(model, path)
    return model, path


@pytest.fixture
def tiny_model(_exported: tuple[Any, Path]) -> Any:
    return _exported[0]


@pytest.fixture
def tiny_onnx(_exported: tuple[Any, Path], tmp_path: Path) -> Path:
    """A copy of the exported ``tiny_model``, to be damaged."""
    return Path(shutil.copy(_exported[1], tmp_path / 'tiny.onnx'))


@pytest.fixture
def make_batch() -> Callable[..., dict[str, Any]]:
    """A batch as the data loader makes it."""

    def make(count: int, side: int = 112) -> dict[str, Any]:
        generator = torch.Generator().manual_seed(1)
        coarse = torch.rand(count, 3, 8, 8, generator=generator) * 255
        images = torch.nn.functional.interpolate(coarse, size=(side, side), mode='bilinear').to(torch.uint8)
        shape = (side, side)
        samples = [ForgeryDataSample(metainfo=dict(img_shape=shape, ori_shape=shape)) for _ in images]
        return pseudo_collate([dict(inputs=i, data_samples=s) for i, s in zip(images, samples, strict=True)])

    return make


@pytest.fixture
def same_predictions() -> Callable[..., None]:
    """Compare two lists of predicted samples."""

    def compare(found: list[Any], expected: list[Any], boxes: bool = True) -> None:
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            torch.testing.assert_close(one.pred_score, other.pred_score, atol=1e-4, rtol=0)
            assert torch.equal(one.pred_label, other.pred_label)
            assert ('pred_instances' in one) == ('pred_instances' in other) == boxes
            if boxes:
                assert len(one.pred_instances) > 1
                a, b = one.pred_instances, other.pred_instances
                torch.testing.assert_close(a.scores, b.scores, atol=1e-4, rtol=0)
                torch.testing.assert_close(a.bboxes, b.bboxes, atol=1e-2, rtol=0)
                assert torch.equal(a.labels, b.labels)

    return compare
