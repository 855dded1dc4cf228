# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from iid_mm.datasets.forgery_dataset import ForgeryDataset
from iid_mm.datasets.transforms import (
    DegradeFace,
    FlipFace,
    MultiScaleFacialSwap,
    PackForgeryPair,
    collate_pairs,
)
from iid_mm.datasets.transforms.degrade_face import PROBS
from iid_mm.registry import FUNCTIONS

ALL = dict.fromkeys(PROBS, 1.0)


def test_a_fake_and_its_genuine_frame(aligned: dict[str, Any]) -> None:
    sample = {
        **aligned,
        'img_path': 'a.png',
        'source_img_path': 'b.png',
        'method': 'Deepfakes',
        'source_id': '7',
    }
    fake, genuine = PackForgeryPair()(MultiScaleFacialSwap(partial_prob=1)(sample))
    assert fake['data_samples'].gt_label.tolist() == [1]
    assert genuine['data_samples'].gt_label.tolist() == [0]
    assert len(fake['data_samples'].gt_instances) == 2
    assert genuine['data_samples'].gt_instances.bboxes.shape == (0, 4)
    assert genuine['data_samples'].gt_instances.labels.shape == (0,)
    assert np.array_equal(genuine['inputs'].numpy().transpose(1, 2, 0), aligned['source_img'])
    meta = genuine['data_samples'].metainfo
    assert (meta['img_path'], meta['method'], meta['source_id'], meta['swap_kind']) == (
        'b.png',
        None,
        None,
        'genuine',
    )
    assert fake['data_samples'].metainfo['method'] == 'Deepfakes'


def test_a_sample_without_a_pair_stays_alone(aligned: dict[str, Any]) -> None:
    aligned.pop('source_img')
    assert len(PackForgeryPair()(aligned)) == 1
    assert len(PackForgeryPair()({**aligned, 'source_img': None, 'gt_label': 0})) == 1


def test_both_images_are_degraded_and_mirrored_alike(aligned: dict[str, Any]) -> None:
    """Of equal images whatever is done alike leaves equal images."""
    aligned['source_img'] = aligned['img'].copy()
    before = aligned['img'].copy()
    np.random.seed(0)
    result = FlipFace(1)(DegradeFace(ALL, with_source=True)(dict(aligned)))
    assert not np.array_equal(result['img'], before[:, ::-1])
    assert np.array_equal(result['img'], result['source_img'])
    alone = DegradeFace(ALL)(dict(aligned))
    assert np.array_equal(alone['source_img'], before)


def test_the_genuine_image_does_not_change_the_draws(aligned: dict[str, Any]) -> None:
    images = []
    for with_source in (False, True):
        np.random.seed(3)
        images.append(DegradeFace(ALL, with_source=with_source)(dict(aligned))['img'])
    assert np.array_equal(*images)


def test_collate_pairs_keeps_the_order() -> None:
    samples = [{'inputs': torch.full((1,), i), 'data_samples': i} for i in range(5)]
    batch = collate_pairs([samples[:2], samples[2:3], samples[3:]])
    assert [int(x) for x in batch['inputs']] == batch['data_samples'] == [0, 1, 2, 3, 4]
    # MMEngine's runner looks collate functions up by this name.
    assert FUNCTIONS.get('iid_mm.collate_pairs') is collate_pairs


def test_paired_only_keeps_fakes_with_a_genuine_frame(tiny_prepared: Path) -> None:
    index = tiny_prepared / 'index.parquet'
    every = ForgeryDataset(index, split='train')
    paired = ForgeryDataset(index, split='train', paired_only=True)
    wanted = [s['img_path'] for s in every if s['gt_label'] == 1 and s['source_img_path'] is not None]
    assert [s['img_path'] for s in paired] == wanted
    assert 0 < len(wanted) < len(every)
