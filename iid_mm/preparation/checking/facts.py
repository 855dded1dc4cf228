# SPDX-License-Identifier: Apache-2.0
"""Facts of public datasets: how many videos they hold, and which people their splits share.

Every table names its source; numbers that could not be verified are left out, not guessed. Two public
counts of the released files, made independently of each other, are cited as

* [counts]: the post "Deepfakes Datasets" of 2022-10-15, videos by folder and split of eleven sets;
* [protocols]: the table of dfwb-protocols 0.1.0, videos by label of 21 sets.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

ANY_SPLIT = 'any'
"""Stands for all splits together, in a set that comes without official ones."""

SharedIdentities: TypeAlias = Literal['error', 'by design', 'unknown']


@dataclass(frozen=True)
class ExpectedVideos:
    """How many videos of one kind an official set has.

    Attributes:
        label: 0 = genuine, 1 = fake.
        method: Method in the index; None stands for all videos of the label.
        videos: Split -> number; the split may be :data:`ANY_SPLIT`.
        optional: A part that many copies lack: nothing is missing if there is none of it.
    """

    label: int
    method: str | None
    videos: Mapping[str, int]
    optional: bool = False


@dataclass(frozen=True)
class DatasetFacts:
    """What is known of a public dataset.

    Attributes:
        title: Its name in print.
        expected: Its videos.
        shared: What it means if a person is in more than one split: ``error`` where the official split
            keeps people apart, ``by design`` where it does not, else ``unknown``.
        explanation: Why, for the reader of a report.
    """

    title: str
    expected: tuple[ExpectedVideos, ...]
    shared: SharedIdentities = 'unknown'
    explanation: str = ''


# Split files of github.com/ondyari/FaceForensics (dataset/splits): 360, 70 and 70 pairs, both orders of
# which are fakes; the same for every method, [counts]. FaceShifter came later and is often not there.
_FFPP = {'train': 720, 'val': 140, 'test': 140}
_FFPP_METHODS = ('Deepfakes', 'Face2Face', 'FaceSwap', 'NeuralTextures')
_BY_VIDEO: tuple[SharedIdentities, str] = (
    'by design',
    'the official test list chooses videos, not people: the same celebrities are in both parts',
)
# dataset/README.md of github.com/EndlessSora/DeeperForensics-1.0: 11 variants of 1,000 videos, "the video
# number ratio of our splits ... is 703 : 96 : 201". Its genuine videos belong to FaceForensics++.
_DEEPER = {'train': 703, 'val': 96, 'test': 201}
_DEEPER_VARIANTS = (
    *(f'end_to_end_level_{level}' for level in range(1, 6)),
    'end_to_end_random_level',
    *(f'end_to_end_mix_{number}_distortions' for number in (2, 3, 4)),
    'reenact_postprocess',
)

FACTS: dict[str, DatasetFacts] = {
    'ffpp': DatasetFacts(
        'FaceForensics++',
        (
            ExpectedVideos(0, 'youtube', _FFPP),
            *(ExpectedVideos(1, method, _FFPP) for method in _FFPP_METHODS),
            ExpectedVideos(1, 'FaceShifter', _FFPP, optional=True),
        ),
        'error',
        'the official split keeps both videos of a pair in one split',
    ),
    'dfd': DatasetFacts(
        'DeepFakeDetection',
        # 363 in dataset/README.md of github.com/ondyari/FaceForensics, which says "over 3000" of the
        # fakes; 3,068 in [counts] and [protocols].
        (ExpectedVideos(0, None, {ANY_SPLIT: 363}), ExpectedVideos(1, None, {ANY_SPLIT: 3068})),
        explanation='there is no official split; 28 actors appear in all scenes',
    ),
    'celebdf_v1': DatasetFacts(
        'Celeb-DF (v1)',
        # README of Celeb-DF-v1 in github.com/yuezunli/celeb-deepfakeforensics: 408 (158 + 250 in its first
        # version) and 795. Test list: 8, 30 and 62 in DeepfakeBench's Celeb-DF-v1.json, which follows it.
        (
            ExpectedVideos(0, 'Celeb-real', {'train': 150, 'test': 8}),
            ExpectedVideos(0, 'YouTube-real', {'train': 220, 'test': 30}),
            ExpectedVideos(1, 'Celeb-synthesis', {'train': 733, 'test': 62}),
        ),
        *_BY_VIDEO,
    ),
    'celebdf_v2': DatasetFacts(
        'Celeb-DF (v2)',
        # README of github.com/yuezunli/celeb-deepfakeforensics: 590, 300, 5,639, and 518 in the test list;
        # a public copy of List_of_testing_videos.txt has 108, 70 and 340. The same in [counts].
        (
            ExpectedVideos(0, 'Celeb-real', {'train': 482, 'test': 108}),
            ExpectedVideos(0, 'YouTube-real', {'train': 230, 'test': 70}),
            ExpectedVideos(1, 'Celeb-synthesis', {'train': 5299, 'test': 340}),
        ),
        *_BY_VIDEO,
    ),
    'dfdc': DatasetFacts(
        'DFDC',
        # Dolhansky et al. 2020, arXiv 2006.07397: 119,154 training clips of which 100,000 are fake, 4,000
        # public test clips, half of them fake. The released test set: 5,000, half fake, [counts] and issue
        # 63 of github.com/SCLBD/DeepfakeBench.
        (
            ExpectedVideos(0, None, {'train': 19154, 'val': 2000, 'test': 2500}),
            ExpectedVideos(1, None, {'train': 100000, 'val': 2000, 'test': 2500}),
        ),
    ),
    'dfdcp': DatasetFacts(
        'DFDC Preview',
        # Counted in dataset.json as released, [counts] and issue 63 of github.com/SCLBD/DeepfakeBench;
        # 1,131 and 4,119 in [protocols]. The paper, arXiv 1910.08854, has 4,113 fakes.
        (
            ExpectedVideos(0, None, {'train': 855, 'test': 276}),
            ExpectedVideos(1, 'method_A', {'train': 3501, 'test': 474}),
            ExpectedVideos(1, 'method_B', {'train': 117, 'test': 27}),
        ),
    ),
    'deeperforensics': DatasetFacts(
        'DeeperForensics-1.0',
        (
            ExpectedVideos(1, 'end_to_end', _DEEPER),
            *(ExpectedVideos(1, variant, _DEEPER, optional=True) for variant in _DEEPER_VARIANTS),
        ),
        'by design',
        'the official split keeps the actors apart (source), not the people of the target videos',
    ),
    'wilddeepfake': DatasetFacts(
        'WildDeepfake',
        # Paper (arXiv 2101.01456) and README of github.com/OpenTAI/wild-deepfake: 7,314 sequences; 3,805
        # and 3,509 in [protocols]. Split of the genuine ones and 410 fakes to test: [counts], whose copy
        # lacks two of the fakes to train.
        (
            ExpectedVideos(0, None, {'train': 3409, 'test': 396}),
            ExpectedVideos(1, None, {'train': 3099, 'test': 410}),
        ),
        explanation='who is in a sequence is not recorded',
    ),
    'ffiw': DatasetFacts(
        'FFIW-10K',
        # As released, [counts]; 9,988 of each in [protocols]. The paper (arXiv 2103.04570) has 10,000.
        (
            ExpectedVideos(0, None, {'train': 8000, 'val': 250, 'test': 1738}),
            ExpectedVideos(1, None, {'train': 8000, 'val': 250, 'test': 1738}),
        ),
    ),
}
"""Name in the index -> facts."""

_OTHER_NAMES = {
    'ff++': 'ffpp',
    'faceforensics': 'ffpp',
    'faceforensics++': 'ffpp',
    'deepfakedetection': 'dfd',
    'celebdf': 'celebdf_v2',
    'celebdfv1': 'celebdf_v1',
    'celebdfv2': 'celebdf_v2',
    'dfdcpreview': 'dfdcp',
    'deeperforensics1.0': 'deeperforensics',
    'ffiw10k': 'ffiw',
}

SHARED_TARGETS = (('deeperforensics', 'ffpp'),)
"""Sets whose target videos are those of another set, under the same ids."""


def facts_name(dataset: str) -> str | None:
    """Key of :data:`FACTS` for a name in an index, whatever its spelling; None if it is unknown."""
    if dataset in FACTS:
        return dataset
    plain = re.sub(r'[\s_-]', '', dataset.lower())
    return plain if plain in FACTS else _OTHER_NAMES.get(plain)


def facts_of(dataset: str) -> DatasetFacts:
    """Facts of a dataset by its name in an index; nothing but the name if it is not a known public one."""
    name = facts_name(dataset)
    return FACTS[name] if name else DatasetFacts(dataset, ())
