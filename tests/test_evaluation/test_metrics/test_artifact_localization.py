# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.evaluator import Evaluator

from iid_mm.errors import InputError
from iid_mm.evaluation.localization.samples import read_localization
from iid_mm.evaluation.localization.table import localization_rows
from iid_mm.evaluation.metrics import ArtifactLocalization
from iid_mm.registry import METRICS
from support.localization import SIDE, feed, make_sample, make_samples


def test_a_perfect_prediction() -> None:
    samples = make_samples()
    evaluator = Evaluator(METRICS.build({'type': 'ArtifactLocalization', 'num_resamples': 50}))
    for sample in samples:
        evaluator.process([sample])
    metrics = evaluator.evaluate(len(samples))
    share = 14 * 28 / SIDE**2
    for name in ('box_ap50', 'box_ap', 'box_ap_local', 'pointing', 'energy', 'iou_half', 'iou_best'):
        assert metrics[f'localization/{name}'] == 1.0
    for name in ('pointing', 'energy', 'iou_half'):
        # The genuine faces' maps are flat.
        assert metrics[f'localization/chance_{name}'] == share
        assert metrics[f'localization/genuine_{name}'] == pytest.approx(share)
        assert metrics[f'localization/gain_{name}'] == pytest.approx(1 - share)
    # The middle of the canvas is just below the mask: half of the four middle pixels lie in it.
    assert metrics['localization/center_pointing'] == 0.5
    assert metrics['localization/chance_box_ap50'] == 0.0
    assert metrics['localization/num_scored'] == 30
    assert metrics['localization/num_paired'] == 30
    assert metrics['localization/num_genuine'] == 15
    assert metrics['localization/energy/FaceSwap'] == 1.0


def test_missing_and_empty_masks_are_counted() -> None:
    samples = [make_sample('FaceSwap', 0, frame) for frame in range(4)]
    del samples[1].gt_artifact_mask
    samples[2].gt_artifact_mask = torch.zeros(SIDE, SIDE, dtype=torch.uint8)
    metric = ArtifactLocalization(num_resamples=0)
    feed(metric, samples)
    metrics = metric.evaluate(4)
    assert metrics['localization/num_scored'] == 2
    assert metrics['localization/num_without_mask'] == metrics['localization/num_empty_masks'] == 1
    assert metrics['localization/box_ap50'] == 1.0
    assert metric.rows[-1].name == 'overall'


def test_without_maps_and_without_boxes() -> None:
    samples = make_samples()
    for sample in samples:
        del sample.pred_heat
    samples[-1].pred_instances = samples[-1].pred_instances[:0]
    metric = ArtifactLocalization(num_resamples=5, print_table=False)
    feed(metric, samples)
    metrics = metric.evaluate(len(samples))
    assert metrics['localization/box_ap50'] == pytest.approx(29 / 30)
    assert 'localization/pointing' not in metrics


def test_the_file_gives_the_same_metrics(tmp_path: Path) -> None:
    samples = make_samples(seed=1)
    metric = ArtifactLocalization(samples_file=tmp_path / 's.parquet', image_root='/data', print_table=False)
    feed(metric, samples)
    metric.evaluate(len(samples))
    stored = read_localization(tmp_path / 's.parquet')
    assert stored[0].image == 'ffpp/Deepfakes/c23/000/0.png'
    assert localization_rows(stored) == metric.rows


def test_memory_of_a_frame() -> None:
    metric = ArtifactLocalization()
    feed(metric, make_samples(seed=1))
    sizes = [
        sum(v.nbytes if isinstance(v, np.ndarray) else sys.getsizeof(v) for v in result[6:])
        for result in metric.results
    ]
    assert max(sizes) < 2500


def test_bad_input_is_refused() -> None:
    for options in (dict(num_resamples=-1), dict(seed=-1)):
        with pytest.raises(InputError, match=next(iter(options))):
            ArtifactLocalization(**options)
    metric = ArtifactLocalization(print_table=False)
    sample = make_sample('FaceSwap', 0, 0).to_dict()
    for key in ('video_key', 'pred_score', 'pred_instances'):
        with pytest.raises(InputError, match=f'no {key}'):
            metric.process(None, [{k: v for k, v in sample.items() if k != key}])
    with pytest.raises(InputError, match=r'heat map of shape \(4, 4\)'):
        metric.process(None, [sample | {'pred_heat': torch.ones(4, 4)}])
    feed(metric, [make_sample('youtube', 0, 0)])
    with pytest.raises(InputError, match='of 0 fake frames 0 have no mask'):
        metric.evaluate(1)
    assert metric.results == []
