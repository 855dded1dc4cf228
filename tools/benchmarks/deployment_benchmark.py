# SPDX-License-Identifier: Apache-2.0
"""Measure how fast a model runs on the CPU in PyTorch and in ONNX Runtime."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from torch._dynamo.exc import TorchDynamoException

from iid_mm.deployment.export import export_onnx
from iid_mm.deployment.export_graph import ExportGraph
from iid_mm.deployment.onnx_detector import OnnxDetector
from iid_mm.deployment.onnx_file import import_onnx, read_onnx, write_onnx
from iid_mm.deployment.parity import random_batches
from iid_mm.deployment.precision import to_int8
from iid_mm.errors import InputError
from iid_mm.models import IIDDetector
from iid_mm.models.build import init_model
from iid_mm.utils.config import pipeline_input_size
from turns import SkippedError, Step, take_turns, torch_threads

VARIANTS = ('pytorch', 'channels_last', 'compile', 'onnx_fp32', 'onnx_int8')
"""What can be measured; the first is what the others are compared with."""
Run = Callable[[torch.Tensor], Any]


def measure_deployment(
    config: Config,
    *,
    batch_size: int = 1,
    rounds: int = 10,
    threads: int = 1,
    variants: Sequence[str] = VARIANTS,
) -> dict[str, Any]:
    """Time a model with random weights, from float pixels to logits and all boxes.

    In every round each variant runs one batch, so that other processes on the machine slow all of them
    alike; one round before is not counted.

    Args:
        config: Config of the model.
        batch_size: Images that go through at once.
        rounds: Rounds that count.
        threads: Threads of every variant.
        variants: Which of :data:`VARIANTS`; the first of them always runs.

    Returns:
        ``input_size`` (w, h), ``parameters`` in millions and ``variants``: for each
        ``images_per_second`` (median), ``ratio`` to plain PyTorch (median over the rounds), ``cpu_ms`` an
        image (median; time of all threads, which other processes disturb less), ``cpu_ratio`` likewise and
        ``prepare_seconds`` (building, exporting, compiling), or ``skipped`` with the reason.

    Raises:
        InputError: If a number or a name is not possible, or the model cannot be exported.
        MissingExtraError: If onnx or onnxruntime is needed and not installed.
    """
    if min(batch_size, rounds, threads) < 1:
        raise InputError(f'batch_size={batch_size}, rounds={rounds}, threads={threads}: must be at least 1')
    unknown = set(variants) - set(VARIANTS)
    if unknown:
        raise InputError(f'variants: {", ".join(sorted(unknown))} unknown; choose from {", ".join(VARIANTS)}')
    size = pipeline_input_size(config)
    model = _random_model(config)
    batch = torch.cat(random_batches(size))
    batch = batch.repeat(-(-batch_size // len(batch)), 1, 1, 1)[:batch_size].float()
    chosen = [name for name in VARIANTS if name in variants or name == VARIANTS[0]]
    with tempfile.TemporaryDirectory() as folder, torch_threads(threads), torch.inference_mode():
        metrics: dict[str, dict[str, Any]] = {}
        steps: dict[str, Step] = {}
        builder = _Builder(config, model, Path(folder), threads)
        for name in chosen:
            started = time.perf_counter()
            try:
                step = builder.build(name)
                step(batch)
            except SkippedError as reason:
                metrics[name] = {'skipped': str(reason)}
                continue
            steps[name] = partial(step, batch)
            metrics[name] = {'prepare_seconds': time.perf_counter() - started}
        for name, values in take_turns(steps, batch_size, rounds).items():
            metrics[name] |= {'images_per_second': values.pop('per_second'), **values}
    parameters = sum(parameter.numel() for parameter in model.parameters()) / 1e6
    return {'input_size': list(size), 'parameters': parameters, 'variants': metrics}


class _Builder:
    """Makes each variant a function of a batch (N, 3, H, W)."""

    def __init__(self, config: Config, model: IIDDetector, folder: Path, threads: int) -> None:
        self.config = config
        self.model = model
        self.folder = folder
        self.threads = threads
        self.graph = ExportGraph(model, pipeline_input_size(config)).eval()

    def build(self, name: str) -> Run:
        """Build a variant.

        Raises:
            SkippedError: If it cannot run here.
        """
        builders: dict[str, Callable[[], Run]] = {
            'pytorch': lambda: self.graph,
            'channels_last': self._channels_last,
            'compile': self._compile,
            'onnx_fp32': self._onnx_fp32,
            'onnx_int8': self._onnx_int8,
        }
        return builders[name]()

    def _channels_last(self) -> Run:
        model = _random_model(self.config, channels_last=True)
        model.load_state_dict(self.model.state_dict())
        return ExportGraph(model, self.graph.size).eval()

    def _compile(self) -> Run:
        compilers = [os.environ.get('CXX', ''), 'g++', 'clang++', 'c++']
        if not any(shutil.which(compiler) for compiler in compilers if compiler):
            raise SkippedError('torch.compile needs a C++ compiler, and none is installed')
        compiled = torch.compile(self.graph)

        def step(batch: torch.Tensor) -> Any:
            try:
                return compiled(batch)
            except TorchDynamoException as error:
                # Missing headers or a broken compiler.
                raise SkippedError(f'torch.compile: {str(error).strip().splitlines()[0]}') from error

        return step

    def _onnx_fp32(self) -> Run:
        return self._session(self._exported())

    def _onnx_int8(self) -> Run:
        document, metadata = read_onnx(self._exported())
        images = list(torch.cat(random_batches(self.graph.size)))
        path = self.folder / 'int8.onnx'
        metadata = replace(metadata, precision='int8-static')
        write_onnx(to_int8(document, images), metadata, path)
        return self._session(path)

    def _exported(self) -> Path:
        import_onnx()
        path = self.folder / 'fp32.onnx'
        if not path.exists():
            export_onnx(self.model, path)
        return path

    def _session(self, path: Path) -> Run:
        detector = OnnxDetector(path, providers=['CPUExecutionProvider'], num_threads=self.threads)
        return lambda batch: detector.run(batch.numpy())


def _random_model(config: Config, channels_last: bool | None = None) -> IIDDetector:
    """The model of a config with random weights; ``channels_last=None`` takes what the config says."""
    options = None if channels_last is None else {'model.channels_last': channels_last}
    return init_model(config, cfg_options=options)
