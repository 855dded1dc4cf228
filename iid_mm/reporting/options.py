# SPDX-License-Identifier: Apache-2.0
"""The choices by which scores become the metrics of a report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from iid_mm.errors import InputError
from iid_mm.evaluation.functional.aggregate import AGGREGATIONS

MAX_RESAMPLES = 100_000
BOOTSTRAP_UNITS = ('videos', 'identities')


@dataclass(frozen=True)
class ReportOptions:
    """How scores become metrics.

    Attributes:
        aggregation: How the scores of frames are aggregated to that of a video.
        top_k: Number of frames of ``aggregation='topk'``.
        missing_as_abstention: Whether videos without a face count as errors in the accuracy.
        threshold: A video score >= this counts as fake. None: chosen on the validation set.
        resamples: Number of resamples of the bootstrap.
        bootstrap_over: Unit of the bootstrap: 'videos', or 'identities', all videos of a person together.
        confidence: Level of the intervals.
        seed: Seed of the bootstrap.
        pooled: Whether a total over different datasets is added.
    """

    aggregation: str = 'mean'
    top_k: int = 3
    missing_as_abstention: bool = False
    threshold: float | None = None
    resamples: int = 1000
    bootstrap_over: str = 'videos'
    confidence: float = 0.95
    seed: int = 0
    pooled: bool = False

    def __post_init__(self) -> None:
        rules = (
            ('aggregation', self.aggregation in AGGREGATIONS, f'choose one of {", ".join(AGGREGATIONS)}'),
            ('top_k', self.top_k >= 1, 'must be at least 1'),
            ('resamples', self.resamples <= MAX_RESAMPLES, f'must be at most {MAX_RESAMPLES}'),
            ('threshold', self.threshold is None or 0 <= self.threshold <= 1, 'must lie in [0, 1]'),
            ('resamples', self.resamples >= 100, 'fewer than 100 give no interval of 95 %'),
            ('bootstrap_over', self.bootstrap_over in BOOTSTRAP_UNITS, f'choose from {BOOTSTRAP_UNITS}'),
            ('confidence', 0 < self.confidence < 1, 'must lie between 0 and 1'),
        )
        for name, good, rule in rules:
            if not good:
                raise InputError(f'{name}={getattr(self, name)!r}: {rule}')

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ReportOptions:
        """Read options from plain data.

        Raises:
            InputError: An option is unknown or has an invalid value.
        """
        try:
            return cls(**values)
        except TypeError as error:
            raise InputError(f'options of the report: {error}') from error
