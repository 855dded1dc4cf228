# SPDX-License-Identifier: Apache-2.0
"""Checks that every metric makes of its scores and labels."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from iid_mm.errors import InputError

Scores = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]


class OneClassError(InputError):
    """A metric that compares genuine with fake was asked of a set that holds only one of them."""


def check_scores(
    scores: npt.ArrayLike, labels: npt.ArrayLike, *, name: str = 'the set'
) -> tuple[Scores, Labels]:
    """Check scores and labels and give them their types.

    Args:
        scores: (N,) one score a sample, higher = more likely fake; any finite values.
        labels: (N,) 0 = genuine, 1 = fake.
        name: What the error messages call the set.

    Returns:
        The scores, (N,) float64, and the labels, (N,) int64.

    Raises:
        InputError: N is 0, the lengths differ, a score is NaN or infinite, or a label is neither
            0 nor 1.
    """
    checked = np.asarray(scores, dtype=np.float64)
    raw_labels = np.asarray(labels)
    if checked.ndim != 1 or raw_labels.shape != checked.shape:
        raise InputError(
            f'{name}: scores of shape {checked.shape} and labels of shape {raw_labels.shape}; '
            'give one score and one label for every sample, both of shape (N,)'
        )
    if checked.size == 0:
        raise InputError(
            f'{name} is empty: there are no scores to evaluate; check the index, its split and the data root'
        )
    bad = int(np.count_nonzero(~np.isfinite(checked)))
    if bad:
        raise InputError(
            f'{name}: {bad} of {checked.size} scores are NaN or infinite; look for a diverged '
            'training or an overflow in half precision (evaluate once without --amp)'
        )
    odd = np.unique(raw_labels[(raw_labels != 0) & (raw_labels != 1)])
    if odd.size:
        raise InputError(f'{name}: labels {odd[:5].tolist()} are unknown; use 0 for genuine and 1 for fake')
    return checked, raw_labels.astype(np.int64)


def check_both_classes(labels: Labels, *, name: str = 'the set', unit: str = 'samples') -> None:
    """Refuse a set of one class, for which AUC, EER and AP are not defined.

    Args:
        labels: (N,) 0 = genuine, 1 = fake; N >= 1.
        name: What the message calls the set.
        unit: What the message calls its members.

    Raises:
        OneClassError: All labels are equal.
    """
    fakes = int(np.count_nonzero(labels))
    if 0 < fakes < labels.size:
        return
    present, absent = ('fake', 'genuine') if fakes else ('genuine', 'fake')
    raise OneClassError(
        f'{name}: all {labels.size} {unit} are {present}, so AUC, EER and AP are not defined; add '
        f'{absent} {unit} to the set (check the split and the manipulations that its index selects)'
    )


def check_probabilities(scores: Scores, *, name: str = 'the set', metric: str) -> None:
    """Refuse scores that are no probabilities for metrics that need some.

    Args:
        scores: (N,) finite scores.
        name: What the message calls the set.
        metric: What the message calls the metric.

    Raises:
        InputError: A score lies outside [0, 1].
    """
    outside = (scores < 0) | (scores > 1)
    if outside.any():
        raise InputError(
            f'{name}: {metric} needs probabilities, {int(outside.sum())} of {scores.size} scores lie '
            f'outside [0, 1], the first is {scores[outside][0]:g}; apply a sigmoid or softmax to logits'
        )
