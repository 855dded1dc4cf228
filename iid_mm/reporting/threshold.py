# SPDX-License-Identifier: Apache-2.0
"""The threshold of the decisions, and where it comes from."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from iid_mm.evaluation.eval_sets import VALIDATION
from iid_mm.evaluation.functional.roc import choose_threshold
from iid_mm.evaluation.scores import FrameScores
from iid_mm.reporting.metrics_table import ScoredVideos
from iid_mm.reporting.options import ReportOptions

DEFAULT = 0.5


@dataclass(frozen=True)
class Threshold:
    """A threshold with its origin.

    Attributes:
        value: A video score >= this counts as fake.
        origin: 'validation': chosen on the validation split; 'given': by the user; 'default': neither.
        text: The origin in words.
        validation: What it was chosen on: ``videos``, ``fake_videos``, ``false_positive_rate`` and
            ``false_negative_rate`` there; None: it was not chosen.
    """

    value: float
    origin: str
    text: str
    validation: dict[str, Any] | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            'value': self.value,
            'origin': self.origin,
            'text': self.text,
            'validation': self.validation,
        }


def find_threshold(
    options: ReportOptions,
    validation: FrameScores | None,
    obstacle: str = '',
    tested: Collection[str] = (),
) -> Threshold:
    """Find the threshold.

    Args:
        options: ``threshold`` is taken if it is a number.
        validation: Scores of the validation split; None: there are none.
        obstacle: Why there are none, in words.
        tested: Keys of the test videos, which should not be among those of the validation split; where some
            are, the text says so.

    Returns:
        The threshold.

    Raises:
        InputError: The validation scores cannot be used.
    """
    if options.threshold is not None:
        return Threshold(options.threshold, 'given', 'given by the user before the test')
    if validation is None:
        return Threshold(DEFAULT, 'default', f'0.5, because none could be chosen: {obstacle}')
    videos = ScoredVideos.of(VALIDATION, validation, options).videos
    value = choose_threshold(videos.scores, videos.labels, name='the validation split')
    called, fakes = videos.scores >= value, videos.labels == 1
    return Threshold(
        value,
        'validation',
        'chosen on the validation split of the source data, where false alarms and missed fakes are equally '
        f'frequent; {_shared(set(videos.keys) & set(tested), videos.keys.size)}',
        {
            'videos': int(fakes.size),
            'fake_videos': int(fakes.sum()),
            'false_positive_rate': float((called & ~fakes).sum() / (~fakes).sum()),
            'false_negative_rate': float((~called & fakes).sum() / fakes.sum()),
        },
    )


def _shared(keys: set[str], total: int) -> str:
    """Say whether test videos took part in the choice."""
    if not keys:
        return 'no test video took part'
    return (
        f'{len(keys)} of its {total} videos are test videos, so the decisions are better than they would be '
        'on new videos, and so is every metric if the checkpoint was chosen on this split'
    )
