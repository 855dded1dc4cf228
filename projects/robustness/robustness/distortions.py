# SPDX-License-Identifier: Apache-2.0
"""The distortions and the strength of each at each level.

Seven kinds at five levels are those of DeeperForensics-1.0 (Jiang et al., CVPR 2020, arXiv 2001.03024). The
paper names them; their strengths are in the authors' program, ``perturbation/add_distortion_to_video.py``
and ``perturbation/distortions.py`` of https://github.com/EndlessSora/DeeperForensics-1.0 (read at commit
7589587), and are repeated here as facts. Three of them do not do what their name says, or depend on the
image:

* *JPEG compression* (``JPEG``, 2 to 6) encodes nothing: it shrinks the image by this factor and enlarges it
  again. The authors confirm it in issue 6 of their repository, and later papers call it pixelation. Here
  that is :data:`downscaling <DISTORTIONS>`, and ``jpeg`` is a real JPEG encoding at the five qualities of
  ImageNet-C (Hendrycks and Dietterich, ICLR 2019; ``ImageNet-C/create_c/make_imagenet_c.py`` of
  https://github.com/hendrycks/robustness). To compare with published metrics of DeeperForensics' JPEG, take
  ``downscaling``.
* *Color contrast change* multiplies all values, so that the image gets darker too. Kept.
* *Block-wise distortion* pastes ``n * floor(shorter side / 256)`` gray squares of 8 x 8 px, which is none
  at all on crops below 256 px. Here it is ``n * shorter side / 256``, rounded.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from iid_mm.errors import InputError

LEVELS = (1, 2, 3, 4, 5)
"""Levels from weak to strong; level 0 is the clean image."""
CLEAN = 0


@dataclass(frozen=True)
class Distortion:
    """One kind of distortion.

    Attributes:
        name: Name in commands and files.
        title: Name in tables.
        parameter: What :attr:`values` measure.
        values: Strength at levels 1 to 5.
        source: Where the values come from.
    """

    name: str
    title: str
    parameter: str
    values: tuple[float, float, float, float, float]
    source: str


_DF = 'DeeperForensics-1.0'
_ALL = (
    Distortion(
        'saturation', 'color saturation', 'factor of the chroma', (0.4, 0.3, 0.2, 0.1, 0.0), f'{_DF}, CS'
    ),
    Distortion(
        'contrast', 'color contrast', 'factor of all values', (0.85, 0.725, 0.6, 0.475, 0.35), f'{_DF}, CC'
    ),
    Distortion(
        'block_wise', 'block-wise', '8 x 8 px blocks a 256 px side', (16, 32, 48, 64, 80), f'{_DF}, BW'
    ),
    Distortion(
        *('gaussian_noise', 'Gaussian noise', 'variance in YCbCr, range 1'),
        (0.001, 0.002, 0.005, 0.01, 0.05),
        f'{_DF}, GNC',
    ),
    Distortion(
        'gaussian_blur',
        'Gaussian blur',
        'kernel side (px)',
        (7, 9, 13, 17, 21),
        f'{_DF}, GB',
    ),
    Distortion('jpeg', 'JPEG compression', 'quality', (25, 18, 15, 10, 7), 'ImageNet-C'),
    Distortion('video_compression', 'video compression', 'H.264 CRF', (30, 32, 35, 38, 40), f'{_DF}, VC'),
    Distortion('downscaling', 'down-scaling', 'factor', (2, 3, 4, 5, 6), f'{_DF}, JPEG'),
)
DISTORTIONS: dict[str, Distortion] = {distortion.name: distortion for distortion in _ALL}
"""All kinds by name, in the order of the table."""


def find_distortion(kind: str) -> Distortion:
    """Look up a kind.

    Raises:
        InputError: If it is unknown.
    """
    if kind not in DISTORTIONS:
        raise InputError(f'distortion {kind!r} is unknown; choose from {", ".join(DISTORTIONS)}')
    return DISTORTIONS[kind]


def strength(kind: str, level: int) -> float:
    """Strength of a kind at a level.

    Args:
        kind: Name of the distortion.
        level: 1 to 5.

    Raises:
        InputError: If the kind is unknown or the level is none of these.
    """
    distortion = find_distortion(kind)
    if level not in LEVELS:
        raise InputError(
            f'level={level!r} of {kind}: must be one of 1 to {LEVELS[-1]}, or 0 for the clean image'
        )
    return distortion.values[level - 1]


def choose(kinds: Sequence[str] | None, levels: Iterable[int]) -> tuple[list[str], list[int]]:
    """Check a choice and bring it into the order of the table.

    Args:
        kinds: Names; None takes all.
        levels: Levels of each; 0 may be there, the clean set is tested in any case.

    Returns:
        Names in the order of :data:`DISTORTIONS` and levels from 1, ascending, both without repeats.

    Raises:
        InputError: If a name is unknown, a level is out of range, or nothing is chosen.
    """
    names = list(DISTORTIONS) if kinds is None else list(kinds)
    for name in names:
        find_distortion(name)
    wanted = set(levels) - {CLEAN}
    if bad := sorted(wanted - set(LEVELS)):
        raise InputError(f'level {bad[0]} is out of range; levels are 1 to {LEVELS[-1]}')
    if not names or not wanted:
        raise InputError('nothing to test: name at least one distortion and one level from 1 to 5')
    return [name for name in DISTORTIONS if name in names], sorted(wanted)
