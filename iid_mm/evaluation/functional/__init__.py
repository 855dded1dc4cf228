# SPDX-License-Identifier: Apache-2.0
"""Metrics on plain arrays; nothing here knows a model or a runner."""

from iid_mm.evaluation.functional.aggregate import AGGREGATIONS, VideoScores, video_scores
from iid_mm.evaluation.functional.bootstrap import (
    Difference,
    bootstrap_difference,
    bootstrap_metrics,
)
from iid_mm.evaluation.functional.calibration import (
    ReliabilityCurve,
    expected_calibration_error,
    reliability_curve,
)
from iid_mm.evaluation.functional.checks import OneClassError, check_both_classes, check_scores
from iid_mm.evaluation.functional.coding import Coded, factorize
from iid_mm.evaluation.functional.delong import (
    AucEstimate,
    AucTest,
    delong_auc,
    delong_covariance,
    delong_test,
)
from iid_mm.evaluation.functional.intervals import Interval, holm
from iid_mm.evaluation.functional.per_method import (
    Level,
    Metrics,
    ScoredSet,
    Subset,
    per_method,
    scored_set,
)
from iid_mm.evaluation.functional.roc import (
    OperatingPoint,
    RocCurve,
    accuracy,
    area_under_roc,
    average_precision,
    brier,
    choose_threshold,
    equal_error_rate,
    log_loss,
    operating_point,
    roc_curve,
    tpr_at_fpr,
)
from iid_mm.evaluation.functional.table import flat_metrics, format_table
from iid_mm.evaluation.functional.weighted import set_metrics

__all__ = [
    'AGGREGATIONS',
    'AucEstimate',
    'AucTest',
    'Coded',
    'Difference',
    'Interval',
    'Level',
    'Metrics',
    'OneClassError',
    'OperatingPoint',
    'ReliabilityCurve',
    'RocCurve',
    'ScoredSet',
    'Subset',
    'VideoScores',
    'accuracy',
    'area_under_roc',
    'average_precision',
    'bootstrap_difference',
    'bootstrap_metrics',
    'brier',
    'check_both_classes',
    'check_scores',
    'choose_threshold',
    'delong_auc',
    'delong_covariance',
    'delong_test',
    'equal_error_rate',
    'expected_calibration_error',
    'factorize',
    'flat_metrics',
    'format_table',
    'holm',
    'log_loss',
    'operating_point',
    'per_method',
    'reliability_curve',
    'roc_curve',
    'scored_set',
    'set_metrics',
    'tpr_at_fpr',
    'video_scores',
]
