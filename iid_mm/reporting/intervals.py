# SPDX-License-Identifier: Apache-2.0
"""Intervals of the metrics of videos."""

from __future__ import annotations

import math

import numpy.typing as npt

from iid_mm.evaluation.functional.inputs import Labels, Scores
from iid_mm.evaluation.statistics.bootstrap import bootstrap_metrics
from iid_mm.reporting.options import ReportOptions

METRICS = {'auc': 'video_auc', 'eer': 'video_eer', 'ap': 'video_ap'}
"""Metrics that get an interval: what the bootstrap and what the report calls them."""

Interval = dict[str, float | str | None]


def video_intervals(
    scores: Scores,
    labels: Labels,
    identities: npt.NDArray[object],  # type: ignore[type-var]
    options: ReportOptions,
    *,
    name: str,
) -> dict[str, Interval]:
    """Bootstrap the metrics of videos.

    Args:
        scores: (V,) scores.
        labels: (V,) 0 = genuine, 1 = fake.
        identities: (V,) whose head each video shows; None within it: unknown, a person of its own.
        options: How often, over what and with which seed is resampled.
        name: What error messages call the set.

    Returns:
        For each of :data:`METRICS`, under its name in the report, ``low``, ``high`` (None: not determined)
        and ``method``, see :class:`~iid_mm.evaluation.statistics.intervals.Interval`.
    """
    found = bootstrap_metrics(
        scores,
        labels,
        tuple(METRICS),
        groups=identities if options.bootstrap_over == 'identities' else None,
        resamples=options.resamples,
        level=options.confidence,
        method=options.interval_method,
        seed=options.seed,
        name=name,
    )
    return {
        ours: {
            'low': _number(found[theirs].low),
            'high': _number(found[theirs].high),
            'method': found[theirs].method,
        }
        for theirs, ours in METRICS.items()
    }


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value
