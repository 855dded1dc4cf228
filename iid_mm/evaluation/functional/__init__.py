# SPDX-License-Identifier: Apache-2.0
"""Figures on plain arrays; nothing here knows a model or a runner."""

from iid_mm.evaluation.functional.aggregate import AGGREGATIONS, VideoScores, video_scores
from iid_mm.evaluation.functional.checks import OneClassError, check_both_classes, check_scores
from iid_mm.evaluation.functional.per_method import (
    Figures,
    Level,
    ScoredSet,
    Subset,
    per_method,
    scored_set,
)
from iid_mm.evaluation.functional.roc import (
    RocCurve,
    accuracy,
    area_under_roc,
    average_precision,
    equal_error_rate,
    roc_curve,
)
from iid_mm.evaluation.functional.table import flat_metrics, format_table

__all__ = [
    'AGGREGATIONS',
    'Figures',
    'Level',
    'OneClassError',
    'RocCurve',
    'ScoredSet',
    'Subset',
    'VideoScores',
    'accuracy',
    'area_under_roc',
    'average_precision',
    'check_both_classes',
    'check_scores',
    'equal_error_rate',
    'flat_metrics',
    'format_table',
    'per_method',
    'roc_curve',
    'scored_set',
    'video_scores',
]
