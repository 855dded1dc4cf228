# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import Any

import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.optim import OptimWrapper

from iid_mm.errors import InputError
from iid_mm.models import IIDDetector
from iid_mm.registry import MODELS
from iid_mm.structures import ForgeryDataSample

EXTRA = [[30.0, 20, 70, 80]]


def build(cfg: dict[str, Any]) -> IIDDetector:
    model: IIDDetector = MODELS.build(cfg)
    return model


def plain_classifier(cfg: dict[str, Any]) -> dict[str, Any]:
    cfg.update(neck=None, artifact_head=None)
    cfg['forgery_head'].update(artifact_channels=None)
    return cfg


@pytest.mark.parametrize('kind', [dict, ConfigDict])
def test_losses_carry_the_role_of_their_head(
    kind: Any, tiny_model_cfg: dict[str, Any], make_samples: Any
) -> None:
    model = build(kind(tiny_model_cfg))
    samples = make_samples([1, 0], extra=EXTRA)
    losses = model(torch.rand(2, 3, 112, 112), samples, mode='loss')
    assert set(losses) == {'forgery.loss_cls', 'forgery.acc', 'artifact.loss_cls', 'artifact.loss_bbox'}
    total, _ = model.parse_losses(losses)
    parts = [v for k, v in losses.items() if 'loss' in k]
    assert torch.allclose(total, torch.stack(parts).sum())
    total.backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


def test_a_step_of_training_lowers_the_loss(tiny_model_cfg: dict[str, Any]) -> None:
    from mmengine.structures import InstanceData

    torch.manual_seed(0)
    model = build(tiny_model_cfg)
    model.init_weights()
    optim_wrapper = OptimWrapper(torch.optim.AdamW(model.parameters(), lr=1e-3))
    samples = []
    for label in (1, 0, 1, 0):
        sample = ForgeryDataSample(metainfo=dict(img_shape=(112, 112)))
        sample.gt_label = torch.tensor([label])
        sample.gt_instances = InstanceData(
            bboxes=torch.tensor([[0.0, 0, 112, 112]] * label).reshape(-1, 4),
            labels=torch.zeros(label, dtype=torch.int64),
        )
        samples.append(sample)
    inputs = list(torch.randint(0, 256, (4, 3, 112, 112), dtype=torch.uint8))
    logs = [
        model.train_step(dict(inputs=inputs, data_samples=samples), optim_wrapper)['loss'].item()
        for _ in range(6)
    ]
    assert logs[-1] < logs[0]


def test_tensor_mode(tiny_model_cfg: dict[str, Any]) -> None:
    model = build(tiny_model_cfg).eval()
    output = model(torch.rand(2, 3, 112, 112))
    assert isinstance(output, tuple)
    logits, (cls_maps, reg_maps) = output
    assert tuple(logits.shape) == (2, 2)
    assert isinstance(cls_maps, list)
    assert isinstance(reg_maps, list)
    assert [tuple(m.shape) for m in cls_maps] == [(2, 4, s, s) for s in (7, 5, 3, 1)]
    assert [tuple(m.shape) for m in reg_maps] == [(2, 8, s, s) for s in (7, 5, 3, 1)]


def test_tensor_mode_has_background_last(tiny_model_cfg: dict[str, Any]) -> None:
    """An anchor whose second channel wins is background: predict reports no box for it."""
    model = build(tiny_model_cfg).eval()
    head = model.artifact_head
    assert head is not None
    for conv in (*head.conv_cls, *head.conv_reg):
        conv.weight.data.zero_()
        conv.bias.data.zero_()
    for conv in head.conv_cls:
        conv.bias.data[1::2] = 20.0
    assert len(model.predict(torch.rand(1, 3, 112, 112))[0].pred_instances) == 0
    head.conv_cls[3].bias.data.copy_(torch.tensor([20.0, 0, 0, 20]))
    found = model.predict(torch.rand(1, 3, 112, 112))[0].pred_instances
    assert found.bboxes.tolist() == [[0, 0, 112, 112]]


def test_predict_fills_the_samples(tiny_model_cfg: dict[str, Any], make_samples: Any) -> None:
    model = build(tiny_model_cfg).eval()
    samples = make_samples([1, 0])
    inputs = torch.rand(2, 3, 112, 112)
    with torch.no_grad():
        predicted = model(inputs, samples, mode='predict')
        logits = model(inputs)[0]
    assert [p is s for p, s in zip(predicted, samples, strict=True)] == [True, True]
    for sample, logit in zip(predicted, logits, strict=True):
        assert torch.allclose(sample.pred_score, logit.softmax(0))
        assert sample.pred_label.tolist() == [int(logit.argmax())]
        assert set(sample.pred_instances.keys()) == {'bboxes', 'scores', 'labels'}


def test_predict_without_samples(tiny_model_cfg: dict[str, Any]) -> None:
    predicted = build(tiny_model_cfg).eval()(torch.rand(1, 3, 112, 112), mode='predict')
    assert predicted[0].img_shape == (112, 112)
    assert predicted[0].pred_score.sum().item() == pytest.approx(1)


def test_prediction_of_a_sample_does_not_depend_on_its_batch(tiny_model_cfg: dict[str, Any]) -> None:
    model = build(tiny_model_cfg).eval()
    inputs = torch.rand(3, 3, 112, 112)
    with torch.no_grad():
        together = model.predict(inputs)
        alone = model.predict(inputs[1:2])[0]
    assert torch.allclose(together[1].pred_score, alone.pred_score, atol=1e-6)


def test_plain_classifier(tiny_model_cfg: dict[str, Any], make_samples: Any) -> None:
    model = build(plain_classifier(tiny_model_cfg))
    inputs, samples = torch.rand(2, 3, 112, 112), make_samples([1, 0])
    assert set(model(inputs, samples, mode='loss')) == {'forgery.loss_cls', 'forgery.acc'}
    logits, maps = model(inputs)
    assert tuple(logits.shape) == (2, 2)
    assert maps == ([], [])
    assert 'pred_instances' not in model.eval()(inputs, samples, mode='predict')[0]


def test_plain_classifier_needs_no_boxes(tiny_model_cfg: dict[str, Any], make_samples: Any) -> None:
    model = build(plain_classifier(tiny_model_cfg))
    samples = make_samples([1, 0])
    for sample in samples:
        del sample.gt_instances
    assert torch.isfinite(model(torch.rand(2, 3, 112, 112), samples, mode='loss')['forgery.loss_cls'])


def test_training_the_artifact_head_without_boxes_is_an_error(
    tiny_model_cfg: dict[str, Any], make_samples: Any
) -> None:
    model = build(tiny_model_cfg)
    samples = make_samples([1, 0])
    del samples[1].gt_instances
    with pytest.raises(InputError, match=r'no gt_instances.*MultiScaleFacialSwap'):
        model(torch.rand(2, 3, 112, 112), samples, mode='loss')


def test_artifact_head_without_neck_is_an_error(tiny_model_cfg: dict[str, Any]) -> None:
    tiny_model_cfg['neck'] = None
    with pytest.raises(InputError, match=r'neck is None'):
        build(tiny_model_cfg)


def test_configs_are_not_changed_by_building(tiny_model_cfg: dict[str, Any]) -> None:
    import copy

    before = copy.deepcopy(tiny_model_cfg)
    build(tiny_model_cfg)
    assert tiny_model_cfg == before


def test_lateral_fusion_end_to_end(tiny_model_cfg: dict[str, Any], make_samples: Any) -> None:
    tiny_model_cfg['backbone'].update(out_indices=(0, 1, 2))
    tiny_model_cfg['neck'].update(in_channels=[8, 16, 32], lateral=True)
    model = build(tiny_model_cfg)
    losses = model(torch.rand(2, 3, 112, 112), make_samples([1, 0]), mode='loss')
    model.parse_losses(losses)[0].backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


def mixed_config() -> dict[str, Any]:
    """A backbone of mmpretrain, a neck and a head of mmdet."""
    return dict(
        type='IIDDetector',
        data_preprocessor=dict(
            type='DetDataPreprocessor', mean=[123.7, 116.3, 103.5], std=[58.4, 57.1, 57.4], bgr_to_rgb=True
        ),
        backbone=dict(
            type='mmpretrain.ConvNeXt',
            arch=dict(depths=[1, 1, 1, 1], channels=[8, 8, 16, 16]),
            out_indices=(1, 2, 3),
            gap_before_final_norm=False,
        ),
        neck=dict(type='FPN', in_channels=[8, 16, 16], out_channels=8, num_outs=3),
        artifact_head=dict(
            type='RetinaHead',
            num_classes=1,
            in_channels=8,
            feat_channels=8,
            stacked_convs=1,
            anchor_generator=dict(
                type='AnchorGenerator',
                octave_base_scale=4,
                scales_per_octave=1,
                ratios=[1.0],
                strides=[8, 16, 32],
            ),
            bbox_coder=dict(type='DeltaXYWHBBoxCoder'),
            loss_cls=dict(type='FocalLoss', use_sigmoid=True),
            loss_bbox=dict(type='L1Loss'),
        ),
        forgery_head=dict(type='ForgeryHead', in_channels=16, artifact_channels=8),
        train_cfg=dict(
            assigner=dict(type='MaxIoUAssigner', pos_iou_thr=0.5, neg_iou_thr=0.4, min_pos_iou=0),
            sampler=dict(type='PseudoSampler'),
            allowed_border=-1,
            pos_weight=-1,
        ),
        test_cfg=dict(
            nms_pre=100,
            min_bbox_size=0,
            score_thr=0.0,
            nms=dict(type='nms', iou_threshold=0.5),
            max_per_img=5,
        ),
    )


def test_parts_of_mmpretrain_and_mmdet_mix(make_samples: Any) -> None:
    model = build(mixed_config())
    model.init_weights()
    optim_wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.01))
    batch = dict(
        inputs=list(torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)),
        data_samples=make_samples([1, 0], side=64, extra=[[8.0, 8, 40, 40]]),
    )
    before = model.backbone.downsample_layers[0][0].weight.clone()
    log = model.train_step(batch, optim_wrapper)
    assert {'forgery.loss_cls', 'artifact.loss_cls', 'artifact.loss_bbox'} < set(log)
    assert torch.isfinite(log['loss'])
    assert not torch.equal(before, model.backbone.downsample_layers[0][0].weight)
    predicted = model.eval().test_step(batch)
    assert len(predicted[0].pred_instances.bboxes) == 5
    assert tuple(predicted[0].pred_score.shape) == (2,)


def test_channels_last_changes_speed_only(tiny_model_cfg: dict[str, Any], make_samples: Any) -> None:
    plain = build(tiny_model_cfg)
    other = build({**tiny_model_cfg, 'channels_last': True})
    other.load_state_dict(plain.state_dict())
    kernels = [p for p in other.backbone.parameters() if p.dim() == 4 and p.shape[1] > 1 and p.shape[2] > 1]
    assert kernels
    assert all(p.is_contiguous(memory_format=torch.channels_last) for p in kernels)
    images = torch.rand(2, 3, 112, 112) * 255
    outs = []
    for model in (plain, other):
        losses = model(images, make_samples([1, 0], extra=EXTRA), mode='loss')
        total, _ = model.parse_losses(losses)
        total.backward()
        grads = {name: p.grad for name, p in model.named_parameters()}
        outs.append((losses, grads))
    for name, value in outs[0][0].items():
        assert torch.allclose(value, outs[1][0][name], rtol=1e-4), name
    for name, grad in outs[0][1].items():
        assert torch.allclose(grad, outs[1][1][name], rtol=1e-2, atol=1e-4), name


def test_fused_level_joins_the_global_head(tiny_model_cfg: dict[str, Any]) -> None:
    images = torch.rand(2, 3, 112, 112) * 255
    for level in (0, -1):
        model = build({**tiny_model_cfg, 'fused_level': level}).eval()
        feats, levels = model.extract_feat(images)
        logits, _ = model(images, mode='tensor')
        assert torch.equal(logits, model.forgery_head(feats[-1], levels[level]))
        assert model.fused_map(levels) is levels[level]


def test_without_a_fused_level_the_artifact_head_teaches_the_backbone_only(
    tiny_model_cfg: dict[str, Any], make_samples: Any
) -> None:
    tiny_model_cfg['forgery_head'].update(artifact_channels=None)
    model = build({**tiny_model_cfg, 'fused_level': None})
    images = torch.rand(2, 3, 112, 112) * 255
    losses = model(images, make_samples([1, 0], extra=EXTRA), mode='loss')
    losses['forgery.loss_cls'].backward(retain_graph=True)
    assert all(p.grad is None for p in model.neck.parameters())
    before = [p.grad.clone() for p in model.backbone.parameters()]
    losses['artifact.loss_cls'].sum().backward()
    after = [p.grad for p in model.backbone.parameters()]
    assert any(not torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_fused_level_that_is_not_there(tiny_model_cfg: dict[str, Any]) -> None:
    model = build({**tiny_model_cfg, 'fused_level': 4})
    with pytest.raises(InputError, match='fused_level=4: the neck has 4 levels, 0 to 3'):
        model(torch.rand(1, 3, 112, 112), mode='tensor')
