# SPDX-License-Identifier: Apache-2.0
"""Scores of cells, for tests."""

from __future__ import annotations

from typing import Any

from iid_mm.evaluation.scores import FrameScores
from robustness.grid import Cell
from support.scores import FrameScore, frame_scores


def frames(shift: float = 0, *, drop: int = 0, dataset: str = 'ffpp', ids: bool = True) -> list[FrameScore]:
    """4 genuine videos and 2 fakes of each of two methods, 2 frames each; FaceSwap suffers by ``shift``."""
    rows = []
    for number in range(4):
        values = {'youtube': 0.1 * number, 'Deepfakes': 0.9, 'FaceSwap': 0.8 - shift}
        for method, value in values.items():
            if method != 'youtube' and number > 1:
                continue
            for frame in range(2):
                rows.append(
                    FrameScore(
                        video_key=f'{dataset}/{method}/c23/{number}',
                        frame=frame,
                        image=f'{method}{number}{frame}.png',
                        dataset=dataset,
                        method=method,
                        label=int(method != 'youtube'),
                        # The mean of both frames is the value.
                        score=value + (0.05 if frame else -0.05),
                        target_id=str(number) if ids else None,
                        split='test',
                    )
                )
    return rows[drop:]


def scored(**options: Any) -> FrameScores:
    return frame_scores(frames(**options))


def cell_scores() -> dict[Cell, FrameScores]:
    """Scores of the clean set and of two levels."""
    return {Cell(): scored(), Cell('jpeg', 2): scored(shift=0.55), Cell('jpeg', 4): scored(shift=0.65)}
