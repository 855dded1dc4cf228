# SPDX-License-Identifier: Apache-2.0
"""What splits must not have in common: videos and people, also across indexes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from iid_mm.datasets.index import SPLITS
from iid_mm.preparation.checking.facts import FACTS, SHARED_TARGETS, facts_name, facts_of
from iid_mm.preparation.checking.findings import FindingList, Severity, plural
from iid_mm.preparation.checking.prepared_set import PreparedSet, Video

ALL = 'all indexes'
REMEDIES = {
    'error': 'use the official split files; results with people seen in training are too good',
    'by design': 'say so when in-dataset results are reported; cross-dataset results are not concerned',
    'unknown': 'split by identity if in-dataset results are reported: a detector can learn who is in it',
}


def check_splits(sets: Sequence[PreparedSet], findings: FindingList) -> None:
    """Check all indexes together.

    Args:
        sets: The sets.
        findings: Takes the findings.
    """
    _check_keys(sets, findings)
    videos = [video for prepared in sets for video in prepared.videos]
    _check_compressions(videos, findings)
    for dataset in sorted({video.dataset for video in videos}):
        _check_identities(dataset, [video for video in videos if video.dataset == dataset], findings)
    _check_shared_targets(videos, findings)


def shared_identities(videos: Iterable[Video]) -> dict[str, set[str]]:
    """People that appear in more than one split.

    Args:
        videos: Videos of one dataset.

    Returns:
        Identity -> its splits, sorted by identity.
    """
    splits: dict[str, set[str]] = {}
    for video in videos:
        for identity in video.identities:
            splits.setdefault(identity, set()).add(video.split)
    return {name: found for name, found in sorted(splits.items()) if len(found) > 1}


def _in_order(splits: Iterable[str]) -> str:
    return ' and '.join(sorted(splits, key=SPLITS.index))


def _check_keys(sets: Sequence[PreparedSet], findings: FindingList) -> None:
    places: dict[str, list[tuple[str, str]]] = {}
    for prepared in sets:
        for video in prepared.videos:
            places.setdefault(video.key, []).append((prepared.name, video.split))
    apart, same = [], []
    for key, found in sorted(places.items()):
        splits = {split for _, split in found}
        if len(splits) > 1:
            apart.append(f'{key}: {_in_order(splits)}')
        elif len(found) > 1:
            same.append(f'{key}: {", ".join(name for name, _ in found)}')
    message = '{} in different splits of different indexes'
    remedy = 'do not train on one of these indexes and test on the other'
    findings.add_each('error', 'video-in-two-splits', ALL, message, apart, remedy)
    message = '{} in more than one index: used together, they count twice'
    findings.add_each(
        'warning', 'video-in-two-indexes', ALL, message, same, 'give each video to one run once'
    )


def _check_compressions(videos: Iterable[Video], findings: FindingList) -> None:
    levels: dict[str, dict[str, set[str]]] = {}
    for video in videos:
        name = f'{video.dataset}/{video.method}/{video.name}'
        levels.setdefault(name, {}).setdefault(video.compression, set()).add(video.split)
    bad = []
    for name, found in sorted(levels.items()):
        # One key in two splits of two indexes has a check of its own.
        clear = {level: next(iter(splits)) for level, splits in sorted(found.items()) if len(splits) == 1}
        if len(set(clear.values())) > 1:
            bad.append(f'{name}: ' + ', '.join(f'{level} in {split}' for level, split in clear.items()))
    message = '{} in different splits at different compression levels'
    remedy = 'split by video, not by file; prepare all levels with the same split files'
    findings.add_each('error', 'compressions-in-two-splits', ALL, message, bad, remedy)


def _check_identities(dataset: str, videos: Sequence[Video], findings: FindingList) -> None:
    shared = shared_identities(videos)
    facts = facts_of(dataset)
    kind = facts.shared if facts else 'unknown'
    severity: Severity = 'error' if kind == 'error' else 'warning'
    pairs = Counter(_in_order(splits) for splits in shared.values())
    parts = ', '.join(f'{count} in {name}' for name, count in sorted(pairs.items()))
    message = f'{{}} in more than one split ({parts})'
    if kind == 'by design':
        message += '; known and by design of the official split'
    if facts and facts.explanation:
        message += f': {facts.explanation}'
    examples = [f'{name}: {_in_order(splits)}' for name, splits in shared.items()]
    findings.add_each(
        severity, 'identity-in-two-splits', dataset, message, examples, REMEDIES[kind], 'identity'
    )


def _check_shared_targets(videos: Sequence[Video], findings: FindingList) -> None:
    """Sets made from the videos of another set: its training videos are their test videos."""

    def targets(name: str, split: str) -> set[str]:
        mine = (video for video in videos if facts_name(video.dataset) == name and video.split == split)
        return {video.target_id for video in mine if video.target_id is not None}

    for derived, original in SHARED_TARGETS:
        shared = sorted(targets(derived, 'test') & targets(original, 'train'))
        title, other = FACTS[derived].title, FACTS[original].title
        findings.add(
            'warning',
            'targets-of-other-set',
            derived,
            f'{plural(len(shared), "target video")} of the test part of {title} '
            f'seen in training on {other}: it was made from that set',
            count=len(shared),
            examples=shared,
            remedy='this is no cross-dataset test in the strict sense: '
            f'keep to targets of the test split of {other}, or say so',
        )
