# SPDX-License-Identifier: Apache-2.0
"""Video scores with identities and what :mod:`iid_mm.identity.shift` finds in them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from iid_mm.errors import InputError
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


@dataclass(frozen=True)
class IdentityScores:
    """Scores of V videos, mean of their frames.

    Attributes:
        score: (V,) probability of fake.
        label: (V,) 0 = genuine, 1 = fake.
        identity: (V,) names of the targets.
        unknown: Number of videos left out, whose target is unknown.
    """

    score: npt.NDArray[np.float64]
    label: npt.NDArray[np.int64]
    identity: npt.NDArray[Any]
    unknown: int


@dataclass(frozen=True)
class ShiftReport:
    """Outcome of :func:`measure_shift`; a metric that the set does not allow is the reason why."""

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


def _videos(keys: Sequence[str], score: Any, label: Any, identity: Any, origin: str) -> IdentityScores:
    _, first, video = np.unique(np.asarray(keys, dtype=str), return_index=True, return_inverse=True)
    means = np.bincount(video, weights=np.asarray(score, dtype=np.float64)) / np.bincount(video)
    owners = np.asarray(identity, dtype=object)[first]
    known = np.array([owner is not None for owner in owners])
    if not known.any():
        raise InputError(
            f'{origin}: no video has a target identity (target_id); prepare the set from a layout that '
            'knows people, or test again with a version that writes them'
        )
    labels = np.asarray(label, dtype=np.int64)[first]
    return IdentityScores(
        means[known], labels[known], owners[known].astype(str), int(np.count_nonzero(~known))
    )


def scores_of_files(paths: Sequence[str | os.PathLike[str]]) -> IdentityScores:
    """Read scores files; videos of different files are different videos, whatever their keys.

    Raises:
        FileNotFoundError: A file does not exist.
        InputError: A file is invalid, or no identity is known.
    """
    keys: list[str] = []
    columns: dict[str, list[Any]] = {'score': [], 'label': [], 'target_id': []}
    for number, path in enumerate(paths):
        scores = read_scores(path)
        keys += [f'{number}|{key}' for key in scores.video_key]
        for name in columns:
            columns[name] += list(getattr(scores, name))
    return _videos(keys, columns['score'], columns['label'], columns['target_id'], ', '.join(map(str, paths)))


def scores_of_faces(faces: FaceTable) -> IdentityScores:
    """Scores from extracted ``logits``; videos of different indexes are different videos.

    Raises:
        InputError: No identity is known.
    """
    logits = faces.feature('logits').astype(np.float64)
    chances = 1 / (1 + np.exp(np.clip(logits[:, 0] - logits[:, 1], -500, 500)))
    pairs = zip(faces.column('take'), faces.column('video_key'), strict=True)
    keys = [f'{take}|{key}' for take, key in pairs]
    return _videos(keys, chances, faces.column('label'), faces.column('target_id'), 'the indexes')


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
        The metrics; of those that the set does not allow, why.

    Raises:
        InputError: The set allows none, or an argument is out of range.
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
    """Markdown table."""
    lines = ['| metric | value | interval | |', '|---|---|---|---|']

    def line(name: str, value: Interval, note: str) -> str:
        return f'| {name} | {value.value:.3f} | [{value.low:.3f}, {value.high:.3f}] | {note} |'

    for scale, icc in (('logit', report.icc_logit), ('probability', report.icc_probability)):
        name = f'ICC(1) of genuine videos, {scale}'
        if isinstance(icc, str):
            lines.append(f'| {name} | - | | {icc} |')
        else:
            note = f'F({icc.df_between}, {icc.df_within}) = {icc.f:.2f}, p = {icc.p:.2g}'
            lines.append(line(name, icc.icc, note))
    if isinstance(report.auc, str):
        lines.append(f'| AUC within and across identities | - | | {report.auc} |')
    else:
        lines += [
            line('AUC within identities', report.auc.within, f'{report.auc.pairs_within} pairs'),
            line('AUC across identities', report.auc.across, f'{report.auc.pairs_across} pairs'),
            line('within - across', report.auc.difference, f'{report.auc.identities} identities'),
        ]
    lines += ['', f'{report.videos} videos, {report.genuine} of them genuine.']
    if report.unknown:
        lines.append(f'{report.unknown} videos of unknown targets are left out.')
    return '\n'.join(lines) + '\n'
