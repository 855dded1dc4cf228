# SPDX-License-Identifier: Apache-2.0
"""The identity probe on a checkpoint and its controls, and their table, JSON and plot."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.logging import MMLogger

from iid_mm.errors import InputError
from iid_mm.identity.clips import select_clips
from iid_mm.identity.extraction import FaceTable, extract, face_datasets
from iid_mm.identity.features import PIXELS, chosen_features, list_features
from iid_mm.identity.probe import ProbeResult, ProbeSettings, probe
from iid_mm.identity.recognizer import RECOGNIZER, embed, find_recognizer
from iid_mm.identity.shift import written
from iid_mm.models.build import init_model
from iid_mm.utils.files import write_json, write_text
from iid_mm.utils.tables import markdown_table
from iid_mm.visualization.plots import INK, MUTED, PALETTE, new_figure, polish, save_figure

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
_COLORS = dict(
    zip((TRAINED, UNTRAINED, PIXELS, BACKGROUND, RECOGNIZER, SHUFFLED), (*PALETTE[:5], MUTED), strict=True)
)


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
    logger = MMLogger.get_current_instance()
    level = logger.level
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = init_model(cfg)
        for module in model.modules():
            settings = getattr(module, 'init_cfg', None) or []
            entries = [settings] if isinstance(settings, dict) else settings
            if any(entry.get('type') == 'Pretrained' for entry in entries):
                module.init_cfg = None
        try:
            # MMEngine would list every parameter.
            logger.setLevel('WARNING')
            model.init_weights()
        finally:
            logger.setLevel(level)
    return model.to(device).eval()


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

    def datasets(**options: bool) -> list[tuple[int, Any]]:
        options |= {'genuine_only': request.faces == 'genuine'}
        return face_datasets(cfg, request.indexes, split=request.split, frames=request.frames, **options)

    def features(network: Any, names: Sequence[str], hide_face: bool = False) -> FaceTable:
        found = datasets(hide_face=hide_face)
        total = sum(len(dataset) for _, dataset in found)
        say(f'features of {total} faces{" without the face" if hide_face else ""}')
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
        add_all(BACKGROUND, features(model, with_pixels, hide_face=True), with_pixels)
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


def probe_table(report: ProbeReport) -> str:
    """Markdown table of the accuracies, with notes below it."""
    accuracies = ('top-1', 'top-5', 'clip top-1', 'over splits', 'selectivity')
    table = [['source', 'feature', *accuracies, 'variance', 'rank']]
    shuffled = {row.feature: row.result.top1.value for row in report.rows if row.source == SHUFFLED}
    for row in report.rows:
        found = row.result
        has_control = row.source == TRAINED and row.feature in shuffled
        metrics = [
            written(found.top1),
            f'{found.top5.value:.3f}',
            f'{found.clip_top1.value:.3f}',
            f'{found.seed_low:.3f}-{found.seed_high:.3f}',
            f'{found.top1.value - shuffled[row.feature]:.3f}' if has_control else '',
            f'{found.variance_share:.3f}',
            f'{found.rank:.1f}',
        ]
        table.append([row.source, row.feature, *metrics])
    first = report.rows[0].result
    lines = [
        *markdown_table(table),
        '',
        f'{first.identities} identities, {first.clips} clips, {first.faces} faces; chance: top-1 '
        f'{first.chance:.3f}, top-5 {first.chance5:.3f}. Accuracies on frames of clips that the probe was '
        'not fitted on, mean over identities; in brackets the bootstrap interval over identities; "over '
        'splits": lowest and highest split. Selectivity: top-1 minus that of shuffled identities. '
        'Variance: share of the variance of clip means that lies between identities. Rank: effective number '
        'of dimensions; a low accuracy of a collapsed feature is no merit.',
        '',
    ]
    used = {row.source for row in report.rows}
    lines += [f'* {source}: {meaning}.' for source, meaning in MEANINGS.items() if source in used]
    lines += [f'* {source}: left out ({reason}).' for source, reason in report.skipped.items()]
    lines += [f'* Note: {note}' for note in report.notes]
    return '\n'.join(lines) + '\n'


def write_report(report: ProbeReport, folder: str | os.PathLike[str], facts: dict[str, Any]) -> list[Path]:
    """Write ``identity_probe.{json,md,png}``.

    Args:
        report: The accuracies.
        folder: The folder; it is made.
        facts: Settings, for the JSON.

    Returns:
        The files.
    """
    folder = Path(folder)
    rows = [{'source': row.source, 'feature': row.feature, **row.result.as_dict()} for row in report.rows]
    content = {**facts, 'notes': report.notes, 'skipped': report.skipped, 'rows': rows}
    json_file, table = folder / 'identity_probe.json', folder / 'identity_probe.md'
    write_json(json_file, content)
    write_text(table, probe_table(report))
    return [json_file, table, plot_probe(report, folder / 'identity_probe.png')]


def plot_probe(report: ProbeReport, path: str | os.PathLike[str]) -> Path:
    """Bars of top-1 accuracy by feature, one color a source, with intervals and the chance line.

    Args:
        report: The accuracies.
        path: File of the plot.

    Returns:
        The path.
    """
    features = list(dict.fromkeys(row.feature for row in report.rows))
    figure = new_figure(max(7.0, 0.2 * len(report.rows) + 2.5), 4.4)
    axes = figure.add_subplot()
    place, middles, seen = 0.0, [], set()
    for name in features:
        begin = place
        for row in (row for row in report.rows if row.feature == name):
            top1 = row.result.top1
            label = None if row.source in seen else row.source
            seen.add(row.source)
            axes.bar(place, top1.value, 0.9, color=_COLORS[row.source], label=label)
            error = np.maximum([[top1.value - top1.low], [top1.high - top1.value]], 0)
            axes.errorbar(place, top1.value, error, color=INK, linewidth=1, capsize=2)
            place += 1
        middles.append((begin + place - 1) / 2)
        place += 0.9
    chance = report.rows[0].result.chance
    axes.axhline(chance, color=INK, linestyle=(0, (4, 2)), linewidth=1.2, label=f'chance {chance:.3f}')
    axes.set_xlim(-1, place - 0.9)
    polish(axes, ylabel='identities recognized (top-1)')
    axes.grid(False, axis='x')
    many = len(features) > 6
    axes.set_xticks(middles, features, rotation=30 if many else 0, ha='right' if many else 'center')
    axes.set_ylim(0, 1.02)
    first = report.rows[0].result
    axes.set_title(
        f'Identity in features: {first.identities} people, clips not seen by the probe',
        color=INK,
        fontsize=11,
    )
    figure.legend(loc='outside lower center', ncols=7, frameon=False, fontsize=9)
    return save_figure(figure, path)
