# SPDX-License-Identifier: Apache-2.0
"""Write the toy dataset in the native layout of FaceForensics++."""

from __future__ import annotations

import json
import multiprocessing
import shutil
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from iid_mm.errors import InputError
from iid_mm.toy.clip import Clip, Factors, Forgery, RenderedClip
from iid_mm.toy.config import (
    GENERATOR_VERSION,
    FakePlan,
    ToyConfig,
    draw_splits,
    genuine_factors,
    plan_fakes,
    plan_genuine,
)
from iid_mm.toy.factors import draw_expressions
from iid_mm.toy.identity import Identity
from iid_mm.toy.manipulations import draw_strength, manipulate
from iid_mm.toy.streams import stream
from iid_mm.toy.video import write_json, write_landmarks, write_video

MASK_CRF = 6
"""Masks hold only two values; this keeps them within a few gray levels."""
_OWN = ('original_sequences', 'manipulated_sequences', 'landmarks', 'toy.json',
        'train.json', 'val.json', 'test.json')  # fmt: skip


def generate_toy_set(
    out_dir: str | Path,
    config: ToyConfig | None = None,
    *,
    num_workers: int = 1,
    overwrite: bool = False,
    progress: bool = True,
) -> Path:
    """Generate the dataset; finished videos of an interrupted run are kept.

    Args:
        out_dir: Folder of the dataset.
        config: Its contents; None: the defaults.
        num_workers: Number of processes; the files do not depend on it.
        overwrite: First delete a toy dataset of another configuration in ``out_dir``.
        progress: Show a progress bar.

    Returns:
        The folder.

    Raises:
        InputError: ``num_workers`` is below 1, or ``out_dir`` holds other files.
    """
    config = config or ToyConfig()
    if num_workers < 1:
        raise InputError(f'num_workers is {num_workers}; give at least 1')
    root = Path(out_dir)
    header = _describe(config)
    _claim(root, header, overwrite)
    write_json(root / 'toy.json', header)
    for name, pairs in draw_splits(config).items():
        ids = [[f'{a:03d}', f'{b:03d}'] for a, b in pairs]
        write_json(root / f'{name}.json', ids)
    fakes: dict[int, list[FakePlan]] = defaultdict(list)
    for plan in plan_fakes(config):
        fakes[plan.target].append(plan)
    jobs = [(str(root), config, i, tuple(fakes[i])) for i in range(config.num_identities)]
    total = config.num_identities + sum(len(plans) for plans in fakes.values())
    with tqdm(total=total, desc='toy dataset', unit='video', disable=not progress) as bar:
        for done in _run(jobs, num_workers):
            bar.update(done)
    return root


_Job = tuple[str, ToyConfig, int, tuple[FakePlan, ...]]


def _run(jobs: list[_Job], num_workers: int) -> Iterator[int]:
    """Run the jobs and yield the number of videos of each as it ends."""
    if num_workers == 1:
        for job in jobs:
            yield _make_target(*job)
        return
    # Spawned, not forked: forking after OpenCV or torch started threads can hang.
    context = multiprocessing.get_context('spawn')
    count = min(num_workers, len(jobs))
    # There is one process per core; threads of OpenCV would compete with them.
    with ProcessPoolExecutor(count, context, cv2.setNumThreads, (1,)) as pool:
        for future in as_completed([pool.submit(_make_target, *job) for job in jobs]):
            yield future.result()


def make_clip(config: ToyConfig, factors: Factors) -> Clip:
    """Draw the clip of the given factors."""
    return Clip.draw(config.seed, factors, config.frames, config.size, config.fps)


def make_fake(config: ToyConfig, plan: FakePlan, target: RenderedClip) -> Forgery:
    """Forge one fake of the dataset.

    Args:
        config: The configuration.
        plan: Method, target and source.
        target: The target's genuine clip.

    Returns:
        The forgery before encoding.
    """
    return manipulate(
        plan.method,
        target,
        Identity.draw(config.seed, plan.source),
        expressions=draw_expressions(
            config.seed, genuine_factors(config, plan.source).expression, config.frames, config.fps
        ),
        rng=_manipulation_stream(config, plan),
        strength=config.strength,
    )


def _manipulation_stream(config: ToyConfig, plan: FakePlan) -> np.random.Generator:
    take = (config.take,) if config.take else ()
    return stream(config.seed, 'manipulation', plan.method, plan.target, plan.source, *take)


def _make_target(root: str, config: ToyConfig, index: int, fakes: tuple[FakePlan, ...]) -> int:
    """Write the genuine video of a person and all fakes made from it."""
    video = Path('original_sequences/youtube/c23/videos') / f'{index:03d}.mp4'
    rendered: RenderedClip | None = None
    if not _finished(Path(root), video):
        rendered = make_clip(config, plan_genuine(config)[video.stem]).render()
        write_landmarks(_landmark_path(Path(root), video), rendered.landmarks)
        write_video(Path(root) / video, rendered.frames, config.fps, config.crf)
    for plan in fakes:
        folder = Path('manipulated_sequences') / plan.method
        video = folder / 'c23/videos' / f'{plan.name}.mp4'
        mask = Path(root) / folder / 'masks/videos' / f'{plan.name}.mp4'
        if _finished(Path(root), video) and mask.exists():
            continue
        if rendered is None:
            rendered = make_clip(config, genuine_factors(config, index)).render()
        forgery = make_fake(config, plan, rendered)
        write_landmarks(_landmark_path(Path(root), video), forgery.landmarks)
        write_video(mask, forgery.masks, config.fps, MASK_CRF)
        write_video(Path(root) / video, forgery.frames, config.fps, config.crf)
    return 1 + len(fakes)


def _landmark_path(root: Path, video: Path) -> Path:
    return root / 'landmarks' / video.with_suffix('.npy')


def _finished(root: Path, video: Path) -> bool:
    return (root / video).exists() and _landmark_path(root, video).exists()


def _describe(config: ToyConfig) -> dict[str, Any]:
    """Content of toy.json: the configuration and the factors of every video."""
    split_of = {
        person: name for name, pairs in draw_splits(config).items() for pair in pairs for person in pair
    }
    genuine = {
        name: {'split': split_of[factors.identity], **asdict(factors)}
        for name, factors in plan_genuine(config).items()
    }
    fakes = {
        f'{plan.method}/{plan.name}': {
            'split': split_of[plan.target],
            'method': plan.method,
            'target': plan.target,
            'source': plan.source,
            'strength': round(draw_strength(_manipulation_stream(config, plan), config.strength), 6),
            **asdict(plan_genuine(config)[f'{plan.target:03d}']),
        }
        for plan in plan_fakes(config)
    }
    return {
        'generator': GENERATOR_VERSION,
        'config': config.to_dict(),
        'genuine': genuine,
        'fakes': fakes,
    }


def _claim(root: Path, header: dict[str, Any], overwrite: bool) -> None:
    """Check that the folder is empty or holds this dataset."""
    if root.exists() and not root.is_dir():
        raise InputError(f'{root} is a file; give a folder')
    if not root.exists() or not any(root.iterdir()):
        root.mkdir(parents=True, exist_ok=True)
        return
    marker = root / 'toy.json'
    if not marker.exists():
        raise InputError(f'{root} is not empty and holds no toy dataset (no toy.json); give another folder')
    try:
        found = json.loads(marker.read_text(encoding='utf-8'))
    except ValueError:
        found = None
    if found == header:
        return
    if not overwrite:
        raise InputError(
            f'{root} holds a toy dataset of another configuration ({_difference(found, header)}); '
            f'give another folder or delete that set with --overwrite'
        )
    for name in _OWN:
        path = root / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _difference(found: Any, wanted: dict[str, Any]) -> str:
    """List the settings in which two datasets differ."""
    if not isinstance(found, dict) or not isinstance(found.get('config'), dict):
        return 'its toy.json cannot be read'
    old, new = found['config'], wanted['config']
    changed = [
        f'{key}: {old.get(key)} there, {new.get(key)} wanted' for key in new if old.get(key) != new.get(key)
    ]
    return '; '.join(changed) or 'made by another version of the generator'
