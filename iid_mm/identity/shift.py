# SPDX-License-Identifier: Apache-2.0
"""Dependence of fake scores on the person in the video.

Two metrics. The **intraclass correlation** of genuine videos: with s_ij the score of video j of person i,
s_ij = m + a_i + e_ij, the share var(a) / (var(a) + var(e)) of the variance that lies between people
(one-way random effects, ICC(1)). It is 0 on genuine videos for a detector of artifacts only.

The **AUC within and across identities**: over pairs of a fake f and a genuine video g,

    AUC = mean of [s_f > s_g] + [s_f = s_g] / 2,

within: over the pairs whose target is the same person, across: over those of different people. A shift of all
scores of a person leaves the first alone and lowers the second; within - across > 0 is the cost of identity.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import stats

from iid_mm.errors import InputError
from iid_mm.evaluation.functional.inputs import factorize
from iid_mm.evaluation.statistics.intervals import Interval, check_level
from iid_mm.identity.linear import group_means

Array = npt.NDArray[np.float64]
CLIP = 1e-6
"""Probabilities are kept this far from 0 and 1 before the logit."""


class IccResult(NamedTuple):
    """Share of the variance of scores that lies between identities.

    Attributes:
        icc: ICC(1); negative where people differ less than by chance. Its interval is exact for equal numbers
            of videos, else approximate, with their effective mean n0.
        f: Mean square between over mean square within.
        df_between: Degrees of freedom of the identities, K - 1.
        df_within: N - K.
        p: P(F >= f) if identities had no effect.
        eta_squared: Sum of squares between over the total one; without any effect (K - 1) / (N - 1).
        videos_a_person: n0, equal to n where all have n videos.
    """

    icc: Interval
    f: float
    df_between: int
    df_within: int
    p: float
    eta_squared: float
    videos_a_person: float


class IdentityAuc(NamedTuple):
    """AUC within and across identities, with intervals from a bootstrap over identities.

    Attributes:
        within: Over pairs of one person.
        across: Over pairs of different people.
        difference: within - across.
        pairs_within: Number of pairs.
        pairs_across: Number of pairs.
        identities: Number of people.
    """

    within: Interval
    across: Interval
    difference: Interval
    pairs_within: int
    pairs_across: int
    identities: int


def logit(scores: npt.ArrayLike) -> Array:
    """log(p / (1 - p)), with p clipped to [1e-6, 1 - 1e-6]."""
    values = np.clip(np.asarray(scores, dtype=np.float64), CLIP, 1 - CLIP)
    return np.asarray(np.log(values) - np.log1p(-values))


def intraclass_correlation(scores: npt.ArrayLike, identities: Any, *, level: float = 0.95) -> IccResult:
    """One-way random effects: ICC(1), its interval from F (Shrout and Fleiss 1979) and the F test.

    Args:
        scores: (N,) of genuine videos.
        identities: (N,) names.
        level: Confidence level.

    Returns:
        The metrics. All scores equal: ICC NaN. Persons equal within and different between: ICC 1.

    Raises:
        InputError: Fewer than two identities, no identity with two videos, or a score that is not finite.
    """
    check_level(level)
    values = np.asarray(scores, dtype=np.float64)
    codes = factorize(identities, argument='identities').codes
    if values.shape != codes.shape or not np.isfinite(values).all():
        raise InputError('scores must be finite, one for each identity given')
    counts = np.bincount(codes).astype(float)
    people, total = counts.size, float(values.size)
    if people < 2 or total <= people:
        raise InputError(
            f'{values.size} genuine videos of {people} identities: the variance within a person needs at '
            'least 2 identities and several genuine videos of a person; give further takes of the same people'
        )
    between, within, size = sums_of_squares(values[:, None], codes)
    df_between, df_within = people - 1, values.size - people
    # Sums of squares of equal numbers are rounding errors.
    tiny = 1e-20 * max(1.0, float(np.sum(values**2)))
    between, within = (0.0 if part < tiny else part for part in (between, within))
    if between == within == 0:
        nothing = Interval(float('nan'), float('nan'), float('nan'), 'none')
        return IccResult(nothing, float('nan'), df_between, df_within, 1.0, 0.0, size)
    f = between / df_between / (within / df_within) if within > 0 else float('inf')
    tail = (1 - level) / 2
    low = f / float(stats.f.isf(tail, df_between, df_within))
    high = f * float(stats.f.isf(tail, df_within, df_between))
    limits = [1.0 if np.isinf(x) else (x - 1) / (x + size - 1) for x in (f, low, high)]
    return IccResult(
        Interval(limits[0], limits[1], limits[2], 'f'),
        f,
        df_between,
        df_within,
        float(stats.f.sf(f, df_between, df_within)),
        between / (between + within),
        size,
    )


def sums_of_squares(values: Array, codes: npt.NDArray[np.int64]) -> tuple[float, float, float]:
    """Sums of squares of a one-way layout.

    Args:
        values: (N, D); the sums run over all dimensions.
        codes: (N,) groups 0..K-1, each of them used.

    Returns:
        Sum between groups, sum within groups, effective mean size n0 of a group.
    """
    counts = np.bincount(codes).astype(float)
    total = float(counts.sum())
    means = group_means(values, codes, counts.size)
    between = float(np.sum(counts[:, None] * (means - values.mean(axis=0)) ** 2))
    within = float(np.sum((values - means[codes]) ** 2))
    return between, within, (total - float(np.sum(counts**2)) / total) / (counts.size - 1)


def concordance(
    scores: Array, labels: npt.NDArray[np.int64], codes: npt.NDArray[np.int64]
) -> tuple[Array, Array]:
    """Concordant and all pairs by person of the fake and person of the genuine video.

    Args:
        scores: (N,).
        labels: (N,) 0 = genuine, 1 = fake.
        codes: (N,) identities 0..K-1.

    Returns:
        (K, K) sums of [s_f > s_g] + [s_f = s_g] / 2 with f of person i and g of person j, and the numbers of
        pairs.
    """
    people = int(codes.max()) + 1
    fake, genuine = scores[labels == 1], scores[labels == 0]
    fake_codes, genuine_codes = codes[labels == 1], codes[labels == 0]
    order = np.lexsort((genuine, genuine_codes))
    genuine, ends = genuine[order], np.cumsum(np.bincount(genuine_codes, minlength=people))
    concordant = np.zeros((people, people))
    begin = 0
    for person, end in enumerate(ends):
        own = genuine[begin:end]
        below = (np.searchsorted(own, fake, 'left') + np.searchsorted(own, fake, 'right')) / 2
        concordant[:, person] = np.bincount(fake_codes, weights=below, minlength=people)
        begin = end
    fakes = np.bincount(fake_codes, minlength=people).astype(float)
    sizes = np.bincount(genuine_codes, minlength=people).astype(float)
    return concordant, np.outer(fakes, sizes)


def identity_auc(
    scores: npt.ArrayLike,
    labels: npt.ArrayLike,
    identities: Any,
    *,
    level: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> IdentityAuc:
    """AUC of pairs of the same person and of pairs of different people.

    A resample draws people with replacement; a person drawn twice counts twice within, and the copies do not
    count as different people.

    Args:
        scores: (N,) of videos.
        labels: (N,) 0 = genuine, 1 = fake.
        identities: (N,) names of the targets.
        level: Confidence level.
        resamples: Resamples of people.
        seed: Seed of the draws.

    Returns:
        The metrics with percentile intervals.

    Raises:
        InputError: There are no pairs within or across, or an argument is out of range.
    """
    check_level(level)
    if resamples < 1:
        raise InputError(f'resamples={resamples}: give at least 1')
    values, classes = np.asarray(scores, dtype=np.float64), np.asarray(labels, dtype=np.int64)
    codes = factorize(identities, argument='identities').codes
    if not values.shape == classes.shape == codes.shape or not np.isfinite(values).all():
        raise InputError('scores must be finite, one for each label and identity given')
    concordant, pairs = concordance(values, classes, codes)
    within, across = float(np.trace(pairs)), float(pairs.sum() - np.trace(pairs))
    if not within or not across:
        raise InputError(
            f'{within:.0f} pairs of a fake and a genuine video of one person and {across:.0f} of different '
            'people; AUC within and across identities needs both: fakes and genuine videos of one target'
        )
    generator = np.random.Generator(np.random.PCG64(seed))
    people = len(pairs)
    own = _aucs(np.ones((1, people)), concordant, pairs)[0]
    parts = []
    for start in range(0, resamples, 200):
        count = min(200, resamples - start)
        draws = generator.integers(0, people, (count, people))
        offsets = np.arange(count)[:, None] * people
        weights = np.bincount((draws + offsets).ravel(), minlength=count * people).reshape(count, people)
        parts.append(_aucs(weights.astype(float), concordant, pairs))
    drawn = np.concatenate(parts)
    drawn = drawn[np.isfinite(drawn).all(axis=1)]
    return IdentityAuc(
        percentile_interval(own[0], drawn[:, 0], level),
        percentile_interval(own[1], drawn[:, 1], level),
        percentile_interval(own[0] - own[1], drawn[:, 0] - drawn[:, 1], level),
        int(within),
        int(across),
        people,
    )


def percentile_interval(value: float, drawn: Array, level: float) -> Interval:
    """Interval of a value from its resamples, (R,); NaN without any."""
    tail = (1 - level) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail]) if drawn.size else (np.nan, np.nan)
    return Interval(float(value), float(low), float(high), 'percentile')


def _aucs(weights: Array, concordant: Array, pairs: Array) -> Array:
    """(R, 2) AUC within and across for (R, K) weights of people."""
    columns = []
    with np.errstate(invalid='ignore', divide='ignore'):
        columns.append((weights @ np.diag(concordant)) / (weights @ np.diag(pairs)))
        sums = []
        for matrix in (concordant, pairs):
            off = matrix - np.diag(np.diag(matrix))
            sums.append(np.einsum('rk,rk->r', weights @ off, weights))
        columns.append(sums[0] / sums[1])
    return np.stack(columns, axis=1)
