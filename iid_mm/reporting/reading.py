# SPDX-License-Identifier: Apache-2.0
"""The table in sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from iid_mm.utils.tables import escaped, percent

Metrics = Mapping[str, Any]
"""A row of a report, as plain data."""

AGGREGATIONS = {
    'mean': 'the mean of the scores of its frames',
    'median': 'the median of the scores of its frames',
    'max': 'the highest score of its frames',
    'topk': 'the mean of its {k} highest frame scores',
    'logit_mean': 'the mean of the log-odds of its frames, turned back into a probability',
}


def set_title(row: Metrics, rows: Sequence[Metrics]) -> str:
    """Name of the dataset of a row in the tables."""
    name = str(row['test_set'])
    datasets = {other['dataset'] for other in rows if other['test_set'] == name}
    return f'{name}: {row["dataset"]}' if len(datasets) > 1 else name


def reading(report: Mapping[str, Any]) -> list[str]:
    """Write one paragraph on each dataset, and what to keep in mind.

    Args:
        report: Content of ``report.json``.

    Returns:
        Lines of Markdown.
    """
    rows = report['metrics']
    lines = []
    for row in rows:
        if row['manipulation'] is None:
            lines += [_paragraph(row, rows, report), '']
    return [*lines, 'To keep in mind:', '', *_cautions(report)]


def _paragraph(row: Metrics, rows: Sequence[Metrics], report: Mapping[str, Any]) -> str:
    genuine = row['videos'] - row['fake_videos']
    sentences = [
        f'**{escaped(set_title(row, rows))}.** {_count(row["videos"], "video")} got a score: {genuine} '
        f'genuine and {row["fake_videos"]} fake, {_count(row["frames"], "face")} in all.',
        'Of a genuine and a fake video picked at random, the detector gives the fake one the higher score in '
        f'{percent(row["video_auc"])} % of all pairs{_interval(row, report)}; guessing would reach 50 %.',
    ]
    low = row['intervals']['video_auc']['low']
    if low is not None and low <= 0.5:
        sentences.append(
            'The interval includes guessing: this test does not show that the detector can tell genuine from '
            'fake on this dataset.'
        )
    sentences.append(
        f'At the threshold {report["threshold"]["value"]:.4f} it called {row["false_positives"]} of '
        f'{genuine} genuine videos fake (false alarms, {percent(row["false_positives"] / genuine)} %) and '
        f'{row["false_negatives"]} of {row["fake_videos"]} fakes genuine '
        f'(misses, {percent(row["false_negatives"] / row["fake_videos"])} %).'
    )
    parts = [
        other
        for other in rows
        if (other['test_set'], other['dataset']) == (row['test_set'], row['dataset'])
        and other['manipulation'] is not None
    ]
    # A total over all sets has no parts of its own.
    worst = min(parts, key=lambda other: other['video_auc'], default=row)
    if parts and worst['video_auc'] < max(other['video_auc'] for other in parts):
        sentences.append(
            f'The hardest manipulation was {escaped(worst["manipulation"])} '
            f'(video AUC {percent(worst["video_auc"])} %).'
        )
    return ' '.join(sentences + _unscored(row, report))


def _unscored(row: Metrics, report: Mapping[str, Any]) -> list[str]:
    sentences = []
    counts = (row['without_face_genuine'], row['without_face_fake'])
    if None in counts:
        sentences.append('Whether there were videos in which no face was found is not known.')
    elif sum(counts):
        rule = 'as a wrong decision in the accuracy' if _abstains(report) else 'in no metric'
        sentences.append(
            f'In {_count(sum(counts), "further video")} no face was found ({counts[0]} genuine, {counts[1]} '
            f'fake): the detector abstains, which counts {rule}; {percent(row["coverage"])} % of the videos '
            'have a score.'
        )
    if row['unscored']:
        sentences.append(
            f'{_count(row["unscored"], "video")} of the index {"has" if row["unscored"] == 1 else "have"} '
            'no score.'
        )
    return sentences


def _abstains(report: Mapping[str, Any]) -> bool:
    return bool(report['options']['missing_as_abstention'])


def _interval(row: Metrics, report: Mapping[str, Any]) -> str:
    limits = row['intervals']['video_auc']
    if limits['low'] is None or limits['high'] is None:
        return ''
    level = f'{100 * report["options"]["confidence"]:g}'
    return f' ({level} % interval {percent(limits["low"])} to {percent(limits["high"])} %)'


def _cautions(report: Mapping[str, Any]) -> list[str]:
    options = report['options']
    how = AGGREGATIONS[options['aggregation']].format(k=options['top_k'])
    unit = 'persons' if options['bootstrap_over'] == 'identities' else 'videos'
    lines = [
        f'- The score of a video is {how}. It is not the probability that this video is fake: that also '
        'depends on how frequent fakes are among the videos in question. The calibration error and the '
        'reliability diagram show how far scores can be read as probabilities on this test set.',
        f'- The intervals show how much the AUC would vary with other {unit} of the same kind. They do not '
        'cover other manipulations, cameras, compressions or people than those tested.',
        f'- The threshold is {escaped(report["threshold"]["text"])}.',
    ]
    genuine = [row['videos'] - row['fake_videos'] for row in report['metrics']]
    if min(genuine) < 1000:
        lines.append(
            f'- {"–"} stands where a rate cannot be measured: a false alarm rate of 1 % needs at least 100 '
            'genuine videos, one of 0.1 % at least 1000.'
        )
    if len({row['test_set'] for row in report['metrics']}) > 1 and not options['pooled']:
        lines.append(
            '- There is no total over the datasets: their videos and their shares of fakes differ, so a '
            'common metric would describe none of them.'
        )
    return lines


def _count(number: int, what: str) -> str:
    return f'{number} {what}' if number == 1 else f'{number} {what}s'
