# SPDX-License-Identifier: Apache-2.0
"""Identity shift of video scores: their source, the metrics and their table."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from iid_mm.errors import InputError
from iid_mm.evaluation.functional.aggregate import video_scores
from iid_mm.evaluation.scores import read_scores
from iid_mm.evaluation.statistics.intervals import Interval
from iid_mm.identity.extraction import FaceTable
from iid_mm.identity.shift import (
    IccResult,
    IdentityAuc,
    identity_auc,
    intraclass_correlation,
    logit,
)
from iid_mm.utils.tables import UNDEFINED, markdown_table


@dataclass(frozen=True)
class IdentityScores:
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


@dataclass(frozen=True)
class ShiftReport:
    """Outcome of :func:`measure_shift`; in place of an undefined metric stands the reason."""

    icc_logit: IccResult | str
    icc_probability: IccResult | str
    auc: IdentityAuc | str
    videos: int
    genuine: int
    unknown: int

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON; NaN and infinity become None."""
        found: dict[str, Any] = {'videos': self.videos, 'genuine': self.genuine, 'unknown': self.unknown}
        for name in ('icc_logit', 'icc_probability', 'auc'):
            value = getattr(self, name)
            found[name] = {'not_determined': value} if isinstance(value, str) else _plain(value)
        return found


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
    found: list[Any] = []
    errors = []
    calls = (
        lambda: intraclass_correlation(logit(chances), people, level=level),
        lambda: intraclass_correlation(chances, people, level=level),
        lambda: identity_auc(
            scores.score, scores.label, scores.identity, level=level, resamples=resamples, seed=seed
        ),
    )
    for call in calls:
        try:
            found.append(call())
        except InputError as error:
            errors.append(error)
            found.append(str(error))
    if len(errors) == len(calls):
        raise InputError(f'{errors[0]}; and {errors[-1]}')
    return ShiftReport(found[0], found[1], found[2], scores.score.size, int(genuine.sum()), scores.unknown)


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
