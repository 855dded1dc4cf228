# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from iid_mm.errors import InputError
from iid_mm.models import ForgeryHead


def set_weights(head: ForgeryHead) -> None:
    head.fc.weight.data = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    head.fc.bias.data = torch.tensor([0.5, 0.0])


# Means of the two channels: 2 and 3.
BACKBONE_MAP = torch.tensor([[[[1.0, 3.0]], [[3.0, 3.0]]]])


def test_logits_without_artifact_feature() -> None:
    head = ForgeryHead(2)
    set_weights(head)
    assert head(BACKBONE_MAP).tolist() == [[2.5, 6.0]]


def test_artifact_feature_is_added() -> None:
    head = ForgeryHead(2, artifact_channels=2)
    set_weights(head)
    assert isinstance(head.projection, torch.nn.Identity)
    assert head(BACKBONE_MAP, torch.tensor([[[[1.0]], [[-1.0]]]])).tolist() == [[3.5, 4.0]]


def test_other_channels_are_projected() -> None:
    head = ForgeryHead(2, artifact_channels=1)
    set_weights(head)
    assert isinstance(head.projection, torch.nn.Linear)
    assert head.projection.bias is None
    head.projection.weight.data = torch.tensor([[1.0], [0.5]])
    # The artifact map is averaged to 2, so (2, 1) is added to the pooled (2, 3).
    assert head(BACKBONE_MAP, torch.tensor([[[[0.0, 4.0]]]])).tolist() == [[4.5, 8.0]]


def test_dropout_acts_on_the_backbone_feature_only() -> None:
    head = ForgeryHead(2, artifact_channels=2, dropout=1.0)
    set_weights(head)
    head.train()
    assert head(BACKBONE_MAP, torch.tensor([[[[1.0]], [[1.0]]]])).tolist() == [[1.5, 2.0]]


def test_loss_and_accuracy_by_hand(make_samples: Any) -> None:
    head = ForgeryHead(2)
    head.fc.weight.data = torch.eye(2)
    head.fc.bias.data.zero_()
    maps = torch.tensor([[[[0.0]], [[math.log(3)]]], [[[0.0]], [[math.log(3)]]]])
    # Probability of fake 0.75 in both; the first is fake, the second genuine.
    losses = head.loss(maps, None, make_samples([1, 0]))
    assert losses['loss_cls'].item() == pytest.approx(-(math.log(0.75) + math.log(0.25)) / 2)
    assert losses['acc'].item() == 50


def test_label_smoothing_from_mmpretrain(make_samples: Any) -> None:
    smooth = dict(type='mmpretrain.LabelSmoothLoss', label_smooth_val=0.2, num_classes=2)
    head = ForgeryHead(2, loss=smooth)
    head.fc.weight.data = torch.eye(2)
    head.fc.bias.data.zero_()
    losses = head.loss(torch.tensor([[[[0.0]], [[math.log(3)]]]]), None, make_samples([1]))
    # Target (0.1, 0.9) against the probabilities (0.25, 0.75).
    assert losses['loss_cls'].item() == pytest.approx(-(0.1 * math.log(0.25) + 0.9 * math.log(0.75)))


def test_predict_writes_probabilities(make_samples: Any) -> None:
    head = ForgeryHead(2)
    head.fc.weight.data = torch.eye(2)
    head.fc.bias.data.zero_()
    maps = torch.tensor([[[[0.0]], [[math.log(3)]]], [[[math.log(4)]], [[0.0]]]])
    samples = head.predict(maps, None, make_samples([1, 0]))
    assert torch.allclose(samples[0].pred_score, torch.tensor([0.25, 0.75]))
    assert torch.allclose(samples[1].pred_score, torch.tensor([0.8, 0.2]))
    assert [s.pred_label.tolist() for s in samples] == [[1], [0]]


@pytest.mark.parametrize(
    ('artifact_channels', 'artifact_map', 'message'),
    [
        (None, torch.ones(1, 2, 1, 1), 'artifact_channels=None.*an artifact map'),
        (2, None, 'got no artifact map'),
    ],
)
def test_artifact_feature_where_none_belongs(
    artifact_channels: int | None, artifact_map: torch.Tensor | None, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        ForgeryHead(2, artifact_channels=artifact_channels)(BACKBONE_MAP, artifact_map)


def test_wrong_artifact_channels() -> None:
    with pytest.raises(InputError, match=r'artifact_channels is 2 and the fused artifact level has 3'):
        ForgeryHead(2, artifact_channels=2)(BACKBONE_MAP, torch.ones(1, 3, 1, 1))


def test_wrong_channels() -> None:
    with pytest.raises(InputError, match=r'expects 3 channels and got 2'):
        ForgeryHead(3)(BACKBONE_MAP)
