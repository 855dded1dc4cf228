# SPDX-License-Identifier: Apache-2.0
"""Sub-commands of the benchmark: what they report; no metric is compared with another machine's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import benchmark_commands
from iid_mm.errors import InputError
from iid_mm.faces.analyzers.base import Face, FaceAnalyzer
from iid_mm.utils.config import load_config
from models_benchmark import made_up_batch, measure_models
from support.media import make_frames, write_video
from turns import take_turns


@pytest.fixture
def benchmark(call_tool: Any, tmp_path: Path) -> Any:
    def run(*arguments: Any) -> tuple[int, Any]:
        out = tmp_path / 'metrics.json'
        status, message = call_tool('benchmarks/benchmark.py', *arguments, '--out', out)
        return status, json.loads(out.read_text()) if status == 0 else message

    return run


def test_turns_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr('turns.time.perf_counter', lambda: now[0])
    monkeypatch.setattr('turns.time.process_time', lambda: 2 * now[0])
    order = []

    def step(name: str, seconds: float) -> Any:
        def run() -> None:
            order.append(name)
            now[0] += seconds

        return run

    found = take_turns({'slow': step('slow', 0.5), 'fast': step('fast', 0.125)}, items=4, rounds=2)
    assert order == ['slow', 'fast'] * 3
    assert found['slow'] == dict(per_second=8.0, ratio=1.0, cpu_ms=250.0, cpu_ratio=1.0)
    assert found['fast'] == dict(per_second=32.0, ratio=4.0, cpu_ms=62.5, cpu_ratio=4.0)


def test_model(benchmark: Any, tiny_config: Path) -> None:
    variants = ('plain', 'channels_last', 'bfloat16', 'fused_norms')
    options = ('--rounds', 1, '--batch-size', 2, '--variants', *variants)
    status, metrics = benchmark('model', tiny_config, *options)
    assert status == 0
    assert metrics['baseline'] == 'tiny, plain'
    assert {'processor', 'cores', 'gpu', 'bfloat16', 'torch'} <= set(metrics['machine'])
    model = metrics['models']['tiny']
    assert model['input_size'] == [112, 112]
    assert model['parameters'] == pytest.approx(0.0905, rel=0.5)
    assert tuple(model['variants']) == variants
    assert model['variants']['plain']['ratio'] == 1
    assert all(values['per_second'] > 0 for values in model['variants'].values())


def test_train_and_the_wait_for_data(benchmark: Any, tiny_config: Path, tiny_prepared: Path) -> None:
    index = ('--index', tiny_prepared / 'index.parquet', '--iterations', 2)
    variants = ('--variants', 'plain', 'fused_optimizer')
    status, metrics = benchmark(
        'train', tiny_config, '--rounds', 1, '--batch-size', 4, *variants, '--data', 0, *index
    )
    assert status == 0
    assert set(metrics['models']['tiny']['variants']) == {'plain', 'fused_optimizer'}
    assert metrics['data']['workers'] == 0
    assert 0 < metrics['data']['data_ms'] < metrics['data']['iteration_ms']
    share = metrics['data']['data_ms'] / metrics['data']['iteration_ms']
    assert metrics['data']['data_share'] == pytest.approx(share)


def test_made_up_batches_are_half_fake() -> None:
    batch = made_up_batch((64, 48), 3)
    assert [tuple(image.shape) for image in batch['inputs']] == [(3, 48, 64)] * 3
    assert [sample.gt_label.item() for sample in batch['data_samples']] == [0, 1, 0]
    boxes = [sample.gt_instances.bboxes.tolist() for sample in batch['data_samples']]
    assert boxes[::2] == [[], []]
    torch.testing.assert_close(
        batch['data_samples'][1].gt_instances.bboxes,
        torch.tensor([[0, 0, 64, 48], [12.8, 9.6, 35.2, 33.6]]),
    )


class Square(FaceAnalyzer):
    """Finds a face in the middle of every image."""

    def analyze(self, image: Any, hint_box: Any = None, *, where: Any = None) -> list[Face]:
        height, width = image.shape[:2]
        turn = np.linspace(0, 2 * np.pi, 68, endpoint=False)
        points = np.stack([width * (0.5 + 0.2 * np.cos(turn)), height * (0.5 + 0.25 * np.sin(turn))], axis=1)
        points[36:48] -= (0, 0.1 * height)
        points[36:42] -= (0.1 * width, 0)
        points[42:48] += (0.1 * width, 0)
        box = np.array([0.3 * width, 0.25 * height, 0.7 * width, 0.75 * height], np.float32)
        return [Face(box, 0.9, points.astype(np.float32))]


def test_infer(benchmark: Any, tiny_config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark_commands, 'check_analyzer', lambda options: '')
    monkeypatch.setattr(benchmark_commands, 'build_analyzer', lambda options, root: Square())
    media = write_video(tmp_path / 'v.mp4', make_frames(4))
    options = ('--frames', 3, '--rounds', 1, '--batch-sizes', 1, 3, '--media', media)
    status, metrics = benchmark('infer', '--config', tiny_config, *options)
    assert status == 0
    assert (metrics['frames'], metrics['faces'], metrics['baseline']) == (3, 3, 'batches of 1')
    assert metrics['batches']['1']['ratio'] == 1
    assert set(metrics['batches']['3']['steps_ms']) == {'decode', 'find and cut out faces', 'align', 'score'}


def test_prepare(benchmark: Any) -> None:
    status, metrics = benchmark('prepare', '--analyzer', 'precomputed', '--frames', 2, '--workers', 0)
    assert status == 0
    # 6 people: 6 genuine videos and 6 fakes of each of 4 manipulations, in pairs.
    assert metrics['frames'] == 60
    assert metrics['runs']['0']['ratio'] == 1
    assert {'decode', 'write'} <= set(metrics['runs']['0']['stages_ms'])


@pytest.mark.parametrize(
    ('arguments', 'text'),
    [
        (('model', '{config}', '{config}'), 'configs: tiny, tiny: name each once'),
        (('model', '{config}', '--rounds', 0), 'rounds=0'),
        (('infer', '--config', '{config}', '--media', '/nowhere.mp4'), '/nowhere.mp4 does not exist'),
        (('prepare', '--root', '/nowhere'), '/nowhere does not exist'),
        (('prepare', '--workers', -1, '--analyzer', 'precomputed', '--frames', 1), 'workers=[-1]'),
    ],
)
def test_bad_input(arguments: tuple[Any, ...], text: str, benchmark: Any, tiny_config: Path) -> None:
    filled = [tiny_config if value == '{config}' else value for value in arguments]
    status, message = benchmark(*filled)
    assert status == 1
    assert text in message


def test_unknown_variant(tiny_config: Path) -> None:
    with pytest.raises(InputError, match='fused_optimizer unknown; choose from plain, channels_last'):
        measure_models({'tiny': load_config(tiny_config)}, variants=['fused_optimizer'])


def test_without_a_compiler_compiled_models_are_skipped(
    tiny_config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torch._dynamo.exc import TorchDynamoException

    def fail(*args: Any, **kwargs: Any) -> Any:
        raise TorchDynamoException('no compiler\nmore')

    monkeypatch.setattr(torch, 'compile', lambda model: fail)
    found = measure_models({'tiny': load_config(tiny_config)}, variants=['compile'], batch_size=1, rounds=1)
    assert found['models']['tiny']['variants']['compile'] == {'skipped': 'torch.compile: no compiler'}
