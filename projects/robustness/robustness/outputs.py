# SPDX-License-Identifier: Apache-2.0
"""What a finished robustness test leaves in its folder."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.config import Config

from iid_mm.datasets.functional.h264 import HOLD
from iid_mm.datasets.transforms.distort import VIDEO
from iid_mm.evaluation.eval_sets import EvalSet
from iid_mm.evaluation.scores import FrameScores, read_scores
from iid_mm.reporting.provenance import command_line, config_text, text_sha256
from iid_mm.reporting.scoring import write_json
from iid_mm.utils.files import write_text
from robustness.cells import Cell, CellStore, versions
from robustness.datasets import VideoForgeryDataset
from robustness.pictures import plot_curves, write_sheet
from robustness.report import as_data, as_markdown, format_summary, summaries


@dataclass(frozen=True)
class ReportChoices:
    """How scores become metrics; see :func:`~robustness.report.summaries`."""

    aggregation: str = 'mean'
    identities: bool = False
    per_method: bool = False


def write_report(
    folder: Path,
    store: CellStore,
    test_set: EvalSet,
    cells: Sequence[Cell],
    cfg: Config,
    choices: ReportChoices,
    faces: VideoForgeryDataset,
) -> str:
    """Write ``report.json``, ``report.md``, ``curves.png`` and ``distortions.png``.

    Args:
        folder: Where to.
        store: Scores of all cells.
        test_set: The clean set.
        cells: The cells of the table.
        cfg: Config of the run.
        choices: How scores become metrics.
        faces: The clean samples, see :func:`plain_dataset`.

    Returns:
        The table as text.
    """
    scores = {cell: read_scores(store.scores_file(cell)) for cell in cells}
    found = summaries(
        scores, how=choices.aggregation, identities=choices.identities, per_method=choices.per_method
    )
    protocol = _protocol(store, test_set, scores[Cell()], cfg, choices, faces)
    seconds = {cell.name: float((store.record(cell) or {}).get('seconds', 0)) for cell in cells}
    folder.mkdir(parents=True, exist_ok=True)
    write_json(as_data(found, protocol, seconds), folder / 'report.json')
    write_text(folder / 'report.md', as_markdown(found, protocol))
    plot_curves(found[0], folder / 'curves.png', title=f'Robustness on {test_set.name}')
    write_sheet(faces, folder / 'distortions.png', found[0].kinds, found[0].levels)
    tables = []
    for summary in found:
        tables.append(f'{summary.name}: video AUC (%) on {test_set.name}\n\n{format_summary(summary)}')
    return '\n\n'.join(tables)


def plain_dataset(test_set: EvalSet, originals: dict[str, Any] | None = None) -> VideoForgeryDataset:
    """Build the clean set without a pipeline.

    Args:
        test_set: The set.
        originals: See :class:`~robustness.datasets.VideoForgeryDataset`.

    Raises:
        FileNotFoundError: Original videos are missing.
        InputError: No sample is left, or ``originals`` do not fit.
    """
    options = {
        key: value for key, value in test_set.dataset.items() if key not in ('type', 'pipeline', 'lazy_init')
    }
    return VideoForgeryDataset(**options, originals=originals)


def _protocol(
    store: CellStore,
    test_set: EvalSet,
    clean: FrameScores,
    cfg: Config,
    choices: ReportChoices,
    faces: VideoForgeryDataset,
) -> dict[str, Any]:
    crops = f'crops of a video in order of time, each held for {HOLD} frames'
    dataset = test_set.dataset
    return {
        'test_set': test_set.name,
        'command': command_line(sys.argv),
        'split': test_set.split,
        'methods': list(dataset.get('methods') or []) or 'all',
        'frames_per_video': dataset.get('frames_per_video') or 'all prepared ones',
        'faces': len(clean),
        'compression': sorted({key.split('/')[2] for key in set(clean.video_key.tolist())}),
        'checkpoint_sha256': store.checkpoint_sha256,
        'config_sha256': text_sha256(config_text(cfg)),
        'index_sha256': store.index_sha256,
        'applied_to': 'stored face crops, before alignment; landmarks are those of the clean frames',
        VIDEO: 'whole original videos, then cropped' if faces.originals else crops,
        'aggregation': choices.aggregation,
        'intervals_over': 'identities' if choices.identities else 'videos',
        'versions': versions(),
    }
