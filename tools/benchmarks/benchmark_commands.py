# SPDX-License-Identifier: Apache-2.0
"""The sub-commands ``model``, ``train``, ``infer`` and ``prepare`` of ``benchmark.py``."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config

from iid_mm.errors import InputError
from iid_mm.faces.analyzers import AnalyzerOptions, build_analyzer, check_analyzer
from iid_mm.toy import ToyConfig, generate_toy_set
from iid_mm.utils.cli import add_config_options
from iid_mm.utils.config import load_config
from inference_benchmark import measure_inference
from models_benchmark import PREDICT_VARIANTS, TRAIN_VARIANTS, measure_data_share, measure_models
from pipeline_benchmark import write_generated_set
from preparation_benchmark import check_numbers, measure_preparation

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
PAIR = (CONFIGS / 'iid_effb4_ffpp.py', CONFIGS / 'iid_effb4_slim_ffpp.py')

Commands = Any


def add_commands(commands: Commands) -> None:
    """Add the sub-commands to ``commands``, what ``add_subparsers`` returned."""
    _add_models(commands)
    _add_infer(commands)
    _add_prepare(commands)


def _common(parser: argparse.ArgumentParser, rounds: int) -> None:
    parser.add_argument('--rounds', type=int, default=rounds, help=f'measured rounds (default: {rounds})')
    parser.add_argument('--threads', type=int, default=1, help='number of PyTorch threads (default: 1)')
    parser.add_argument('--device', default='cpu', help='cpu, cuda, cuda:1, ... (default: cpu)')
    parser.add_argument('--out', '--json', type=Path, help='JSON file for the metrics')


def _add_models(commands: Commands) -> None:
    for name, variants, text in (
        ('model', PREDICT_VARIANTS, 'inference of the network alone'),
        ('train', TRAIN_VARIANTS, 'training steps without data loading'),
    ):
        parser = commands.add_parser(
            name,
            help=f'speed of models: {text}',
            description=f'Measure the speed of models with random weights on synthetic images: {text}. All '
            'take turns; ratios are relative to the first config in its plain variant.',
        )
        parser.add_argument(
            'configs',
            nargs='*',
            type=Path,
            default=PAIR,
            help='(default: published and slim EfficientNet-b4)',
        )
        parser.add_argument('--batch-size', type=int, default=8, help='batch size (default: 8)')
        parser.add_argument(
            '--variants', nargs='+', default=('plain',), choices=variants, help='default: plain'
        )
        _common(parser, 5)
        if name == 'train':
            parser.add_argument(
                '--data',
                type=int,
                metavar='WORKERS',
                help='also measure how long training with the last config waits for this many workers',
            )
            parser.add_argument('--index', type=Path, help='prepared index for --data; default: generated')
            parser.add_argument('--iterations', type=int, default=20, help='for --data (default: 20)')
        add_config_options(parser)
        parser.set_defaults(run=run_train if name == 'train' else run_model)


def _add_infer(commands: Commands) -> None:
    parser = commands.add_parser(
        'infer',
        help='speed of each step of analyzing a video',
        description='Measure each step from a video file to the scores of its faces, with random weights; '
        'ratios are relative to the first batch size.',
    )
    parser.add_argument('--config', type=Path, default=CONFIGS / 'iid_effb4_slim_ffpp.py')
    parser.add_argument('--media', type=Path, help='video (default: a generated toy video)')
    parser.add_argument('--analyzer', default='mediapipe', help='face analyzer (default: mediapipe)')
    parser.add_argument('--frames', type=int, default=32, help='frames to analyze (default: 32)')
    parser.add_argument('--batch-sizes', type=int, nargs='+', default=[1, 32], help='(default: 1 32)')
    _common(parser, 3)
    add_config_options(parser)
    parser.set_defaults(run=run_infer)


def _add_prepare(commands: Commands) -> None:
    parser = commands.add_parser(
        'prepare',
        help='speed of each step of preparing a dataset',
        description='Measure frames per second from videos to crops, by step and number of worker processes, '
        'including their start; ratios are relative to the first number of workers.',
    )
    parser.add_argument('--root', type=Path, help='dataset (default: a toy dataset of 6 people)')
    parser.add_argument('--layout', default='ffpp', help='layout of the dataset (default: ffpp)')
    parser.add_argument('--analyzer', help="face analyzer (default: the layout's)")
    parser.add_argument('--frames', type=int, default=32, help='frames per video (default: 32)')
    parser.add_argument('--workers', type=int, nargs='+', default=[0, 2], help='(default: 0 2)')
    parser.add_argument('--rounds', type=int, default=3, help='measured rounds (default: 3)')
    parser.add_argument('--out', '--json', type=Path, help='JSON file for the metrics')
    parser.set_defaults(run=run_prepare)


def _configs(args: argparse.Namespace) -> dict[str, Config]:
    names = [path.stem for path in args.configs]
    if len(set(names)) < len(names):
        raise InputError(f'configs: {", ".join(names)}: name each once')
    return {path.stem: load_config(path, args.cfg_options) for path in args.configs}


def _use_device(device: str) -> None:
    """Make a GPU the current one, which is also the one that the machine card names."""
    if torch.device(device).type != 'cuda':
        return
    count = torch.cuda.device_count()
    if (torch.device(device).index or 0) >= count:
        raise InputError(f'--device {device}: {count} GPU(s) found here; choose another, or cpu')
    torch.cuda.set_device(device)


def _settings(args: argparse.Namespace) -> dict[str, Any]:
    return {name: getattr(args, name) for name in ('batch_size', 'rounds', 'threads', 'device')}


def _print_models(metrics: dict[str, Any]) -> None:
    print(f'baseline: {metrics["baseline"]}')
    print(f'{"":34s}{"images/s":>10s}{"ratio":>8s}{"CPU ms":>10s}{"ratio":>8s}')
    for title, model in metrics['models'].items():
        size = 'x'.join(map(str, model['input_size']))
        print(f'{title}: {model["parameters"]:.1f} M parameters, {model["macs"]:.2f} GMACs at {size}')
        for name, values in model['variants'].items():
            if 'skipped' in values:
                print(f'  {name:32s}skipped: {values["skipped"]}')
                continue
            print(f'  {name:32s}{_rates(values)}')


def _rates(values: dict[str, float]) -> str:
    forms = {'per_second': '10.2f', 'ratio': '8.2f', 'cpu_ms': '10.1f', 'cpu_ratio': '8.2f'}
    return ''.join(format(values[key], form) for key, form in forms.items())


def run_model(args: argparse.Namespace) -> dict[str, Any]:
    """Measure predictions."""
    _use_device(args.device)
    metrics = measure_models(_configs(args), variants=args.variants, **_settings(args))
    _print_models(metrics)
    return {**_settings(args), **metrics}


def run_train(args: argparse.Namespace) -> dict[str, Any]:
    """Measure training steps, and with ``--data`` the wait for data."""
    _use_device(args.device)
    configs = _configs(args)
    metrics = measure_models(configs, train=True, variants=args.variants, **_settings(args))
    _print_models(metrics)
    if args.data is not None:
        name, config = list(configs.items())[-1]
        with tempfile.TemporaryDirectory() as folder:
            index = args.index or write_generated_set(Path(folder), people=max(20, args.batch_size))
            loader = config.train_dataloader
            loader.batch_size = args.batch_size
            loader.dataset.ann_file, loader.dataset.data_root = str(index.resolve()), ''
            if args.index is None:
                loader.dataset.methods = loader.dataset.backend_args = None
            options = {'iterations': args.iterations, 'workers': args.data, 'threads': args.threads}
            share = measure_data_share(config, device=args.device, **options)
        print(
            f'{name}, {args.data} worker(s): waits {share["data_ms"]:.1f} of {share["iteration_ms"]:.1f} ms '
            f'an iteration for data ({share["data_share"]:.1%}), {share["images_per_second"]:.1f} images/s'
        )
        metrics['data'] = {'config': name, 'workers': args.data, **share}
    return {**_settings(args), **metrics}


def run_infer(args: argparse.Namespace) -> dict[str, Any]:
    """Measure the analysis of a video."""
    _use_device(args.device)
    config = load_config(args.config, args.cfg_options)
    if args.media is not None and not args.media.is_file():
        raise FileNotFoundError(f'--media {args.media} does not exist')
    chosen = AnalyzerOptions(args.analyzer)
    check_analyzer(chosen)
    with tempfile.TemporaryDirectory() as folder:
        media = args.media or _toy_video(Path(folder), args.frames)
        metrics = measure_inference(
            config,
            media,
            build_analyzer(chosen, Path()),
            batch_sizes=args.batch_sizes,
            frames=args.frames,
            rounds=args.rounds,
            threads=args.threads,
            device=args.device,
        )
    print(f'{metrics["frames"]} frames with {metrics["faces"]} faces; baseline: {metrics["baseline"]}')
    print(f'{"":20s}{"frames/s":>10s}{"ratio":>8s}{"CPU ms":>10s}{"ratio":>8s}')
    for size, values in metrics['batches'].items():
        print(f'batches of {size:9s}{_rates(values)}')
        for step, value in values['steps_ms'].items():
            print(f'  {step:28s}{value:8.2f} ms a frame')
    return {'config': args.config.name, 'media': args.media and args.media.name, **metrics}


def _toy_video(folder: Path, frames: int) -> Path:
    config = ToyConfig(num_identities=6, frames=frames, size=256, methods=('Deepfakes',))
    generate_toy_set(folder, config)
    return min(folder.glob('original_sequences/**/*.mp4'))


def run_prepare(args: argparse.Namespace) -> dict[str, Any]:
    """Measure a preparation."""
    check_numbers(args.workers, args.frames)
    with tempfile.TemporaryDirectory() as folder:
        root = args.root
        if root is None:
            root = Path(folder)
            generate_toy_set(root, ToyConfig(num_identities=6, frames=args.frames, size=256))
        elif not root.is_dir():
            raise FileNotFoundError(f'--root {root} does not exist')
        metrics = measure_preparation(
            root,
            args.layout,
            analyzer=args.analyzer,
            frames=args.frames,
            workers=args.workers,
            rounds=args.rounds,
        )
    print(f'{metrics["frames"]} frames, {metrics["analyzer"]}; baseline: {metrics["baseline"]}')
    print(f'{"workers":10s}{"frames/s":>10s}{"ratio":>8s}{"CPU ms":>10s}  ms a frame in each stage')
    for count, values in metrics['runs'].items():
        stages = ', '.join(f'{stage} {value:.2f}' for stage, value in values['stages_ms'].items())
        rates = f'{values["frames_per_second"]:10.1f}{values["ratio"]:8.2f}{values["cpu_ms"]:10.2f}'
        print(f'{count:10s}{rates}  {stages}')
    return {'root': args.root and args.root.name, 'layout': args.layout, **metrics}
