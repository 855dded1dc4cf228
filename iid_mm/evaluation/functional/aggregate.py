# SPDX-License-Identifier: Apache-2.0
"""Aggregate the scores of frames to scores of videos."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import special

from iid_mm.errors import InputError
from iid_mm.evaluation.functional.inputs import (
    Codes,
    Labels,
    Names,
    Scores,
    check_probabilities,
    check_scores,
    factorize,
)

Counts = npt.NDArray[np.int64]
LOGIT_CLIP = 1e-6
"""``logit_mean`` clips probabilities to this distance from 0 and 1: log-odds of at most +-13.8.

A softmax in single precision gives exactly 1 above log-odds of about 17, but small values down to 1e-38.
Without a symmetric clip one such frame would decide the whole video.
"""


@dataclass(frozen=True)
class VideoScores:
    """One score per video, V videos in ascending order of their keys.

    Attributes:
        keys: (V,) the videos' keys.
        scores: (V,) float64.
        labels: (V,) int64, 0 = genuine, 1 = fake.
        frames: (V,) int64, number of scored frames.
        first: (V,) position of each video's first frame in the input, to look up its other properties.
    """

    keys: Names
    scores: Scores
    labels: Labels
    frames: Counts
    first: npt.NDArray[np.intp]


def _ordered(scores: Scores, codes: Codes) -> Scores:
    """Scores video by video, ascending in each."""
    return scores[np.lexsort((scores, codes))]


def _mean(scores: Scores, codes: Codes, counts: Counts, k: int) -> Scores:
    return np.bincount(codes, weights=scores, minlength=counts.size) / counts


def _max(scores: Scores, codes: Codes, counts: Counts, k: int) -> Scores:
    if np.any(codes[1:] < codes[:-1]):
        scores = scores[np.argsort(codes, kind='stable')]
    return np.maximum.reduceat(scores, np.cumsum(counts) - counts)


def _median(scores: Scores, codes: Codes, counts: Counts, k: int) -> Scores:
    ordered = _ordered(scores, codes)
    starts = np.cumsum(counts) - counts
    return (ordered[starts + (counts - 1) // 2] + ordered[starts + counts // 2]) / 2


def _topk(scores: Scores, codes: Codes, counts: Counts, k: int) -> Scores:
    ordered = _ordered(scores, codes)
    owner = np.repeat(np.arange(counts.size), counts)
    chosen = np.arange(ordered.size) >= np.cumsum(counts)[owner] - k
    sums = np.bincount(owner[chosen], weights=ordered[chosen], minlength=counts.size)
    return sums / np.minimum(counts, k)


def _logit_mean(scores: Scores, codes: Codes, counts: Counts, k: int) -> Scores:
    logits = special.logit(np.clip(scores, LOGIT_CLIP, 1 - LOGIT_CLIP))
    return np.asarray(special.expit(_mean(logits, codes, counts, k)), dtype=np.float64)


_AGGREGATIONS: dict[str, Callable[[Scores, Codes, Counts, int], Scores]] = {
    'mean': _mean,
    'median': _median,
    'max': _max,
    'topk': _topk,
    'logit_mean': _logit_mean,
}
AGGREGATIONS = tuple(_AGGREGATIONS)
"""Names that ``how`` takes."""


def video_scores(
    scores: npt.ArrayLike,
    labels: npt.ArrayLike,
    video_keys: Any,
    how: str = 'mean',
    *,
    k: int = 3,
    name: str = 'the set',
) -> VideoScores:
    """Aggregate the scores of frames to one score per video.

    ``mean`` is the published protocol: the mean of the frames' scores. ``median`` is the middle score, or
    the mean of the two middle ones. ``max`` is the highest. ``topk`` is the mean of the ``k`` highest, or of
    all if a video has fewer. ``logit_mean`` is the mean of the log-odds log(p / (1 - p)), converted back
    to a probability: frames count as independent votes, and probabilities are first clipped by
    :data:`LOGIT_CLIP`.

    Args:
        scores: (N,) one score per frame, higher = more likely fake; for ``logit_mean`` probabilities.
        labels: (N,) 0 = genuine, 1 = fake.
        video_keys: (N,) the video of each frame: strings, integers or
            :class:`~.inputs.Coded`, which is fastest. Videos of different manipulations and datasets
            need different keys: ``dataset/method/compression/video``.
        how: One of :data:`AGGREGATIONS`.
        k: Frames of ``topk``, at least 1; the other methods ignore it.
        name: What error messages call the set.

    Returns:
        The videos in ascending order of their keys.

    Raises:
        InputError: ``how`` is unknown, ``k`` is below 1, the input is empty, of unequal lengths or not
            finite, a score is no probability where one is needed, or a video has frames of both labels.
    """
    if how not in _AGGREGATIONS:
        raise InputError(f'how={how!r} is unknown; choose one of {", ".join(AGGREGATIONS)}')
    if k < 1:
        raise InputError(f'k={k}: the mean of the k highest scores needs k >= 1')
    checked, classes = check_scores(scores, labels, name=name)
    if how == 'logit_mean':
        check_probabilities(checked, name=name, metric="how='logit_mean'")
    coded = factorize(video_keys, argument=f'{name}: video_keys')
    if len(coded) != checked.size:
        raise InputError(
            f'{name}: video_keys of shape ({len(coded)},) for {checked.size} scores; give one key a frame'
        )
    counts = np.bincount(coded.codes, minlength=coded.names.size)
    fakes = np.bincount(coded.codes, weights=classes, minlength=coded.names.size)
    mixed = (fakes > 0) & (fakes < counts)
    if mixed.any():
        raise InputError(
            f'{name}: {int(mixed.sum())} video keys have genuine and fake frames, the first is '
            f'{str(coded.names[mixed][0])!r}; one key must be one video: '
            'dataset/method/compression/video'
        )
    return VideoScores(
        keys=coded.names,
        scores=_AGGREGATIONS[how](checked, coded.codes, counts, k),
        labels=(fakes > 0).astype(np.int64),
        frames=counts,
        first=coded.first(),
    )
