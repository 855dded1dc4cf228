# SPDX-License-Identifier: Apache-2.0
"""Comparing two detectors by their scores on the same videos."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from iid_mm.errors import InputError
from iid_mm.evaluation.functional.inputs import Names, check_both_classes
from iid_mm.evaluation.functional.per_method import ScoredSet
from iid_mm.evaluation.scores import FrameScores
from iid_mm.evaluation.statistics.bootstrap import bootstrap_difference
from iid_mm.evaluation.statistics.delong import delong_covariance
from iid_mm.evaluation.statistics.intervals import holm
from iid_mm.reporting.metrics_table import persons
from iid_mm.utils.tables import UNDEFINED, markdown_table, percent

GROUPS = ('target_id',)
"""Columns that videos can be grouped by."""


@dataclass(frozen=True)
class ComparedRow:
    """One manipulation, one dataset, or everything; metrics as fractions of 1.

    Attributes:
        name: Name of the row.
        videos: Number of videos.
        fakes: Fakes among them.
        auc_a: Video AUC of A.
        auc_b: Video AUC of B.
        difference: ``auc_b - auc_a``.
        low: Lower limit of the difference, paired bootstrap.
        high: Upper limit.
        method: Of the interval, see :class:`~iid_mm.evaluation.statistics.intervals.Interval`.
        p: Two-sided p value of equal AUCs, DeLong's test (with groups: Obuchowski's form of it); NaN if the
            set is too small or too easy for the test.
        p_holm: The same, corrected for the number of rows.
    """

    name: str
    videos: int
    fakes: int
    auc_a: float
    auc_b: float
    difference: float
    low: float
    high: float
    method: str
    p: float
    p_holm: float = float('nan')

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON, NaN as None."""
        return {
            key: None if isinstance(value, float) and np.isnan(value) else value
            for key, value in asdict(self).items()
        }


@dataclass(frozen=True)
class Comparison:
    """All rows and how they were computed.

    Attributes:
        rows: Manipulations, datasets, and everything last, as in the table of one evaluation.
        level: Confidence level.
        groups: Column that videos were grouped by; None: every video by itself.
        num_groups: Different groups; None without groups.
        unequal_frames: Number of videos with different numbers of frames in A and B.
    """

    rows: tuple[ComparedRow, ...]
    level: float
    groups: str | None
    num_groups: int | None
    unequal_frames: int


def _examples(names: Names) -> str:
    return ', '.join(names[:3].tolist()) + (', ...' if names.size > 3 else '')


def _check_same_videos(one: ScoredSet, two: ScoredSet) -> None:
    if not np.array_equal(one.keys, two.keys):
        only = [np.setdiff1d(a.keys, b.keys, assume_unique=True) for a, b in ((one, two), (two, one))]
        parts = [
            f'{names.size} only in {side} ({_examples(names)})'
            for side, names in zip('AB', only, strict=True)
            if names.size
        ]
        raise InputError(
            f'the score files are of different videos: {" and ".join(parts)}, '
            f'{one.keys.size - only[0].size} in both; evaluate both models on the same set'
        )
    facts = {
        'labels': (one.videos.labels, two.videos.labels),
        'datasets': (one.videos.datasets, two.videos.datasets),
        'manipulations': (one.videos.methods, two.videos.methods),
    }
    for what, (a, b) in facts.items():
        differ = a != b
        if differ.any():
            raise InputError(
                f'the score files give {int(differ.sum())} of {differ.size} videos different {what} '
                f'({_examples(one.keys[differ])}); evaluate both models with the same index'
            )


def _groups(
    column: str | None, scores: Sequence[FrameScores], sets: Sequence[ScoredSet]
) -> npt.NDArray[np.object_] | None:
    """Group of each video, (V,) str or None; what A lacks is taken from B."""
    if column is None:
        return None
    if column not in GROUPS:
        raise InputError(f'groups={column!r} is unknown; choose one of {", ".join(GROUPS)}')
    names, other = (getattr(s, column)[found.first] for s, found in zip(scores, sets, strict=True))
    names = np.where(names == None, other, names)  # noqa: E711
    if all(name is None for name in names):
        raise InputError(
            f'neither score file has a {column}: they were made by an earlier version, or the index does not '
            'have it; test again, or leave --groups out'
        )
    return persons(sets[0].videos.datasets, names)


def compare_scores(
    first: FrameScores,
    second: FrameScores,
    *,
    how: str = 'mean',
    k: int = 3,
    level: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
    groups: str | None = None,
) -> Comparison:
    """Compare the video AUC of two detectors on every manipulation, every dataset and everything.

    Args:
        first: Scores of detector A.
        second: Scores of detector B, of the same videos; the frames may differ.
        how: How the scores of frames are aggregated, see
            :func:`~iid_mm.evaluation.functional.aggregate.video_scores`.
        k: Frames of ``how='topk'``.
        level: Confidence level of the intervals.
        resamples: Resamples of the paired bootstrap.
        seed: Seed of the resamples.
        groups: 'target_id': videos of one person are resampled together, and count as dependent in the test.
            None: every video by itself.

    Returns:
        The comparison.

    Raises:
        InputError: The files are of different videos or disagree on their labels, datasets or manipulations;
            one is empty or has a score that is NaN; ``groups`` is not known for any video.
        OneClassError: A row has no genuine or no fake videos.
    """
    scores = (first, second)
    sets = [side.by_video(how, k, name=f'score file {name}') for name, side in zip('AB', scores, strict=True)]
    _check_same_videos(*sets)
    names = _groups(groups, scores, sets)
    rows = []
    for subset in sets[0].subsets:
        chosen = sets[0].videos.mask(subset)
        a, b = (found.videos.scores[chosen] for found in sets)
        labels = sets[0].videos.labels[chosen]
        check_both_classes(labels, name=subset.title, unit='videos')
        of_row = None if names is None else names[chosen]
        test = delong_covariance([a, b], labels, groups=of_row, name=subset.title)
        change = bootstrap_difference(
            *(a, b, labels),
            groups=of_row,
            resamples=resamples,
            level=level,
            seed=seed,
            name=subset.title,
        )
        rows.append(
            ComparedRow(
                *(subset.name, labels.size, int(labels.sum()), change.first, change.second),
                *change.interval,
                p=test.p_value(),
            )
        )
    corrected = holm([row.p for row in rows])
    counts = [np.bincount(side.coded('video_key').codes) for side in scores]
    return Comparison(
        rows=tuple(replace(row, p_holm=float(p)) for row, p in zip(rows, corrected, strict=True)),
        level=level,
        groups=groups,
        num_groups=None if names is None else len(set(names.tolist()) - {None}),
        unequal_frames=int(np.count_nonzero(counts[0] != counts[1])),
    )


def _probability(p: float) -> str:
    if np.isnan(p):
        return UNDEFINED
    return '≤ 0.001' if p < 0.001 else f'{p:.3f}'


def comparison_table(found: Comparison) -> str:
    """Lay a comparison out as a Markdown table: AUC in percent, differences in percentage points."""
    level = f'{100 * found.level:g} % interval'
    table = [['fakes', 'videos (fake)', 'AUC A', 'AUC B', 'B - A', level, 'p', 'p (Holm)']]
    for row in found.rows:
        table.append(
            [
                *(row.name, f'{row.videos} ({row.fakes})', percent(row.auc_a), percent(row.auc_b)),
                f'{100 * row.difference:+.2f}',
                f'{100 * row.low:+.2f} to {100 * row.high:+.2f}',
                _probability(row.p),
                _probability(row.p_holm),
            ]
        )
    return '\n'.join(markdown_table(table, texts=1))


def conclusion(found: Comparison) -> str:
    """Say in one sentence what the last row, the whole set, shows.

    A difference counts as shown if the interval excludes 0 and the p value, corrected for the number of rows,
    is below 1 - level.
    """
    row = found.rows[-1]
    units = f'{row.videos} videos' + (f' of {found.num_groups} persons' if found.groups else '')
    points = f'{100 * abs(row.difference):.2f} points'
    interval = f'{100 * found.level:g} % interval {100 * row.low:+.2f} to {100 * row.high:+.2f}'
    side = 'higher' if row.difference > 0 else 'lower'
    if np.isnan(row.p_holm):
        return (
            f'No test is possible: these {units} are too few or too easy to tell how much of the difference '
            f'of {100 * row.difference:+.2f} points is chance ({interval}).'
        )
    p = _probability(row.p_holm)
    p = f'p {p}' if p.startswith('≤') else f'p = {p}'
    p += f', corrected for {len(found.rows)} comparisons' if len(found.rows) > 1 else ''
    if row.low > 0 or row.high < 0:
        if row.p_holm < 1 - found.level:
            better, worse = ('B', 'A') if row.difference > 0 else ('A', 'B')
            return (
                f'{better} separates fakes from genuine videos better than {worse}: on these {units} its AUC '
                f'is {points} higher ({interval} for B - A), which chance alone would rarely produce ({p}).'
            )
        return (
            f'It is not clear that A and B differ: on these {units} the AUC of B is {points} {side} and the '
            f'{interval} excludes 0, but chance alone could produce this ({p}).'
        )
    if row.difference == 0:
        return f'On these {units} the AUC of A and B is the same ({interval}, {p}).'
    return (
        f'These {units} do not show that A and B differ: the AUC of B is {points} {side}, but the {interval} '
        f'is compatible with no difference ({p}).'
    )
