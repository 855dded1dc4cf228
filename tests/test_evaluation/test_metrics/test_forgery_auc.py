# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.evaluator import Evaluator
from mmengine.logging import MMLogger

from iid_mm.errors import InputError
from iid_mm.evaluation import ForgeryAUC, OneClassError, read_scores
from iid_mm.registry import METRICS
from iid_mm.structures import ForgeryDataSample
from support.localization import feed

METHODS = ('youtube', 'Deepfakes', 'FaceSwap')


def make_samples(videos: int = 3, frames: int = 5, seed: int = 0) -> list[ForgeryDataSample]:
    generator = np.random.default_rng(seed)
    samples = []
    for method in METHODS:
        for video in range(videos):
            for frame in range(frames):
                fake = int(method != 'youtube')
                name = f'ffpp/{method}/c23/{video:03d}'
                probability = float(1 / (1 + np.exp(-generator.normal(fake))))
                sample = ForgeryDataSample(
                    metainfo={
                        'video_key': name,
                        'frame': 7 * frame,
                        'dataset': 'ffpp',
                        'method': method,
                        'img_path': f'{name}/{frame}.png',
                    }
                )
                sample.gt_label = torch.tensor([fake])
                sample.pred_score = torch.tensor([1 - probability, probability])
                samples.append(sample)
    return samples


def expected(samples: list[ForgeryDataSample]) -> dict[str, float]:
    ordered = sorted(samples, key=lambda sample: (sample.video_key, sample.frame))
    metrics = ForgeryAUC.calculate(
        [float(sample.pred_score[1]) for sample in ordered],
        [int(sample.gt_label) for sample in ordered],
        [sample.video_key for sample in ordered],
        [sample.method for sample in ordered],
    )
    return {f'forgery/{name}': value for name, value in metrics.items()}


def test_the_evaluator_gives_all_metrics(tmp_path: Path) -> None:
    samples = make_samples()
    evaluator = Evaluator(METRICS.build({'type': 'ForgeryAUC', 'scores_file': tmp_path / 'scores.parquet'}))
    for sample in samples:
        evaluator.process([sample])
    metrics = evaluator.evaluate(len(samples))
    names = ('frame_auc', 'video_auc', 'frame_ap', 'video_ap', 'frame_eer', 'video_eer')
    assert set(metrics) == {
        f'forgery/{name}'
        for name in (
            *names,
            *('frame_acc', 'video_acc', 'num_videos'),
            *('frame_auc/Deepfakes', 'video_auc/Deepfakes'),
            *('frame_auc/FaceSwap', 'video_auc/FaceSwap'),
        )
    }
    assert metrics == expected(samples)
    assert metrics['forgery/num_videos'] == 9
    stored = read_scores(tmp_path / 'scores.parquet')
    again = ForgeryAUC.calculate(stored.score, stored.label, stored.video_key, stored.method, stored.dataset)
    assert {f'forgery/{name}': value for name, value in again.items()} == metrics


def test_order_and_repeated_samples_change_nothing(caplog: pytest.LogCaptureFixture) -> None:
    samples = make_samples(seed=4)
    shuffled = [samples[i] for i in np.random.default_rng(1).permutation(len(samples))]
    metric = ForgeryAUC(print_table=False)
    feed(metric, shuffled + shuffled[:3], batch=7)
    assert metric.evaluate(len(samples)) == expected(samples)
    assert metric.results == []


def test_columns_are_kept_and_merged() -> None:
    metric = ForgeryAUC(print_table=False)
    samples = make_samples(videos=60, frames=5)
    feed(metric, samples, batch=2)
    # 450 batches: one chunk of 256 and the 194 since.
    assert [len(table) for table in metric.results] == [512, *[2] * 194]
    assert metric.evaluate(900) == expected(samples)
    assert metric.results == []


def test_memory_of_many_frames() -> None:
    """The same three names for every batch, and one short path a frame."""
    batch = [sample.to_dict() for sample in make_samples(videos=1, frames=10)]
    metric = ForgeryAUC()
    for _ in range(256):
        metric.process(None, batch)
    assert len(metric.results) == 1
    assert metric.results[0].nbytes / (256 * len(batch)) < 70


def test_paths_are_relative_and_the_split_is_noted(tmp_path: Path) -> None:
    samples = make_samples()
    for sample in samples:
        sample.set_metainfo(dict(img_path=f'/data/of/someone/{sample.img_path}', target_id='007'))
    metric = ForgeryAUC(
        scores_file=tmp_path / 's.parquet', image_root='/data/of', split='val', print_table=False
    )
    feed(metric, samples)
    metric.evaluate(len(samples))
    stored = read_scores(tmp_path / 's.parquet')
    assert stored.image[0] == 'someone/ffpp/Deepfakes/c23/000/0.png'
    assert set(stored.split) == {'val'}
    assert set(stored.target_id) == {'007'}


def test_half_precision_and_prefix() -> None:
    samples = make_samples()
    for sample in samples:
        sample.pred_score = sample.pred_score.to(torch.bfloat16)
    metric = ForgeryAUC(prefix='celebdf')
    feed(metric, samples)
    assert 'celebdf/video_auc' in metric.evaluate(len(samples))


@pytest.fixture
def log_file(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / 'run.log'
    MMLogger.get_instance('test_forgery_auc', log_file=str(path))
    yield path
    MMLogger._instance_dict.pop('test_forgery_auc')


def test_the_table_and_lost_samples_are_logged(log_file: Path) -> None:
    metric = ForgeryAUC()
    feed(metric, make_samples())
    metric.evaluate(46)
    text = log_file.read_text()
    assert '| Deepfakes |' in text
    assert '45 different faces were scored, the dataset has 46 samples' in text


def test_one_class_is_an_error_with_the_scores_kept(tmp_path: Path) -> None:
    samples = [sample for sample in make_samples() if sample.method == 'FaceSwap']
    metric = ForgeryAUC(scores_file=tmp_path / 'scores.parquet')
    feed(metric, samples)
    with pytest.raises(OneClassError, match=r"set 'ffpp': all 15 frames are fake.*add genuine"):
        metric.evaluate(len(samples))
    assert len(read_scores(tmp_path / 'scores.parquet')) == 15
    assert metric.results == []


def test_bad_input_is_refused() -> None:
    with pytest.raises(InputError, match='is empty'):
        ForgeryAUC().evaluate(0)
    with pytest.raises(InputError, match=r'threshold=1.5 is no probability'):
        ForgeryAUC(threshold=1.5)
    samples = make_samples()
    samples[3].pred_score = torch.tensor([float('nan')] * 2)
    metric = ForgeryAUC()
    feed(metric, samples)
    with pytest.raises(InputError, match='1 of 45 scores are NaN'):
        metric.evaluate(45)
    sample = samples[0].to_dict()
    del sample['video_key'], sample['pred_score']
    with pytest.raises(InputError, match='no pred_score, video_key'):
        metric.process(None, [sample])
