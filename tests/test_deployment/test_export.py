# SPDX-License-Identifier: Apache-2.0
"""An exported model computes what the PyTorch model computes."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from iid_mm.apis import init_model
from iid_mm.deployment import ExportOptions, OnnxDetector, ParityError, export_checkpoint, export_onnx
from iid_mm.deployment import export as export_module
from iid_mm.deployment.export import _check_parity
from iid_mm.deployment.export_graph import ExportGraph, fixed_padding
from iid_mm.deployment.parity import Comparison
from iid_mm.errors import InputError
from iid_mm.utils.files import sha256
from support.paths import REPOSITORY

MISSING = "the extra onnx is not installed: pip install 'iid-mm[onnx]'"
pytest.importorskip('onnxruntime', reason=MISSING)
onnx = pytest.importorskip('onnx', reason=MISSING)

PLAIN = {'model__neck': None, 'model__artifact_head': None, 'model__forgery_head__artifact_channels': None}
HEAD: dict[str, Any] = dict(
    num_classes=1,
    in_channels=16,
    stacked_convs=1,
    feat_channels=16,
    loss_bbox=dict(type='SmoothL1Loss', beta=1.0, loss_weight=0.1),
)
FOCAL = dict(type='FocalLoss', use_sigmoid=True, gamma=2.0, alpha=0.25, loss_weight=0.1)
RETINA = dict(
    **HEAD,
    _delete_=True,
    type='mmdet.RetinaHead',
    loss_cls=FOCAL,
    anchor_generator=dict(
        type='AnchorGenerator',
        octave_base_scale=2,
        scales_per_octave=1,
        ratios=[1.0],
        strides=[16, 22, 37, 112],
    ),
)
NORM = dict(type='GN', num_groups=4)
ATSS = RETINA | dict(
    type='mmdet.ATSSHead',
    norm_cfg=NORM,
    loss_centerness=dict(type='CrossEntropyLoss', use_sigmoid=True, loss_weight=0.1),
)
FCOS = dict(
    **HEAD,
    _delete_=True,
    type='mmdet.FCOSHead',
    strides=[16, 22, 37, 112],
    norm_on_bbox=True,
    loss_cls=FOCAL,
    norm_cfg=NORM,
)
GFL = RETINA | dict(
    type='mmdet.GFLHead',
    norm_cfg=NORM,
    loss_dfl=dict(type='DistributionFocalLoss', loss_weight=0.1),
    loss_cls=dict(type='QualityFocalLoss', use_sigmoid=True, beta=2.0, loss_weight=0.1),
)


def swapped(make_model: Callable[..., Any], head: dict[str, Any]) -> Any:
    """The tiny model with another head."""
    model = make_model()
    cfg = copy.deepcopy(model.cfg)
    cfg.model.artifact_head = {key: value for key, value in head.items() if key != '_delete_'}
    torch.manual_seed(0)
    changed = init_model(cfg)
    for name, parameter in changed.artifact_head.named_parameters():
        if name.endswith('weight') and parameter.dim() == 4:
            torch.nn.init.normal_(parameter, std=0.2)
    return changed


@pytest.mark.parametrize('count', [1, 3])
def test_predictions_are_those_of_pytorch(
    count: int, tiny_model: Any, tiny_onnx: Path, make_batch: Any, same_predictions: Any
) -> None:
    with torch.no_grad():
        expected = tiny_model.test_step(make_batch(count))
    found = OnnxDetector(tiny_onnx, num_threads=1).test_step(make_batch(count))
    same_predictions(found, expected)
    assert found[0].metainfo == expected[0].metainfo


def test_plain_classifier(make_model: Any, tmp_path: Path, make_batch: Any, same_predictions: Any) -> None:
    model = make_model(**PLAIN)
    metadata = export_onnx(model, tmp_path / 'plain.onnx')
    assert metadata.output_names == ['logits']
    assert metadata.level_sizes == []
    with torch.no_grad():
        expected = model.test_step(make_batch(2))
    same_predictions(OnnxDetector(tmp_path / 'plain.onnx').test_step(make_batch(2)), expected, boxes=False)


@pytest.mark.parametrize('head', [RETINA, ATSS, FCOS], ids=lambda head: head['type'])
def test_heads_of_mmdet(
    head: dict[str, Any], make_model: Any, tmp_path: Path, make_batch: Any, same_predictions: Any
) -> None:
    model = swapped(make_model, head)
    metadata = export_onnx(model, tmp_path / 'other.onnx')
    assert ('score_factors' in metadata.output_names) == (head is not RETINA)
    with torch.no_grad():
        expected = model.test_step(make_batch(2))
    same_predictions(OnnxDetector(tmp_path / 'other.onnx').test_step(make_batch(2)), expected)


def test_normalization_and_channel_order_are_inside(
    make_model: Any, tmp_path: Path, make_batch: Any, same_predictions: Any
) -> None:
    model = make_model(
        model__data_preprocessor__mean=[120.0, 110.0, 100.0],
        model__data_preprocessor__std=[60.0, 50.0, 40.0],
        model__data_preprocessor__bgr_to_rgb=True,
    )
    export_onnx(model, tmp_path / 'normalized.onnx')
    with torch.no_grad():
        expected = model.test_step(make_batch(2))
    same_predictions(OnnxDetector(tmp_path / 'normalized.onnx').test_step(make_batch(2)), expected)


def test_channels_last_and_heat_map(make_model: Any, tmp_path: Path, make_batch: Any) -> None:
    model = make_model(model__channels_last=True, model__test_cfg__heat_map='noisy_or')
    export_onnx(model, tmp_path / 'heat.onnx', ExportOptions(opset=13))
    with torch.no_grad():
        expected = model.test_step(make_batch(1))
    (found,) = OnnxDetector(tmp_path / 'heat.onnx').test_step(make_batch(1))
    torch.testing.assert_close(found.pred_heat, expected[0].pred_heat, atol=1e-4, rtol=0)


@pytest.mark.slow
def test_efficientnet_b4(tmp_path: Path, make_batch: Any) -> None:
    torch.manual_seed(0)
    model = init_model(REPOSITORY / 'configs/iid_effb4_slim_ffpp.py')
    metadata = export_onnx(model, tmp_path / 'b4.onnx')
    assert metadata.input_size == (224, 224)
    assert max(metadata.checks['random'][name] for name in ('probability', 'score')) < 1e-4
    assert metadata.checks['random']['box'] < 1e-2
    # Padding is constant and, but for odd sums, part of the convolutions.
    kinds = [node.op_type for node in onnx.load(tmp_path / 'b4.onnx').graph.node]
    assert kinds.count('Pad') < 10 < kinds.count('Conv')
    assert kinds.count('Shape') < 20


def test_fixed_padding_is_exact_and_undone() -> None:
    from mmcv.cnn.bricks.conv2d_adaptive_padding import Conv2dAdaptivePadding

    torch.manual_seed(0)
    for kernel, stride, dilation in ((3, 2, 1), (5, 2, 1), (3, 1, 2), (1, 2, 1)):
        layer = Conv2dAdaptivePadding(2, 3, kernel, stride, dilation=dilation)
        for size in ((7, 8), (8, 7), (9, 9)):
            x = torch.rand(1, 2, *size)
            expected = layer(x)
            with fixed_padding(layer):
                torch.testing.assert_close(layer(x), expected)
    assert 'forward' not in vars(layer)


def test_file_describes_itself(
    tiny_config: Path, tmp_path: Path, make_model: Any, make_batch: Any, same_predictions: Any
) -> None:
    model = make_model()
    calibration = dict(frame=dict(temperature=1.5), video=dict(temperature=2.0), data='val')
    torch.save(dict(state_dict=model.state_dict(), meta=dict(calibration=calibration)), tmp_path / 'c.pth')
    export_checkpoint(tiny_config, tmp_path / 'c.pth', tmp_path / 'c.onnx')
    detector = OnnxDetector(tmp_path / 'c.onnx')
    assert detector.input_size == (112, 112)
    assert detector.temperature == 1.5
    metadata = detector.metadata
    assert metadata['checkpoint'] == 'c.pth'
    assert metadata['checkpoint_sha256'] == sha256(tmp_path / 'c.pth')
    assert metadata['calibration'] == calibration
    assert metadata['class_names'] == ['genuine', 'fake']
    assert metadata['level_sizes'] == [98, 50, 18, 2]
    assert metadata['test_cfg']['nms'] == dict(type='nms', iou_threshold=0.45)
    assert "type='IIDDetector'" in metadata['config']
    with torch.no_grad():
        expected = model.test_step(make_batch(1))
    same_predictions(detector.test_step(make_batch(1)), expected)
    onnx.checker.check_model(onnx.load(tmp_path / 'c.onnx'), full_check=True)


@pytest.mark.parametrize(
    ('precision', 'bound'), [('fp16', 2e-3), ('int8-dynamic', 0.05), ('int8-static', 0.05)]
)
def test_lower_precision_is_measured(
    precision: str, bound: float, make_model: Any, tiny_prepared: Path, tmp_path: Path
) -> None:
    lines: list[str] = []
    options = ExportOptions(precision=precision, index=tiny_prepared, faces=6)
    metadata = export_onnx(make_model(), tmp_path / 'low.onnx', options, report=lines.append)
    assert len(lines) == len(metadata.checks) == 4
    assert metadata.checks['faces']['images'] == 5
    assert metadata.checks['faces']['probability'] < 1e-4
    converted = metadata.checks['converted_faces']
    assert 0 < converted['probability'] < bound
    assert 0 <= converted['auc_after'] <= 1
    assert OnnxDetector(tmp_path / 'low.onnx').metadata == {**vars(metadata)}
    kinds = {tensor.data_type for tensor in onnx.load(tmp_path / 'low.onnx').graph.initializer}
    assert (onnx.TensorProto.FLOAT16 if precision == 'fp16' else onnx.TensorProto.INT8) in kinds or (
        precision == 'int8-dynamic' and onnx.TensorProto.UINT8 in kinds
    )


@pytest.mark.parametrize(
    ('what', 'value'), [('probability', 0.01), ('probability', float('nan')), ('score', 0.01), ('box', 2.0)]
)
def test_differences_that_are_refused(what: str, value: float) -> None:
    good = Comparison(images=4, probability=0.0, box=0.0, score=0.0)
    bad = replace(good, **{what: value})
    with pytest.raises(
        ParityError, match=rf'a\.onnx was not written: .* from PyTorch by {value:.3g} in a {what}'
    ):
        _check_parity([good, bad], 1e-4, Path('a.onnx'))
    _check_parity([good, replace(good, box=None, score=None)], 1e-4, Path('a.onnx'))


def test_nothing_is_left_of_a_refused_export(
    make_model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export_module, 'compare', lambda *_: Comparison(4, 0.01, None, None))
    with pytest.raises(ParityError, match='differs from PyTorch'):
        export_onnx(make_model(), tmp_path / 'bad.onnx')
    assert list(tmp_path.iterdir()) == []
    export_onnx(make_model(), tmp_path / 'good.onnx', ExportOptions(tolerance=0.02))
    assert [path.name for path in tmp_path.iterdir()] == ['good.onnx']


def test_models_that_cannot_be_exported(make_model: Any, tmp_path: Path) -> None:
    out = tmp_path / 'a.onnx'
    with pytest.raises(
        InputError, match=r'GFLHead has its own .*_predict_by_feat_single.* cannot be exported'
    ):
        export_onnx(swapped(make_model, GFL), out)
    with pytest.raises(InputError, match='num_classes=2'):
        export_onnx(make_model(model__artifact_head__num_classes=2), out)
    model = make_model()
    del model.artifact_head.loss_cls
    with pytest.raises(InputError, match='loss_cls=NoneType'):
        export_onnx(model, out)
    model = make_model()
    model.artifact_head.bbox_coder = None
    with pytest.raises(InputError, match='box coder NoneType'):
        export_onnx(model, out)
    model = make_model()
    model.cfg.test_dataloader.dataset.pipeline = []
    with pytest.raises(InputError, match='no AlignFace'):
        export_onnx(model, out)
    model.cfg.test_dataloader.dataset.pipeline = [dict(type='AlignFace', size=(64, 64))]
    with pytest.raises(InputError, match='at least 7x7'):
        export_onnx(model, out)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(opset=9), '--opset 9: choose 13 to 20'),
        (dict(precision='int4'), 'int4'),
        (dict(tolerance=float('nan')), '--tolerance nan'),
        (dict(precision='int8-static'), '--int8 static needs --index'),
    ],
)
def test_bad_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        ExportOptions(**options)


def test_bad_arguments(make_model: Any, tmp_path: Path, tiny_prepared: Path) -> None:
    model = make_model()
    with pytest.raises(InputError, match=r'ends in \.onnx'):
        export_onnx(model, tmp_path / 'model.pt')
    with pytest.raises(InputError, match='temperature'):
        export_onnx(model, tmp_path / 'a.onnx', calibration=dict(temperature=-1.0))
    with pytest.raises(InputError, match='take at least 2'):
        export_onnx(model, tmp_path / 'a.onnx', ExportOptions(index=tiny_prepared, faces=1))
    # All faces of the split serve the check.
    options = ExportOptions(
        index=tiny_prepared, faces=50, precision='int8-static', split='val', calibration_split='val'
    )
    with pytest.raises(InputError, match="no face of split 'val' is left"):
        export_onnx(model, tmp_path / 'a.onnx', options)


def test_graph_gives_the_outputs_of_the_network(tiny_model: Any) -> None:
    graph = ExportGraph(tiny_model, (112, 112))
    with torch.no_grad():
        logits, boxes, scores = graph(torch.zeros(2, 3, 112, 112))
    assert logits.shape == (2, 2)
    assert boxes.shape == (2, 168, 4)
    assert scores.shape == (2, 168)
    assert boxes.min() >= 0
    assert boxes.max() <= 112
