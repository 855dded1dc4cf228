# SPDX-License-Identifier: Apache-2.0
"""Evaluation: metrics of frames and videos, their statistics, localization, and files of scores."""

from iid_mm.evaluation.functional.inputs import OneClassError
from iid_mm.evaluation.metrics import ForgeryAUC
from iid_mm.evaluation.scores import FrameScores, read_scores, write_scores

__all__ = ['ForgeryAUC', 'FrameScores', 'OneClassError', 'read_scores', 'write_scores']
