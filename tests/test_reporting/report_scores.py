# SPDX-License-Identifier: Apache-2.0
"""Scores of a small test set and their metrics, for the tests of the report."""

from __future__ import annotations

from typing import Any

import numpy as np

from iid_mm.evaluation.scores import FrameScore, FrameScores
from iid_mm.reporting.metrics_table import Row, ScoredVideos, report_rows
from iid_mm.reporting.options import ReportOptions

METHODS = ('Deepfakes', 'Face2Face', 'FaceSwap', 'NeuralTextures')
FAST = ReportOptions(resamples=100, threshold=0.5)


def scores(videos: int = 4, frames: int = 3, seed: int = 0, dataset: str = 'ffpp') -> FrameScores:
    """Genuine videos ``000`` ... and, under each of four methods, fakes ``000_003`` ..."""
    generator = np.random.default_rng(seed)
    records = []
    for method in ('youtube', *METHODS):
        fake = int(method != 'youtube')
        for video in range(videos):
            name = f'{video:03d}_{video + 3:03d}' if fake else f'{video:03d}'
            for frame in range(frames):
                records.append(
                    FrameScore(
                        video_key=f'{dataset}/{method}/c23/{name}',
                        frame=frame,
                        image=f'{method}/{name}/{frame}.png',
                        dataset=dataset,
                        method=method,
                        label=fake,
                        score=float(1 / (1 + np.exp(-generator.normal(fake)))),
                        target_id=f'{video:03d}',
                    )
                )
    return FrameScores.from_records(records)


def facts(**more: Any) -> dict[str, Any]:
    return {
        'videos': [],
        'unscored': [],
        'without_face': [],
        'without_face_any_split': 0,
        'listed_but_absent': 0,
        'left_out': {},
        'compressions': ['c23'],
    } | more


def rows_of(frames: FrameScores, options: ReportOptions = FAST, **more: Any) -> dict[str | None, Row]:
    scored = ScoredVideos.of('ffpp', frames, options)
    rows = report_rows([scored], {'ffpp': facts(**more)}, options.threshold or 0.5, options)
    return {row.manipulation: row for row in rows}
