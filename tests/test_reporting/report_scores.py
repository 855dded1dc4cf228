# SPDX-License-Identifier: Apache-2.0
"""Scores of a small test set, their metrics, and a report on them that needs no model."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from iid_mm.evaluation.scores import FrameScores, write_scores
from iid_mm.reporting.document import FORMAT
from iid_mm.reporting.metrics_table import Row, ScoredEvalSet, report_rows
from iid_mm.reporting.options import ReportOptions
from iid_mm.reporting.protocol import text_sha256
from iid_mm.reporting.testing import _write
from iid_mm.utils.files import sha256
from iid_mm.version import __version__
from support.scores import FrameScore, frame_scores

METHODS = ('Deepfakes', 'Face2Face', 'FaceSwap', 'NeuralTextures')
HOSTILE = 'a|b<img src=x onerror=alert(1)>[c](javascript:d)`e`\n\x1b[2J'
"""A name that tries to be a cell, a tag, a link, code and a command to the terminal."""
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
    return frame_scores(records)


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
    scored = ScoredEvalSet.of('ffpp', frames, options)
    rows = report_rows([scored], {'ffpp': facts(**more)}, options.threshold or 0.5, options)
    return {row.manipulation: row for row in rows}


def rescored(frames: FrameScores, values: Any) -> FrameScores:
    """The same frames with other scores."""
    columns = {name: frames.table[name] for name in frames.table.column_names}
    return FrameScores.from_columns({**columns, 'score': values})


def write_folder(folder: Path, options: ReportOptions = FAST) -> None:
    """A report without a model: two sets, and a validation set where a threshold is to be chosen."""
    digest = '0' * 64
    records = []
    for name, seed in (('ffpp', 1), ('dfd', 2), ('validation', 3)):
        path = write_scores(scores(seed=seed), folder / f'frame_scores/{name}.parquet')
        index = dict(file='index.parquet', sha256=digest, preparation=None)
        record = dict(
            name=name,
            split='val' if name == 'validation' else 'test',
            methods=None,
            frames_per_video=None,
            indices=[index],
            coverage=facts(),
            source=dict(checkpoint_sha256=digest, index_sha256=[digest], settings_sha256=digest),
            scores=dict(file=f'frame_scores/{name}.parquet', sha256=sha256(path)),
            localization_scores=None,
        )
        records.append(record)
    *records, validation = records
    (folder / 'config.py').write_text('model = dict()\n')
    card = dict(
        checkpoint=dict(file='best.pth', sha256=digest, epoch=3, iteration=9, selection=None),
        config=dict(file='x.py', text='config.py', sha256=text_sha256('model = dict()\n'), options={}),
        alignment=dict(size=[112, 112], scale=0.9),
        training_manipulations=None,
        seed=0,
        device='CPU',
        libraries={'iid-mm': __version__},
        git=None,
    )
    report = dict(
        format=FORMAT,
        run=dict(date='2026-01-01', command='tools/test.py'),
        protocol=card,
        options=asdict(options),
        no_validation_because=None,
        test_sets=records,
        validation=validation if options.threshold is None else None,
    )
    _write(report, folder)
