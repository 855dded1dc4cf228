# SPDX-License-Identifier: Apache-2.0
"""The identity probe: accuracy of a linear classifier of people on frozen features of unseen clips."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from iid_mm.errors import InputError
from iid_mm.evaluation.statistics.intervals import Interval, check_level
from iid_mm.identity.clips import Codes, draw_split, shuffle_identities
from iid_mm.identity.linear import (
    STRENGTHS,
    Array,
    class_scores,
    group_means,
    macro,
    standardize,
    sums_of_squares,
    true_ranks,
)
from iid_mm.identity.shift import percentile_interval

_FOLDS = 3


@dataclass(frozen=True)
class ProbeSettings:
    """How a probe is fitted.

    Attributes:
        classifier: ``lda`` or ``logistic``.
        seeds: Number of splits, each with other test clips.
        share: Part of a person's clips that is held out for the test, at least one clip.
        train_clips: At most this many training clips a person; None: all that are not held out. Few clips
            make the task harder where all features recognize everyone.
        level: Confidence level.
        resamples: Resamples of the bootstrap over identities.
    """

    classifier: str = 'lda'
    seeds: int = 5
    share: float = 0.25
    train_clips: int | None = None
    level: float = 0.95
    resamples: int = 2000

    def __post_init__(self) -> None:
        if self.classifier not in STRENGTHS:
            raise InputError(f'--classifier {self.classifier}: choose one of {", ".join(STRENGTHS)}')
        if self.seeds < 1 or self.resamples < 1:
            raise InputError(f'--seeds {self.seeds}, --resamples {self.resamples}: give at least 1')
        if not 0 < self.share < 1:
            raise InputError(f'--test-share {self.share}: give a share between 0 and 1')
        if self.train_clips is not None and self.train_clips < 1:
            raise InputError(f'--train-clips {self.train_clips}: give at least 1')
        check_level(self.level)


@dataclass(frozen=True)
class ProbeResult:
    """Accuracies of one feature, each the mean over identities and splits.

    Attributes:
        top1: Of single frames, with a bootstrap interval over identities.
        top5: As ``top1``; the true identity is among the five first.
        clip_top1: Of whole test clips (mean of the scores of their frames).
        chance: 1 / K.
        chance5: min(5, K) / K.
        variance_share: Share of the variance of clip means that belongs to identities (ICC(1) over all
            standardized dimensions): still distinguishes features whose accuracies are 1.
        rank: Effective number of independent dimensions, see :func:`effective_rank`: a low accuracy of a
            collapsed feature is no merit.
        seed_low: Lowest top-1 accuracy of a split.
        seed_high: Highest one.
        identities: K.
        clips: Number of clips.
        faces: Number of faces.
        strengths: Chosen regularization by split.
        notes: Caveats for readers.
    """

    top1: Interval
    top5: Interval
    clip_top1: Interval
    chance: float
    chance5: float
    variance_share: float
    rank: float
    seed_low: float
    seed_high: float
    identities: int
    clips: int
    faces: int
    strengths: list[float]
    notes: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        found = asdict(self)
        for name in ('top1', 'top5', 'clip_top1'):
            found[name] = getattr(self, name)._asdict()
        return found


def probe(
    features: npt.ArrayLike,
    identity: Codes,
    clip: Codes,
    settings: ProbeSettings | None = None,
    *,
    shuffled: bool = False,
) -> ProbeResult:
    """Fit and test the probe on several splits by clip.

    For each seed some clips of every identity are held out. Features are standardized, and regularization is
    chosen by cross-validation over the clips, within the training clips only.

    Args:
        features: (N, D).
        identity: (N,) codes 0..K-1.
        clip: (N,) codes; a clip belongs to one identity.
        settings: How.
        shuffled: Give whole clips random identities first: the accuracy on labels that are unrelated to the
            faces.

    Returns:
        The accuracies.

    Raises:
        InputError: Fewer than two identities, an identity with fewer than two clips, lengths that differ, or
            features that are not finite.
    """
    settings = settings or ProbeSettings()
    values = np.asarray(features, dtype=np.float64)
    _check(values, identity, clip)
    classes = int(identity.max()) + 1
    shares: dict[str, list[Array]] = {'top1': [], 'top5': [], 'clip_top1': []}
    strengths, notes = [], set()
    for seed in range(settings.seeds):
        labels = shuffle_identities(identity, clip, seed) if shuffled else identity
        train, test = draw_split(labels, clip, seed, settings.share, settings.train_clips)
        strength, across = _choose(values[train], labels[train], clip[train], settings.classifier, classes)
        if not across:
            notes.add('One training clip a person: regularization was chosen within clips, see the docs.')
        strengths.append(strength)
        (scores,) = class_scores(
            settings.classifier, values[train], labels[train], values[test], (strength,), classes
        )
        ranks = true_ranks(scores, labels[test])
        shares['top1'].append(macro(ranks < 1, labels[test], classes))
        shares['top5'].append(macro(ranks < 5, labels[test], classes))
        whole, owner = _clip_means(scores, labels[test], clip[test])
        shares['clip_top1'].append(macro(true_ranks(whole, owner) < 1, owner, classes))
    per_seed = [float(np.nanmean(part)) for part in shares['top1']]
    labels = shuffle_identities(identity, clip, 0) if shuffled else identity
    return ProbeResult(
        **{name: _interval(np.nanmean(part, axis=0), settings) for name, part in shares.items()},
        chance=1 / classes,
        chance5=min(5, classes) / classes,
        variance_share=variance_share(values, labels, clip),
        rank=effective_rank(values),
        seed_low=min(per_seed),
        seed_high=max(per_seed),
        identities=classes,
        clips=np.unique(clip).size,
        faces=identity.size,
        strengths=strengths,
        notes=sorted(notes),
    )


def effective_rank(values: Array) -> float:
    """exp of the entropy of the eigenvalues of the correlation matrix (Roy and Vetterli 2007).

    Args:
        values: (N, D).

    Returns:
        D for uncorrelated dimensions, 1 for copies of one; dimensions that do not vary do not count.
    """
    scaled = standardize(values, values)[0]
    small = scaled.T @ scaled if scaled.shape[1] <= scaled.shape[0] else scaled @ scaled.T
    shares = np.maximum(np.linalg.eigvalsh(small), 0)
    if not shares.sum() > 0:
        return 0.0
    shares = shares[shares > 0] / shares.sum()
    return float(np.exp(-np.sum(shares * np.log(shares))))


def variance_share(values: Array, identity: Codes, clip: Codes) -> float:
    """ICC(1) of clip means, all dimensions together.

    Dimensions are standardized over all faces; mean squares between and within identities are summed over
    dimensions before the ratio is taken.

    Args:
        values: (N, D).
        identity: (N,) codes.
        clip: (N,) codes.

    Returns:
        The share; NaN where nothing varies. Below 0 where identities differ less than by chance.
    """
    scaled = standardize(values, values)[0]
    clips, owner = _clip_means(scaled, identity, clip)
    between, within, size = sums_of_squares(clips, owner)
    people = int(owner.max()) + 1
    between, within = between / (people - 1), within / (len(clips) - people)
    bottom = between + (size - 1) * within
    return (between - within) / bottom if bottom > 1e-12 else float('nan')


def _check(values: Array, identity: Codes, clip: Codes) -> None:
    if values.ndim != 2 or not len(values) == len(identity) == len(clip):
        raise InputError(
            f'features {values.shape}, {len(identity)} identities and {len(clip)} clips do not fit; '
            'give one row, identity and clip a face'
        )
    if not np.isfinite(values).all():
        raise InputError('a feature is NaN or infinite; the network diverged or the checkpoint is damaged')
    pairs = np.unique(np.stack([clip, identity]), axis=1)
    if np.unique(pairs[0]).size != pairs.shape[1]:
        raise InputError('a clip has faces of two identities; number clips by recording and person')
    counts = np.bincount(pairs[1])
    if counts.size < 2 or counts.min() < 2:
        raise InputError(
            f'{counts.size} identities with at least {counts.min(initial=0)} clips: a probe needs 2 '
            'identities with 2 clips each'
        )


def _choose(values: Array, labels: Codes, clip: Codes, classifier: str, classes: int) -> tuple[float, bool]:
    """Strength with the best accuracy on left out training clips; of equal ones the greatest."""
    grid = STRENGTHS[classifier]
    fold = np.empty(labels.size, dtype=np.int64)
    for code in np.unique(labels):
        own = labels == code
        fold[own] = np.unique(clip[own], return_inverse=True)[1]
    across = bool(fold.max() > 0)
    if not across:
        # Rows of a clip are in the order of time: two halves.
        for code in np.unique(clip):
            places = np.flatnonzero(clip == code)
            fold[places] = np.arange(places.size) * 2 // places.size
    fold %= _FOLDS
    totals = np.zeros(len(grid))
    for number in np.unique(fold):
        left = fold == number
        # A person with no other clip could not be recognized.
        left &= np.isin(labels, labels[~left])
        if not left.any() or left.all():
            continue
        scores = class_scores(classifier, values[~left], labels[~left], values[left], grid, classes)
        totals += [
            np.nanmean(macro(true_ranks(part, labels[left]) < 1, labels[left], classes)) for part in scores
        ]
    best = np.flatnonzero(totals >= totals.max() - 1e-12)
    return grid[int(best[-1])], across


def _clip_means(scores: Array, labels: Codes, clip: Codes) -> tuple[Array, Codes]:
    clips, first, inverse = np.unique(clip, return_index=True, return_inverse=True)
    return group_means(scores, inverse, clips.size), labels[first]


def _interval(shares: Array, settings: ProbeSettings) -> Interval:
    """Percentile bootstrap over identities of their mean."""
    shares = shares[np.isfinite(shares)]
    generator = np.random.Generator(np.random.PCG64(0))
    drawn = generator.integers(0, shares.size, (settings.resamples, shares.size))
    return percentile_interval(float(shares.mean()), shares[drawn].mean(axis=1), settings.level)
