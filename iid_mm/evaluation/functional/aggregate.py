# SPDX-License-Identifier: Apache-2.0
"""From scores of frames to scores of videos."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from iid_mm.errors import InputError
from iid_mm.evaluation.functional.checks import Labels, Scores, check_scores

Codes = npt.NDArray[np.intp]


@dataclass(frozen=True)
class VideoScores:
    """One score a video, V videos in ascending order of their keys.

    Attributes:
        keys: (V,) the videos' keys.
        scores: (V,) float64.
        labels: (V,) int64, 0 = genuine, 1 = fake.
        frames: (V,) int64, frames that were scored.
        first: (V,) position of each video's first frame in the input, to look up what else is known
            of the video.
    """

    keys: npt.NDArray[np.object_]
    scores: Scores
    labels: Labels
    frames: npt.NDArray[np.int64]
    first: Codes


def _mean(scores: Scores, codes: Codes, counts: npt.NDArray[np.int64]) -> Scores:
    return np.bincount(codes, weights=scores, minlength=counts.size) / counts


def _max(scores: Scores, codes: Codes, counts: npt.NDArray[np.int64]) -> Scores:
    ordered = scores[np.lexsort((scores, codes))]
    return ordered[np.cumsum(counts) - 1]


def _median(scores: Scores, codes: Codes, counts: npt.NDArray[np.int64]) -> Scores:
    ordered = scores[np.lexsort((scores, codes))]
    starts = np.cumsum(counts) - counts
    return (ordered[starts + (counts - 1) // 2] + ordered[starts + counts // 2]) / 2


_AGGREGATIONS: dict[str, Callable[[Scores, Codes, npt.NDArray[np.int64]], Scores]] = {
    'mean': _mean,
    'median': _median,
    'max': _max,
}
AGGREGATIONS = tuple(_AGGREGATIONS)
"""Names that ``how`` takes."""


def video_scores(
    scores: npt.ArrayLike,
    labels: npt.ArrayLike,
    video_keys: npt.ArrayLike,
    how: str = 'mean',
    *,
    name: str = 'the set',
) -> VideoScores:
    """Aggregate the scores of frames to one score a video.

    Args:
        scores: (N,) one score a frame, higher = more likely fake.
        labels: (N,) 0 = genuine, 1 = fake.
        video_keys: (N,) the video of each frame. A key must tell videos of different manipulations
            and data sets apart: ``dataset/method/compression/video``.
        how: 'mean' (published protocol), 'median' or 'max'.
        name: What error messages call the set.

    Returns:
        The videos in ascending order of their keys.

    Raises:
        InputError: ``how`` is unknown, the input is empty, of unequal lengths or not finite, or a
            video has frames of both labels.
    """
    if how not in _AGGREGATIONS:
        raise InputError(f'how={how!r} is unknown; choose one of {", ".join(AGGREGATIONS)}')
    checked, classes = check_scores(scores, labels, name=name)
    raw_keys = np.asarray(video_keys)
    if raw_keys.shape != checked.shape:
        raise InputError(
            f'{name}: video_keys of shape {raw_keys.shape} for {checked.size} scores; give one key a frame'
        )
    keys, first, codes = np.unique(raw_keys, return_index=True, return_inverse=True)
    counts = np.bincount(codes, minlength=keys.size).astype(np.int64)
    fakes = np.bincount(codes, weights=classes, minlength=keys.size)
    mixed = (fakes > 0) & (fakes < counts)
    if mixed.any():
        raise InputError(
            f'{name}: {int(mixed.sum())} video keys have genuine and fake frames, the first is '
            f'{str(keys[mixed][0])!r}; one key must be one video: '
            'dataset/method/compression/video'
        )
    return VideoScores(
        keys=keys.astype(object),
        scores=_AGGREGATIONS[how](checked, codes, counts),
        labels=(fakes > 0).astype(np.int64),
        frames=counts,
        first=first,
    )
