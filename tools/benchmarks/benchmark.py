#!/usr/bin/env python
# SPDX-License-Identifier: Apache-2.0
"""Measure the speed of parts of the system."""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import cv2
import torch
from mmengine.registry import init_default_scope

from benchmark_commands import add_commands
from deployment_benchmark import VARIANTS, measure_deployment
from evaluation_benchmark import measure_evaluation
from iid_mm.apis import load_config
from iid_mm.datasets.forgery_dataset import ForgeryDataset
from iid_mm.errors import InputError
from iid_mm.utils.cli import add_config_options, run_tool
from iid_mm.utils.files import write_json
from pipeline_benchmark import measure_pipeline, write_generated_set
from storage_benchmark import all_encoders, load_crops, measure_storage

CONFIG = Path(__file__).resolve().parents[2] / 'configs' / 'iid_effb4_ffpp.py'


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest='command', required=True)
    pipeline = commands.add_parser(
        'pipeline',
        help='cost of a training sample in one process and thread',
        description='Measure the cost of a training sample, from two image files to tensors, in one process '
        'and thread. Genuine and fake samples are measured separately and combined by weight.',
    )
    pipeline.add_argument('--config', type=Path, default=CONFIG, help='default: iid_effb4_ffpp.py')
    pipeline.add_argument('--index', type=Path, help='prepared index; default: generated crops')
    pipeline.add_argument('--split', default='train', help='split of the index (default: train)')
    pipeline.add_argument('--crop', type=int, default=320, help='size of generated crops (default: 320)')
    pipeline.add_argument('--samples', type=int, default=600, help='number of samples (default: 600)')
    pipeline.add_argument('--fakes-per-genuine', type=float, default=4.0, help='(default: 4)')
    pipeline.add_argument('--seed', type=int, default=0)
    pipeline.add_argument('--out', type=Path, help='JSON file for the metrics')
    add_config_options(pipeline)
    pipeline.set_defaults(run=run_pipeline)
    storage = commands.add_parser(
        'storage',
        help='size, speed and loss of image formats for crops',
        description='Measure PNG, WebP and JPEG on crops: bytes, encoding and decoding time, and coding '
        'error, also relative to the manipulation (fake minus genuine crop).',
    )
    source = storage.add_mutually_exclusive_group(required=True)
    source.add_argument('--index', type=Path, help='prepared index; uses its fakes that have a pair')
    source.add_argument('--images', type=Path, help='folder of images instead, without genuine counterparts')
    storage.add_argument('--split', help='split of the index (default: all)')
    storage.add_argument('--max-side', type=int, default=0, help='downscale larger crops (default: no)')
    storage.add_argument('--samples', type=int, default=120, help='number of crops (default: 120)')
    storage.add_argument('--out', type=Path, help='JSON file for the metrics')
    storage.set_defaults(run=run_storage)
    evaluation = commands.add_parser(
        'evaluation',
        help='time and memory for evaluating a large test set',
        description='Measure, on generated scores: reading a scores file, aggregation to video scores, all '
        'metrics, and the bootstrap intervals of every row of the table.',
    )
    evaluation.add_argument('--frames', type=int, default=3_000_000, help='default: 3000000')
    evaluation.add_argument('--videos', type=int, default=100_000, help='default: 100000')
    evaluation.add_argument('--resamples', type=int, default=1000, help='default: 1000')
    evaluation.add_argument('--seed', type=int, default=0)
    evaluation.add_argument('--out', type=Path, help='JSON file for the metrics')
    evaluation.set_defaults(run=run_evaluation)
    add_deployment(commands)
    add_commands(commands)
    return parser.parse_args()


def add_deployment(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    deployment = commands.add_parser(
        'deployment',
        help='speed of a model on the CPU in PyTorch and ONNX Runtime',
        description='Measure the speed of a model with random weights on the CPU: PyTorch, PyTorch with '
        'channels_last, torch.compile, and ONNX Runtime in single precision and int8, taking turns.',
    )
    deployment.add_argument('--config', type=Path, default=CONFIG, help='default: iid_effb4_ffpp.py')
    deployment.add_argument('--batch-size', type=int, default=1, help='batch size (default: 1)')
    deployment.add_argument('--rounds', type=int, default=10, help='batches per variant (default: 10)')
    deployment.add_argument('--threads', type=int, default=1, help='number of threads (default: 1)')
    deployment.add_argument('--variants', nargs='+', default=VARIANTS, choices=VARIANTS, help='default: all')
    deployment.add_argument('--out', '--json', type=Path, help='JSON file for the metrics')
    add_config_options(deployment)
    deployment.set_defaults(run=run_deployment)


def machine_card() -> dict[str, Any]:
    """What the metrics were measured on."""
    processor = platform.processor() or platform.machine()
    cpuinfo = Path('/proc/cpuinfo')
    if cpuinfo.exists():
        names = [line for line in cpuinfo.read_text().splitlines() if line.startswith('model name')]
        processor = names[0].partition(':')[2].strip() if names else processor
    return {
        'processor': processor,
        'cores': os.cpu_count(),
        'bfloat16': _bfloat16_units(),
        'gpu': torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        'load_average': round(os.getloadavg()[0], 2) if hasattr(os, 'getloadavg') else None,
        'system': f'{platform.system()} {platform.machine()}',
        'python': platform.python_version(),
        'torch': torch.__version__,
        'opencv': cv2.__version__,
        'numpy': version('numpy'),
    }


def _bfloat16_units() -> str | None:
    """Instruction set for bfloat16 products; None: none, or unknown."""
    cpuinfo = Path('/proc/cpuinfo')
    flags = cpuinfo.read_text().split() if cpuinfo.exists() else []
    return next((name for name in ('amx_bf16', 'avx512_bf16') if name in flags), None)


def run_pipeline(args: argparse.Namespace) -> dict[str, Any]:
    if args.samples < 2:
        raise InputError(f'--samples {args.samples}: at least 2')
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    config = load_config(args.config, args.cfg_options)
    transforms = config.train_dataloader.dataset.pipeline
    with tempfile.TemporaryDirectory() as folder:
        index = args.index or write_generated_set(Path(folder), args.crop, seed=args.seed)
        dataset = ForgeryDataset(index, split=args.split, pipeline=transforms)
        metrics = measure_pipeline(dataset, args.samples, args.fakes_per_genuine, args.seed)
    metrics = {
        'config': args.config.name,
        'crops': args.index.name if args.index else f'generated, {args.crop} px',
        'samples': args.samples,
        'fakes_per_genuine': args.fakes_per_genuine,
        **metrics,
    }
    for kind in ('genuine', 'fake'):
        print(f'{kind:24s}{"mean":>8s}{"median":>8s}{"p95":>8s}  ms')
        for name, values in metrics[kind].items():
            if name != 'cpu_mean_ms':
                cells = (f'{values[f"{key}_ms"]:8.2f}' for key in ('mean', 'median', 'p95'))
                print(f'  {name:22s}{"".join(cells)}')
    print(
        f'1 genuine : {args.fakes_per_genuine:g} fake: {metrics["mix_mean_ms"]:.2f} ms a sample '
        f'({metrics["mix_cpu_mean_ms"]:.2f} ms of CPU time)'
    )
    loading, weight = next(iter(transforms)).type, args.fakes_per_genuine / (1 + args.fakes_per_genuine)
    parts = [metrics[kind][loading]['mean_ms'] for kind in ('genuine', 'fake')]
    metrics['baseline'] = f'{loading} alone'
    metrics['ratio'] = metrics['mix_mean_ms'] / ((1 - weight) * parts[0] + weight * parts[1])
    print(f'{metrics["ratio"]:.2f} times the cost of the baseline, {metrics["baseline"]}')
    return metrics


def run_storage(args: argparse.Namespace) -> dict[str, Any]:
    if args.max_side < 0:
        raise InputError(f'--max-side {args.max_side}: 0 (as stored) or more')
    cv2.setNumThreads(1)
    crops = load_crops(args.index or args.images, args.samples, split=args.split, max_side=args.max_side)
    formats = measure_storage(crops, all_encoders())
    side = sum(max(crop.image.shape[:2]) for crop in crops) / len(crops)
    print(f'{len(crops)} crops, longest side {side:.0f} px on average')
    heads = ('KiB', 'enc ms', 'dec ms', 'PSNR', 'changed', 'error', 'fine err')
    print(f'{"format":44s}{"".join(f"{head:>9s}" for head in heads)}')
    for name, values in formats.items():
        size = (values['bytes'] or 0) / 1024
        print(
            f'{name:44s}{size:9.1f}{values["encode_ms"]:9.2f}{values["decode_ms"]:9.2f}'
            f'{_cell(values["psnr"], ".1f"):>9s}{_cell(values["changed"], ".1%"):>9s}'
            f'{_cell(values["error_to_trace"], ".2%"):>9s}{_cell(values["high_error_to_trace"], ".2%"):>9s}'
        )
    return {'crops': len(crops), 'mean_longest_side': side, 'formats': formats}


def run_evaluation(args: argparse.Namespace) -> dict[str, Any]:
    metrics = measure_evaluation(args.frames, args.videos, args.resamples, seed=args.seed)
    print(f'{args.frames} frames, {args.videos} videos, {metrics["rows"]} rows, {args.resamples} resamples')
    print(f'{"":24s}{"wall":>9s}{"CPU":>9s}')
    for step, seconds in metrics['seconds'].items():
        print(f'{step:24s}{seconds:9.2f}{metrics["cpu_seconds"][step]:9.2f} s')
    totals = metrics['total_seconds'], metrics['total_cpu_seconds']
    print(f'{"from file to intervals":24s}{totals[0]:9.2f}{totals[1]:9.2f} s')
    print(f'{"peak memory":24s}{metrics["peak_mib"]:9.0f} MiB ({metrics["start_mib"]:.0f} at the start)')
    print(f'{"scores file":24s}{metrics["file_mib"]:9.1f} MiB')
    return metrics


def run_deployment(args: argparse.Namespace) -> dict[str, Any]:
    config = load_config(args.config, args.cfg_options)
    settings = {'batch_size': args.batch_size, 'rounds': args.rounds, 'threads': args.threads}
    metrics = measure_deployment(config, variants=args.variants, **settings)
    width, height = metrics['input_size']
    print(
        f'{args.config.name}: {metrics["parameters"]:.1f} M parameters, {width}x{height} px, batch of '
        f'{args.batch_size}, {args.threads} thread(s)'
    )
    print(f'{"":16s}{"images/s":>10s}{"ratio":>8s}{"CPU ms":>10s}{"ratio":>8s}')
    for name, values in metrics['variants'].items():
        if 'skipped' in values:
            print(f'{name:16s}skipped: {values["skipped"]}')
            continue
        cells = (f'{values["images_per_second"]:10.2f}', f'{values["ratio"]:8.2f}')
        print(f'{name:16s}{"".join(cells)}{values["cpu_ms"]:10.1f}{values["cpu_ratio"]:8.2f}')
    return {'config': args.config.name, **settings, **metrics}


def _cell(value: float | None, form: str) -> str:
    return '-' if value is None else format(value, form)


def main() -> None:
    args = parse_args()
    init_default_scope('iid_mm')
    report = {'command': args.command, 'machine': machine_card(), **args.run(args)}
    print('machine: ' + ', '.join(f'{key} {value}' for key, value in report['machine'].items()))
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        write_json(args.out, report)


if __name__ == '__main__':
    sys.exit(run_tool(main))
