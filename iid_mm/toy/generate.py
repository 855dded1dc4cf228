# SPDX-License-Identifier: Apache-2.0
"""Write the toy dataset in the native layout of FaceForensics++."""

from __future__ import annotations

import io
import json
import os
import shutil
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import av
import cv2
import numpy as np
import numpy.typing as npt
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
from iid_mm.utils.files import replacing, write_bytes, write_text
from iid_mm.utils.workers import map_in_processes

if TYPE_CHECKING:
    from iid_mm.utils.typing import ImageArray, PointsArray

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
    _write_json(root / 'toy.json', header)
    for name, pairs in draw_splits(config).items():
        ids = [[f'{a:03d}', f'{b:03d}'] for a, b in pairs]
        _write_json(root / f'{name}.json', ids)
    fakes: dict[int, list[FakePlan]] = defaultdict(list)
    for plan in plan_fakes(config):
        fakes[plan.target].append(plan)
    jobs = [_Job(root, config, i, tuple(fakes[i])) for i in range(config.num_identities)]
    made: Iterator[int] = map(_make_target, jobs)
    if num_workers > 1:
        # There is one process a core; threads of OpenCV would compete with them.
        single = partial(cv2.setNumThreads, 1)
        made = map_in_processes(_make_target, jobs, min(num_workers, len(jobs)), single)
    total = config.num_identities + sum(len(plans) for plans in fakes.values())
    with tqdm(total=total, desc='toy dataset', unit='video', disable=not progress) as bar:
        for done in made:
            bar.update(done)
    return root


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


class _Job(NamedTuple):
    """The genuine video of a person and all fakes made from it."""

    root: Path
    config: ToyConfig
    target: int
    fakes: tuple[FakePlan, ...]


def _make_target(job: _Job) -> int:
    """Write the videos of a job that are not finished; returns how many videos it has."""
    root, config, index, fakes = job
    video = Path('original_sequences/youtube/c23/videos') / f'{index:03d}.mp4'
    rendered: RenderedClip | None = None
    if not _finished(root, video):
        rendered = make_clip(config, genuine_factors(config, index)).render()
        write_landmarks(_landmark_path(root, video), rendered.landmarks)
        write_video(root / video, rendered.frames, config.fps, config.crf)
    for plan in fakes:
        folder = Path('manipulated_sequences') / plan.method
        video = folder / 'c23/videos' / f'{plan.name}.mp4'
        mask = root / folder / 'masks/videos' / f'{plan.name}.mp4'
        if _finished(root, video) and mask.exists():
            continue
        if rendered is None:
            rendered = make_clip(config, genuine_factors(config, index)).render()
        forgery = make_fake(config, plan, rendered)
        write_landmarks(_landmark_path(root, video), forgery.landmarks)
        write_video(mask, forgery.masks, config.fps, MASK_CRF)
        write_video(root / video, forgery.frames, config.fps, config.crf)
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


def write_video(path: Path, frames: ImageArray | npt.NDArray[np.uint8], fps: int, crf: int) -> None:
    """Encode frames with H.264 into an .mp4 file.

    Args:
        path: The file; its folder is made.
        frames: (T, H, W, 3) uint8 BGR or (T, H, W) uint8 gray; H and W even.
        fps: Frames a second.
        crf: Constant rate factor, 0 to 51.
    """
    # Converted here, not inside FFmpeg, so that the input of the encoder is known to the bit.
    code = cv2.COLOR_BGR2YUV_I420
    with replacing(path) as temporary, av.open(os.path.abspath(temporary), 'w', format='mp4') as container:
        video = container.add_stream('libx264', rate=fps)
        video.height, video.width = frames.shape[1:3]
        video.pix_fmt = 'yuv420p'
        # Equal frames must give equal bytes. x264's fast paths break that from one call to the
        # next (they depend on where buffers lie in memory) unless told to be CPU independent.
        video.options = {
            'crf': str(crf), 'preset': 'medium', 'threads': '1', 'x264-params': 'cpu-independent=1'
        }  # fmt: skip
        for frame in frames:
            color = cv2.cvtColor(frame, cv2.COLOR_GRAY2BGR) if frame.ndim == 2 else frame
            encoded = av.VideoFrame.from_ndarray(cv2.cvtColor(color, code), format='yuv420p')
            container.mux(video.encode(encoded))
        container.mux(video.encode())


def write_landmarks(path: Path, landmarks: PointsArray) -> None:
    """Write landmarks (T, K, 2) float32 as .npy."""
    buffer = io.BytesIO()
    np.save(buffer, np.ascontiguousarray(landmarks, np.float32), allow_pickle=False)
    write_bytes(path, buffer.getvalue())


def _write_json(path: Path, content: Any) -> None:
    write_text(path, json.dumps(content, indent=1) + '\n')
