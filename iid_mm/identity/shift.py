# SPDX-License-Identifier: Apache-2.0
"""Dependence of fake scores on the person in the video: the scores, the metrics and their table.

Two metrics. The **intraclass correlation** of genuine videos: with s_ij the score of video j of person i,
s_ij = m + a_i + e_ij, the share var(a) / (var(a) + var(e)) of the variance that lies between people
(one-way random effects, ICC(1)). It is 0 on genuine videos for a detector of artifacts only.

The **AUC within and across identities**: over pairs of a fake f and a genuine video g,

    AUC = mean of [s_f > s_g] + [s_f = s_g] / 2,

within: over the pairs whose target is the same person, across: over those of different people. A shift of all
scores of a person leaves the first alone and lowers the second; within - across > 0 is the cost of identity.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import stats

from iid_mm.errors import InputError
from iid_mm.evaluation.functional.aggregate import LOGIT_CLIP, video_scores
from iid_mm.evaluation.functional.inputs import factorize
from iid_mm.evaluation.scores import read_scores
from iid_mm.evaluation.statistics.intervals import Interval, check_level
from iid_mm.identity.linear import sums_of_squares
from iid_mm.utils.tables import UNDEFINED, markdown_table

if TYPE_CHECKING:
    # Loads torch, which scores files do not need.
    from iid_mm.identity.extraction import FaceTable

Array = npt.NDArray[np.float64]


class IdentityScores(NamedTuple):
    """Mean scores of V videos.

    Attributes:
        score: (V,) probability of fake.
        label: (V,) 0 = genuine, 1 = fake.
        identity: (V,) names of the targets.
        unknown: Number of videos that are left out since their target is unknown.
    """

    score: npt.NDArray[np.float64]
    label: npt.NDArray[np.int64]
    identity: npt.NDArray[Any]
    unknown: int


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


class ShiftReport(NamedTuple):
    """Outcome of :func:`measure_shift`; in place of an undefined metric stands the reason."""

    videos: int
    genuine: int
    unknown: int
    icc_logit: IccResult | str
    icc_probability: IccResult | str
    auc: IdentityAuc | str

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON; NaN and infinity become None."""
        return {
            name: {'not_determined': value} if isinstance(value, str) else _plain(value)
            for name, value in self._asdict().items()
        }


def _plain(value: Any) -> Any:
    if hasattr(value, '_asdict'):
        return {name: _plain(part) for name, part in value._asdict().items()}
    if isinstance(value, float):
        return value if np.isfinite(value) else None
    return value


def _videos(
    keys: Sequence[str], score: npt.ArrayLike, label: npt.ArrayLike, identity: Sequence[Any], origin: str
) -> IdentityScores:
    videos = video_scores(score, label, keys, name=origin)
    owners = np.asarray(identity, dtype=object)[videos.first]
    known = np.array([owner is not None for owner in owners])
    if not known.any():
        raise InputError(
            f'{origin}: no video has a target identity (target_id); prepare the set from a layout that '
            'knows people, or test again with a version that writes them'
        )
    left_out = int(np.count_nonzero(~known))
    return IdentityScores(videos.scores[known], videos.labels[known], owners[known].astype(str), left_out)


def scores_of_files(paths: Sequence[str | os.PathLike[str]]) -> IdentityScores:
    """Read scores files; equal keys in different files are different videos.

    Raises:
        FileNotFoundError: A file does not exist.
        InputError: A file is invalid, or no identity is known.
    """
    files = [read_scores(path) for path in paths]
    keys = [f'{number}|{key}' for number, scores in enumerate(files) for key in scores.video_key]
    score, label = (np.concatenate([getattr(f, name) for f in files]) for name in ('score', 'label'))
    people = [person for scores in files for person in scores.target_id]
    return _videos(keys, score, label, people, ', '.join(map(str, paths)))


def scores_of_faces(faces: FaceTable) -> IdentityScores:
    """Scores from extracted ``logits``; equal keys in different indexes are different videos.

    Raises:
        InputError: No identity is known.
    """
    logits = faces.feature('logits').astype(np.float64)
    chances = 1 / (1 + np.exp(np.clip(logits[:, 0] - logits[:, 1], -500, 500)))
    pairs = zip(faces.column('take'), faces.column('video_key'), strict=True)
    keys = [f'{take}|{key}' for take, key in pairs]
    labels = faces.column('label').astype(np.int64)
    return _videos(keys, chances, labels, list(faces.column('target_id')), 'the indexes')


def measure_shift(
    scores: IdentityScores, *, level: float = 0.95, resamples: int = 1000, seed: int = 0
) -> ShiftReport:
    """Intraclass correlation of the genuine videos, AUC within and across identities.

    Args:
        scores: The videos.
        level: Confidence level.
        resamples: Resamples of the bootstrap over identities.
        seed: Its seed.

    Returns:
        The metrics; for undefined ones the reason.

    Raises:
        InputError: All are undefined, or an argument is out of range.
    """
    genuine = scores.label == 0
    chances, people = scores.score[genuine], scores.identity[genuine]
    icc_logit = _or_reason(intraclass_correlation, logit(chances), people, level=level)
    icc = _or_reason(intraclass_correlation, chances, people, level=level)
    auc = _or_reason(
        identity_auc, scores.score, scores.label, scores.identity, level=level, resamples=resamples, seed=seed
    )
    if isinstance(icc_logit, str) and isinstance(icc, str) and isinstance(auc, str):
        raise InputError(f'{icc_logit}; and {auc}')
    return ShiftReport(scores.score.size, int(genuine.sum()), scores.unknown, icc_logit, icc, auc)


def _or_reason(measure: Callable[..., Any], *scores: Any, **options: Any) -> Any:
    try:
        return measure(*scores, **options)
    except InputError as error:
        return str(error)


def logit(scores: npt.ArrayLike) -> Array:
    """log(p / (1 - p)), with p clipped to [1e-6, 1 - 1e-6]."""
    values = np.clip(np.asarray(scores, dtype=np.float64), LOGIT_CLIP, 1 - LOGIT_CLIP)
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
    values, codes = _coded(scores, identities, level)
    people = np.unique(codes).size
    if people < 2 or values.size <= people:
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


def _coded(scores: npt.ArrayLike, identities: Any, level: float) -> tuple[Array, npt.NDArray[np.int64]]:
    """Checked scores and the codes of their identities, 0..K-1."""
    check_level(level)
    values = np.asarray(scores, dtype=np.float64)
    codes = factorize(identities, argument='identities').codes
    if values.shape != codes.shape or not np.isfinite(values).all():
        raise InputError('scores must be finite, one for each identity given')
    return values, codes


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
    concordant = np.zeros((people, people))
    for person in range(people):
        own = np.sort(genuine[genuine_codes == person])
        below = (np.searchsorted(own, fake, 'left') + np.searchsorted(own, fake, 'right')) / 2
        concordant[:, person] = np.bincount(fake_codes, weights=below, minlength=people)
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
    if resamples < 1:
        raise InputError(f'resamples={resamples}: give at least 1')
    values, codes = _coded(scores, identities, level)
    classes = np.asarray(labels, dtype=np.int64)
    if classes.shape != values.shape:
        raise InputError(f'{classes.size} labels for {values.size} scores; give one for each')
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
    within_auc, across_auc, difference = (
        percentile_interval(*column, level) for column in zip(own, drawn.T, strict=True)
    )
    return IdentityAuc(within_auc, across_auc, difference, int(within), int(across), people)


def percentile_interval(value: float, drawn: Array, level: float) -> Interval:
    """Interval of a value from its resamples, (R,); NaN without any."""
    tail = (1 - level) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail]) if drawn.size else (np.nan, np.nan)
    return Interval(float(value), float(low), float(high), 'percentile')


def _aucs(weights: Array, concordant: Array, pairs: Array) -> Array:
    """(R, 3) AUC within and across and their difference for (R, K) weights of people."""

    def sums(matrix: Array) -> tuple[Array, Array]:
        own = np.diag(matrix)
        return weights @ own, np.einsum('rk,rk->r', weights @ (matrix - np.diag(own)), weights)

    with np.errstate(invalid='ignore', divide='ignore'):
        within, across = (a / b for a, b in zip(sums(concordant), sums(pairs), strict=True))
    return np.stack([within, across, within - across], axis=1)


def shift_table(report: ShiftReport) -> str:
    """Markdown table of the metrics."""
    table = [['metric', 'basis', 'value (interval)']]
    for scale, icc in (('logit', report.icc_logit), ('probability', report.icc_probability)):
        name = f'ICC(1) of genuine videos, {scale}'
        if isinstance(icc, str):
            table.append([name, icc, UNDEFINED])
        else:
            basis = f'F({icc.df_between}, {icc.df_within}) = {icc.f:.2f}, p = {icc.p:.2g}'
            table.append([name, basis, written(icc.icc)])
    if isinstance(report.auc, str):
        table.append(['AUC within and across identities', report.auc, UNDEFINED])
    else:
        table += [
            ['AUC within identities', f'{report.auc.pairs_within} pairs', written(report.auc.within)],
            ['AUC across identities', f'{report.auc.pairs_across} pairs', written(report.auc.across)],
            ['within - across', f'{report.auc.identities} identities', written(report.auc.difference)],
        ]
    lines = [*markdown_table(table), '', f'{report.videos} videos, {report.genuine} of them genuine.']
    if report.unknown:
        lines.append(f'{report.unknown} videos of unknown targets are left out.')
    return '\n'.join(lines) + '\n'


def written(interval: Interval) -> str:
    """A value and its interval with three decimals."""
    return f'{interval.value:.3f} ({interval.low:.3f} to {interval.high:.3f})'
