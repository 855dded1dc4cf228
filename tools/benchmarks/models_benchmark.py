# SPDX-License-Identifier: Apache-2.0
"""Measure how fast models predict and train, on synthetic images."""

from __future__ import annotations

import copy
import gc
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from mmengine.config import Config
from mmengine.optim import OptimWrapper, build_optim_wrapper
from mmengine.structures import InstanceData

from iid_mm.apis import init_model
from iid_mm.errors import InputError
from iid_mm.models import IIDDetector
from iid_mm.models.complexity import model_complexity
from iid_mm.structures import ForgeryDataSample
from iid_mm.utils.config import pipeline_input_size
from iid_mm.utils.typing import Size
from turns import SkippedError, Step, take_turns, torch_threads

PREDICT_VARIANTS = ('plain', 'channels_last', 'bfloat16', 'fused_norms', 'compile')
TRAIN_VARIANTS = ('plain', 'channels_last', 'bfloat16', 'fused_optimizer', 'compile')
"""What can be compared; ``plain`` of the first config is the baseline."""


def measure_models(
    configs: Mapping[str, Config],
    *,
    train: bool = False,
    variants: Sequence[str] = ('plain',),
    batch_size: int = 8,
    rounds: int = 5,
    threads: int = 1,
    device: str = 'cpu',
) -> dict[str, Any]:
    """Time models with random weights: the network alone, or whole training steps without data loading.

    A training step is what a run does with a batch: preprocessing, forward pass, losses, backward pass, step
    of the config's optimizer. Half of the images are fake, with the whole canvas and one more box.

    Args:
        configs: Configs by name; the first one in plain form is the baseline.
        train: Training steps in place of predictions.
        variants: Forms of each model: ``plain``, ``channels_last``, ``bfloat16`` (autocast), ``compile``
            (torch.compile), and ``fused_norms`` (batch norms folded into convolutions) or
            ``fused_optimizer`` (PyTorch's fused AdamW).
        batch_size: Images of a step.
        rounds: Rounds that count; in each round all take turns.
        threads: Threads of PyTorch.
        device: Where to compute.

    Returns:
        ``models``: for each config ``parameters`` and ``macs`` (millions, billions), ``input_size``, and
        ``variants`` with the metrics of :func:`take_turns` and on a GPU ``peak_mib``, or ``skipped`` with
        the reason; ``baseline``.

    Raises:
        InputError: If a name or number is not possible.
    """
    known = TRAIN_VARIANTS if train else PREDICT_VARIANTS
    if unknown := sorted(set(variants) - set(known)):
        raise InputError(f'variants: {", ".join(unknown)} unknown; choose from {", ".join(known)}')
    if min(batch_size, rounds, threads) < 1:
        raise InputError(f'batch_size={batch_size}, rounds={rounds}, threads={threads}: must be at least 1')
    if not configs:
        raise InputError('configs: give at least one')
    chosen = [name for name in known if name in variants or name == 'plain']
    make = _training_step if train else _prediction
    on_gpu = torch.device(device).type == 'cuda'
    models: dict[str, Any] = {}
    steps: dict[str, Step] = {}
    with torch_threads(threads):
        for title, config in configs.items():
            size = pipeline_input_size(config)
            total = model_complexity(init_model(config), size)[-1]
            metrics: dict[str, Any] = {name: {} for name in chosen}
            models[title] = {
                'parameters': total.parameters / 1e6,
                'macs': total.macs / 1e9,
                'input_size': list(size),
                'variants': metrics,
            }
            for name in chosen:
                try:
                    steps[f'{title} {name}'] = _prepared(make, config, name, size, batch_size, device)
                except SkippedError as reason:
                    metrics[name] = {'skipped': str(reason)}
        for key, values in take_turns(
            steps, batch_size, rounds, partial(torch.cuda.synchronize, device) if on_gpu else None
        ).items():
            title, _, name = key.rpartition(' ')
            models[title]['variants'][name] = values
        if on_gpu:
            measured = list(steps)
            # Alone: until here all models and the states of their optimizers stay on the GPU.
            steps.clear()
            for key in measured:
                title, _, name = key.rpartition(' ')
                gc.collect()
                torch.cuda.empty_cache()
                torch.cuda.reset_peak_memory_stats(device)
                config = configs[title]
                _prepared(make, config, name, pipeline_input_size(config), batch_size, device)()
                peak = torch.cuda.max_memory_allocated(device)
                models[title]['variants'][name]['peak_mib'] = peak / 2**20
    return {'baseline': f'{next(iter(configs))}, plain', 'models': models}


def _prepared(
    make: Callable[[Config, str, Size, int, str], Step],
    config: Config,
    name: str,
    size: Size,
    batch_size: int,
    device: str,
) -> Step:
    """Build a step and run it once."""
    from torch._dynamo.exc import TorchDynamoException

    step = make(config, name, size, batch_size, device)
    try:
        step()
    except TorchDynamoException as error:
        # No compiler, missing headers, or code that cannot be traced.
        raise SkippedError(f'torch.compile: {str(error).strip().splitlines()[0]}') from error
    return step


def _model(config: Config, name: str, device: str) -> IIDDetector:
    channels_last = True if name == 'channels_last' else bool(config.model.get('channels_last', False))
    return init_model(config, device=device, cfg_options={'model.channels_last': channels_last})


def _prediction(config: Config, name: str, size: Size, batch_size: int, device: str) -> Step:
    model = _model(config, name, device)
    images = torch.randint(0, 256, (batch_size, 3, size[1], size[0]), device=device).float()
    if name == 'fused_norms':
        from mmcv.cnn.utils.fuse_conv_bn import fuse_conv_bn

        model = fuse_conv_bn(model)
    run: Any = torch.compile(model) if name == 'compile' else model

    def step() -> None:
        with (
            torch.inference_mode(),
            torch.autocast(images.device.type, torch.bfloat16, enabled=name == 'bfloat16'),
        ):
            run(images)

    return step


def made_up_batch(size: Size, batch_size: int) -> dict[str, Any]:
    """A batch as the data loader gives it; every other image is fake.

    Args:
        size: Width and height in pixels.
        batch_size: Number of images.
    """
    width, height = size
    samples = []
    for number in range(batch_size):
        shape = (height, width)
        sample = ForgeryDataSample(metainfo=dict(img_shape=shape, ori_shape=shape, pad_shape=shape))
        boxes = [[0, 0, width, height], [0.2 * width, 0.2 * height, 0.55 * width, 0.7 * height]]
        boxes = boxes if number % 2 else []
        sample.gt_label = torch.tensor([number % 2])
        sample.gt_instances = InstanceData(
            bboxes=torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
            labels=torch.zeros(len(boxes), dtype=torch.int64),
        )
        samples.append(sample)
    images = torch.randint(0, 256, (batch_size, 3, height, width), dtype=torch.uint8)
    return dict(inputs=list(images), data_samples=samples)


def _training_step(config: Config, name: str, size: Size, batch_size: int, device: str) -> Step:
    model = _model(config, name, device)
    model.train()
    wrapper = training_wrapper(model, config, name)
    batch = made_up_batch(size, batch_size)
    if name == 'compile':
        model.backbone.compile()
        if model.neck is not None:
            model.neck.compile()

    def step() -> None:
        model.train_step(copy.deepcopy(batch), wrapper)

    return step


def training_wrapper(model: IIDDetector, config: Config, name: str = 'plain') -> OptimWrapper:
    """The optimizer of a config in one of the forms of :data:`TRAIN_VARIANTS`.

    Args:
        model: The model to train.
        config: Its config.
        name: The form.
    """
    settings = copy.deepcopy(config.optim_wrapper)
    if name == 'bfloat16':
        settings.type = 'BFloat16OptimWrapper'
    if name == 'fused_optimizer':
        if settings.optimizer.type not in ('AdamW', 'Adam', 'SGD'):
            raise SkippedError(f'{settings.optimizer.type} has no fused form')
        settings.optimizer.fused = True
    wrapper: OptimWrapper = build_optim_wrapper(model, settings)
    if hasattr(wrapper, 'train_step'):
        raise InputError(
            f'{type(wrapper).__name__} runs its steps itself; measure the config with OptimWrapper'
        )
    return wrapper


def measure_data_share(
    config: Config, *, iterations: int = 20, workers: int = 1, threads: int = 1, device: str = 'cpu'
) -> dict[str, float]:
    """How much of an iteration a training run waits for its data.

    Args:
        config: Config whose training data exist.
        iterations: Iterations that count; the first ones, in which workers start, do not.
        workers: Worker processes that load data.
        threads: Threads of PyTorch in this process.
        device: Where to compute.

    Returns:
        ``data_ms`` and ``iteration_ms`` (means, waiting included), ``data_share``, ``images_per_second``.

    Raises:
        InputError: If a number is not possible or the data do not fill a batch.
    """
    from iid_mm.engine import SafeRunner

    if min(iterations, threads) < 1 or workers < 0:
        raise InputError(f'iterations={iterations}, threads={threads}, workers={workers}: too small')
    settings = copy.deepcopy(config.train_dataloader)
    settings.num_workers = workers
    settings.persistent_workers = workers > 0
    loader = SafeRunner.build_dataloader(settings, seed=0)
    if not len(loader):
        raise InputError(f'the data do not fill a batch of {settings.batch_size}; lower --batch-size')
    # In one pass: a new one begins with empty queues, which on a set of usual size is rare.
    batches_needed = iterations + 3 + 2 * max(workers, 1)
    settings.dataset = dict(
        type='RepeatDataset', dataset=settings.dataset, times=-(-batches_needed // len(loader)) + 1
    )
    if settings.sampler.get('size'):
        settings.sampler.size = batches_needed * settings.batch_size
    loader = SafeRunner.build_dataloader(settings, seed=0)
    model = _model(config, 'plain', device)
    model.train()
    wrapper = training_wrapper(model, config)
    waits, wholes, images = [], [], 0
    batches = iter(loader)
    with torch_threads(threads):
        for number in range(-3, iterations):
            started = time.perf_counter()
            batch = next(batches)
            waited = time.perf_counter() - started
            model.train_step(batch, wrapper)
            if torch.device(device).type == 'cuda':
                torch.cuda.synchronize(device)
            if number >= 0:
                waits.append(waited)
                wholes.append(time.perf_counter() - started)
                images += len(batch['inputs'])
    return {
        'data_ms': 1e3 * sum(waits) / iterations,
        'iteration_ms': 1e3 * sum(wholes) / iterations,
        'data_share': sum(waits) / sum(wholes),
        'images_per_second': images / sum(wholes),
    }
