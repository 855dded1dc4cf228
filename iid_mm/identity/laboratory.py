# SPDX-License-Identifier: Apache-2.0
"""The identity probe on a checkpoint, with the controls without which its metrics mean nothing."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.logging import MMLogger

from iid_mm.apis import init_model
from iid_mm.errors import InputError
from iid_mm.identity.clips import Clips, select_clips
from iid_mm.identity.extraction import FaceTable, extract, face_datasets
from iid_mm.identity.features import PIXELS, FeatureExtractor, chosen_features
from iid_mm.identity.probe import ProbeResult, ProbeSettings, probe
from iid_mm.identity.recognizer import RECOGNIZER, embed, find_recognizer
from iid_mm.utils.config import pipeline_input_size

TRAINED, UNTRAINED, BACKGROUND, SHUFFLED = 'trained', 'untrained', 'background', 'shuffled'
CONTROLS = (UNTRAINED, PIXELS, BACKGROUND, SHUFFLED, RECOGNIZER)

MEANINGS = {
    TRAINED: 'the checkpoint',
    UNTRAINED: 'the same network with random weights: what its form alone passes on',
    PIXELS: 'the input at 16 x 16 pixels, without a network',
    BACKGROUND: 'the checkpoint sees the picture with the face painted gray',
    SHUFFLED: 'the checkpoint; whole clips have random identities',
    RECOGNIZER: 'embedding of a face recognizer: upper bound',
}


@dataclass(frozen=True)
class ProbeRequest:
    """What to probe.

    Attributes:
        indexes: Prepared sets; several with other clips of the same people are clips.
        features: Names; None: all of the network.
        faces: ``genuine``, ``fakes`` or ``both``.
        identity: ``target`` or ``source``: whose identity a fake has.
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
    """One line of the table: what was looked at, the feature, the accuracies."""

    source: str
    feature: str
    result: ProbeResult


@dataclass(frozen=True)
class ProbeReport:
    """Outcome of :func:`run_probes`.

    Attributes:
        rows: One for each source and feature.
        skipped: Reason by control that was left out.
        notes: What a reader must know.
    """

    rows: list[ProbeRow]
    skipped: dict[str, str]
    notes: list[str]

    def find(self, source: str, feature: str) -> ProbeResult | None:
        """The accuracies of a line, None where there is none."""
        for row in self.rows:
            if (row.source, row.feature) == (source, feature):
                return row.result
        return None


def untrained_model(cfg: Config, seed: int, device: str = 'cpu') -> Any:
    """The network of a config with random weights; pretrained ones that it names are left out."""
    cfg = copy.deepcopy(cfg)
    _drop_pretrained(cfg.model)
    state = torch.random.get_rng_state()
    logger = MMLogger.get_current_instance()
    level = logger.level
    torch.manual_seed(seed)
    try:
        model = init_model(cfg, device='cpu')
        # MMEngine would list every parameter.
        logger.setLevel('WARNING')
        model.init_weights()
    finally:
        logger.setLevel(level)
        torch.random.set_rng_state(state)
    return model.to(device).eval()


def _drop_pretrained(node: Any) -> None:
    if isinstance(node, list | tuple):
        for item in node:
            _drop_pretrained(item)
    elif isinstance(node, dict):
        settings = node.get('init_cfg')
        entries = settings if isinstance(settings, list | tuple) else [settings]
        if any(isinstance(entry, dict) and entry.get('type') == 'Pretrained' for entry in entries):
            node['init_cfg'] = None
        for item in node.values():
            _drop_pretrained(item)


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
        request: What to probe.
        store: Folder where features are kept for the next run.
        say: Called with a line on each step.

    Returns:
        The accuracies.

    Raises:
        InputError: An argument is out of range, a name unknown, or the clips do not suffice.
        FileNotFoundError: An index does not exist.
    """
    if unknown := [name for name in request.controls if name not in CONTROLS]:
        raise InputError(f'--controls {" ".join(unknown)}: choose of {", ".join(CONTROLS)}')
    names = chosen_features(request.features, list(list_features(model, cfg)))
    faces = _faces(cfg, model, names + [PIXELS] * (PIXELS not in names), request, store, say)
    clips = select_clips(faces, request.faces, request.identity, split_time=request.split_time)
    say(f'{clips.rows.size} faces, {len(clips.names)} identities, {clips.clip.max() + 1} clips')
    lab = _Laboratory(clips, request.settings, say)
    lab.probe(TRAINED, faces, names)
    if SHUFFLED in request.controls:
        lab.probe(SHUFFLED, faces, names, shuffled=True)
    if PIXELS in request.controls and PIXELS not in names:
        lab.probe(PIXELS, faces, [PIXELS])
    if UNTRAINED in request.controls:
        other = untrained_model(cfg, request.seed, str(next(model.parameters()).device))
        hidden = [name for name in names if name != PIXELS]
        lab.probe(UNTRAINED, _faces(cfg, other, hidden, request, store, say), hidden)
    if BACKGROUND in request.controls:
        hidden = names + [PIXELS] * (PIXELS not in names)
        lab.probe(BACKGROUND, _faces(cfg, model, hidden, request, store, say, hide=True), hidden)
    skipped: dict[str, str] = {}
    if RECOGNIZER in request.controls:
        reason = find_recognizer(request.recognizer_dir)
        if isinstance(reason, str):
            skipped[RECOGNIZER] = reason
        else:
            datasets = _datasets(cfg, request)
            say('recognizer: embedding')
            lab.add(RECOGNIZER, RECOGNIZER, embed(reason, datasets, clips.rows, request.batch_size))
    return ProbeReport(lab.rows, skipped, [*clips.notes, *sorted(lab.notes)])


class _Laboratory:
    """Fits probes on the same clips and collects what they reach."""

    def __init__(self, clips: Clips, settings: ProbeSettings, say: Callable[[str], None]) -> None:
        self.clips, self.settings, self.say = clips, settings, say
        self.rows: list[ProbeRow] = []
        self.notes: set[str] = set()

    def probe(self, source: str, faces: FaceTable, names: Sequence[str], shuffled: bool = False) -> None:
        for name in names:
            self.add(source, name, faces.feature(name)[self.clips.rows], shuffled)

    def add(self, source: str, name: str, values: Any, shuffled: bool = False) -> None:
        clips = self.clips
        found = probe(values, clips.identity, clips.clip, self.settings, shuffled=shuffled)
        self.rows.append(ProbeRow(source, name, found))
        self.notes.update(found.notes)
        self.say(f'{source} {name}: top-1 {found.top1.value:.3f} (chance {found.chance:.3f})')


def _datasets(cfg: Config, request: ProbeRequest, hide: bool = False) -> list[tuple[int, Any]]:
    return face_datasets(
        cfg,
        request.indexes,
        split=request.split,
        frames=request.frames,
        hide_face=hide,
        genuine_only=request.faces == 'genuine',
    )


def _faces(
    cfg: Config,
    model: Any,
    names: Sequence[str],
    request: ProbeRequest,
    store: str | os.PathLike[str],
    say: Callable[[str], None],
    hide: bool = False,
) -> FaceTable:
    datasets = _datasets(cfg, request, hide)
    total = sum(len(dataset) for _, dataset in datasets)
    say(f'features of {total} faces{" without the face" if hide else ""}')
    return extract(model, datasets, names, store, batch_size=request.batch_size)
