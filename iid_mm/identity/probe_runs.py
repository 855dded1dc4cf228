# SPDX-License-Identifier: Apache-2.0
"""The identity probe on a checkpoint, with the controls that its metrics are compared with."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.logging import MMLogger

from iid_mm.errors import InputError
from iid_mm.identity.clips import select_clips
from iid_mm.identity.extraction import FaceTable, extract, face_datasets
from iid_mm.identity.features import PIXELS, FeatureExtractor, chosen_features
from iid_mm.identity.probe import ProbeResult, ProbeSettings, probe
from iid_mm.identity.recognizer import RECOGNIZER, embed, find_recognizer
from iid_mm.models.build import init_model
from iid_mm.utils.config import pipeline_input_size

TRAINED, UNTRAINED, BACKGROUND, SHUFFLED = 'trained', 'untrained', 'background', 'shuffled'
CONTROLS = (UNTRAINED, PIXELS, BACKGROUND, SHUFFLED, RECOGNIZER)

MEANINGS = {
    TRAINED: 'the checkpoint',
    UNTRAINED: 'the same network with random weights: the effect of the architecture alone',
    PIXELS: 'the input at 16 x 16 pixels, without a network',
    BACKGROUND: 'the checkpoint on images with the face painted gray',
    SHUFFLED: 'the checkpoint, with random identities of whole clips',
    RECOGNIZER: 'embedding of a face recognizer: upper bound',
}


@dataclass(frozen=True)
class ProbeRequest:
    """Options of :func:`run_probes`.

    Attributes:
        indexes: Prepared sets with different clips of the same people.
        features: Names; None: all of the network.
        faces: ``genuine``, ``fakes`` or ``both``.
        identity: Identity of a fake: that of its ``target`` or its ``source``.
        split: Split of the indices, or ``all``.
        frames: At most this many frames a video; None: all.
        split_time: Split clips in time, see :func:`~iid_mm.identity.clips.select_clips`.
        controls: Names of :data:`CONTROLS`.
        recognizer_dir: Folder of the recognizer's model.
        batch_size: Faces that go through a network at once.
        seed: Seed of the untrained network.
        settings: How the probe is fitted.
    """

    indexes: Sequence[str | os.PathLike[str]]
    features: Sequence[str] | None = None
    faces: str = 'genuine'
    identity: str = 'target'
    split: str = 'all'
    frames: int | None = None
    split_time: bool = False
    controls: Sequence[str] = CONTROLS
    recognizer_dir: Path | None = None
    batch_size: int = 64
    seed: int = 0
    settings: ProbeSettings = field(default_factory=ProbeSettings)


@dataclass(frozen=True)
class ProbeRow:
    """One row of the table."""

    source: str
    feature: str
    result: ProbeResult


@dataclass(frozen=True)
class ProbeReport:
    """Outcome of :func:`run_probes`.

    Attributes:
        rows: One for each source and feature.
        skipped: Reasons by the name of a control that was left out.
        notes: Caveats for readers.
    """

    rows: list[ProbeRow]
    skipped: dict[str, str]
    notes: list[str]


def untrained_model(cfg: Config, seed: int, device: str = 'cpu') -> Any:
    """The network of a config with random weights, without the pretrained weights that the config names."""
    state = torch.random.get_rng_state()
    logger = MMLogger.get_current_instance()
    level = logger.level
    torch.manual_seed(seed)
    try:
        model = init_model(cfg, device='cpu')
        for module in model.modules():
            settings = getattr(module, 'init_cfg', None) or []
            entries = [settings] if isinstance(settings, dict) else settings
            if any(entry.get('type') == 'Pretrained' for entry in entries):
                module.init_cfg = None
        # MMEngine would list every parameter.
        logger.setLevel('WARNING')
        model.init_weights()
    finally:
        logger.setLevel(level)
        torch.random.set_rng_state(state)
    return model.to(device).eval()


def list_features(model: Any, cfg: Config) -> dict[str, int]:
    """Length of every feature by name, for the input size of the test pipeline."""
    return FeatureExtractor(model).shapes(pipeline_input_size(cfg)[::-1])


def run_probes(
    cfg: Config,
    model: Any,
    request: ProbeRequest,
    store: str | os.PathLike[str],
    say: Callable[[str], None] = lambda _: None,
) -> ProbeReport:
    """Extract features and probe them, with controls.

    Args:
        cfg: Config of the model.
        model: The model with the weights of the checkpoint.
        request: The options.
        store: Folder where features are kept for the next run.
        say: Called with a line of progress at each step.

    Returns:
        The accuracies.

    Raises:
        InputError: An argument is out of range, a name unknown, or there are too few clips.
        FileNotFoundError: An index does not exist.
    """
    if unknown := [name for name in request.controls if name not in CONTROLS]:
        raise InputError(f'--controls {" ".join(unknown)}: choose of {", ".join(CONTROLS)}')

    def datasets(hide: bool = False) -> list[tuple[int, Any]]:
        genuine = request.faces == 'genuine'
        options: dict[str, Any] = {'split': request.split, 'frames': request.frames, 'genuine_only': genuine}
        return face_datasets(cfg, request.indexes, hide_face=hide, **options)

    def features(network: Any, names: Sequence[str], hide: bool = False) -> FaceTable:
        found = datasets(hide)
        total = sum(len(dataset) for _, dataset in found)
        say(f'features of {total} faces{" without the face" if hide else ""}')
        return extract(network, found, names, store, batch_size=request.batch_size)

    names = chosen_features(request.features, list(list_features(model, cfg)))
    with_pixels = names + [PIXELS] * (PIXELS not in names)
    of_network = [name for name in names if name != PIXELS]
    faces = features(model, with_pixels)
    clips = select_clips(faces, request.faces, request.identity, split_time=request.split_time)
    say(f'{clips.rows.size} faces, {len(clips.names)} identities, {clips.clip.max() + 1} clips')
    rows: list[ProbeRow] = []

    def add(source: str, name: str, values: Any) -> None:
        shuffled = source == SHUFFLED
        result = probe(values, clips.identity, clips.clip, request.settings, shuffled=shuffled)
        rows.append(ProbeRow(source, name, result))
        say(f'{source} {name}: top-1 {result.top1.value:.3f} (chance {result.chance:.3f})')

    def add_all(source: str, table: FaceTable, chosen: Sequence[str]) -> None:
        for name in chosen:
            add(source, name, table.feature(name)[clips.rows])

    add_all(TRAINED, faces, names)
    if SHUFFLED in request.controls:
        add_all(SHUFFLED, faces, names)
    if PIXELS in request.controls and PIXELS not in names:
        add_all(PIXELS, faces, [PIXELS])
    if UNTRAINED in request.controls:
        other = untrained_model(cfg, request.seed, str(next(model.parameters()).device))
        add_all(UNTRAINED, features(other, of_network), of_network)
    if BACKGROUND in request.controls:
        add_all(BACKGROUND, features(model, with_pixels, hide=True), with_pixels)
    skipped: dict[str, str] = {}
    if RECOGNIZER in request.controls:
        found = find_recognizer(request.recognizer_dir)
        if isinstance(found, str):
            skipped[RECOGNIZER] = found
        else:
            say('recognizer: embedding')
            add(RECOGNIZER, RECOGNIZER, embed(found, datasets(), clips.rows, request.batch_size))
    notes = {note for row in rows for note in row.result.notes}
    return ProbeReport(rows, skipped, [*clips.notes, *sorted(notes)])
