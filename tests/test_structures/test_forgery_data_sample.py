# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch
from mmengine.structures import InstanceData

from iid_mm.structures import ForgeryDataSample


def sample() -> ForgeryDataSample:
    result = ForgeryDataSample(metainfo=dict(video_key='ffpp/youtube/c23/000', frame=3))
    result.gt_label = torch.tensor([1])
    result.pred_score = torch.tensor([0.25, 0.75])
    result.pred_label = torch.tensor([1])
    result.gt_instances = InstanceData(bboxes=torch.zeros(1, 4), labels=torch.zeros(1, dtype=torch.int64))
    return result


def test_fields_and_meta_information() -> None:
    s = sample()
    assert s.gt_label.tolist() == [1]
    assert s.pred_score.tolist() == [0.25, 0.75]
    assert s.pred_label.tolist() == [1]
    assert (s.video_key, s.frame) == ('ffpp/youtube/c23/000', 3)
    assert {'gt_label', 'pred_score', 'pred_label', 'gt_instances'} <= set(s.keys())


def test_dictionary_for_metrics_has_everything_at_the_top() -> None:
    values = sample().to_dict()
    assert values['pred_score'].tolist() == [0.25, 0.75]
    assert values['gt_label'].tolist() == [1]
    assert values['video_key'] == 'ffpp/youtube/c23/000'
    assert tuple(values['gt_instances']['bboxes'].shape) == (1, 4)


@pytest.mark.parametrize('name', ['gt_label', 'pred_score', 'pred_label'])
def test_fields_are_tensors_and_can_go(name: str) -> None:
    s = sample()
    with pytest.raises(AssertionError):
        setattr(s, name, [1])
    delattr(s, name)
    assert name not in s


def test_conversion_moves_all_fields() -> None:
    s = sample().to(torch.float64)
    assert s.pred_score.dtype == torch.float64
    assert s.gt_instances.bboxes.dtype == torch.float64
    assert s.frame == 3
