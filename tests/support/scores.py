# SPDX-License-Identifier: Apache-2.0
"""Scores of frames, record by record."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from iid_mm.evaluation.scores import FrameScores


class FrameScore(NamedTuple):
    """Score of one face."""

    video_key: str
    frame: int
    image: str
    dataset: str
    method: str
    label: int
    score: float
    target_id: str | None = None
    split: str | None = None


def frame_scores(records: Sequence[FrameScore]) -> FrameScores:
    """Scores of these faces."""
    return FrameScores.from_columns(
        {name: [row[place] for row in records] for place, name in enumerate(FrameScore._fields)}
    )
