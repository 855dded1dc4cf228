# SPDX-License-Identifier: Apache-2.0
"""Configuration of the toy dataset, its splits and its videos."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from iid_mm.errors import InputError
from iid_mm.toy.clip import Factors
from iid_mm.toy.manipulations import METHODS
from iid_mm.toy.streams import stream

GENERATOR_VERSION = 2
"""Incremented whenever equal configurations would give different frames than before."""

SPLITS = ('train', 'val', 'test')


@dataclass(frozen=True)
class ToyConfig:
    """Contents of the toy dataset.

    Args:
        num_identities: Number of people; even, each has one genuine video.
        frames: Frames a video.
        size: Width and height of the frames in pixels; even, at least 96.
        fps: Frames a second.
        methods: The manipulations.
        split_fractions: Shares of the people in train, val and test; no person is in two splits.
        pairs_per_identity: Number of pairs of each person; every pair gives two fakes per method, one in each
            direction.
        seed: Random seed.
        crf: Constant rate factor of H.264, 0 (best) to 51; 23 as in FaceForensics++ c23.
        strength: Visibility of the manipulation traces: 1 is subtle, 2 is obvious.
        take: Number of the recording session. Datasets that differ only in ``take`` show the same people,
            pairs and splits with other poses, expressions, light, background and camera.

    Raises:
        InputError: A value is out of range or the splits cannot hold the pairs.
    """

    num_identities: int = 24
    frames: int = 16
    size: int = 160
    fps: int = 25
    methods: Sequence[str] = tuple(METHODS)
    split_fractions: tuple[float, float, float] = (0.7, 0.15, 0.15)
    pairs_per_identity: int = 1
    seed: int = 0
    crf: int = 23
    strength: float = 1.0
    take: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, 'methods', tuple(self.methods))
        object.__setattr__(self, 'split_fractions', tuple(self.split_fractions))
        for method in self.methods:
            if method not in METHODS:
                raise InputError(
                    f'methods: unknown manipulation {method!r}; choose from {", ".join(METHODS)}'
                )
        if len(set(self.methods)) != len(self.methods):
            raise InputError(f'methods: {list(self.methods)} names a method twice')
        self._check_range('frames', self.frames, 1, 10**6)
        self._check_range('size', self.size, 96, 2048)
        self._check_range('fps', self.fps, 1, 240)
        self._check_range('seed', self.seed, 0, 2**32 - 1)
        self._check_range('crf', self.crf, 0, 51)
        self._check_range('num_identities', self.num_identities, 2, 1000)
        self._check_range('pairs_per_identity', self.pairs_per_identity, 1, 999)
        self._check_range('take', self.take, 0, 999)
        if not 0 < self.strength <= 3:
            raise InputError(f'strength is {self.strength}; it must lie above 0 and not above 3')
        if self.size % 2:
            raise InputError(f'size is {self.size} but H.264 needs an even size')
        shares = self.split_fractions
        if len(shares) != 3 or min(shares) < 0 or abs(sum(shares) - 1) > 1e-6:
            raise InputError(f'split_fractions is {shares}; give three numbers >= 0 that sum to 1')
        self._check_splits()

    @staticmethod
    def _check_range(name: str, value: int, low: int, high: int) -> None:
        if not low <= value <= high:
            raise InputError(f'{name} is {value}; it must lie between {low} and {high}')

    def _check_splits(self) -> None:
        used = sum(share > 0 for share in self.split_fractions)
        if self.num_identities % 2:
            raise InputError(
                f'num_identities is {self.num_identities} but people come in pairs; give an even number'
            )
        if self.num_identities < 2 * used:
            raise InputError(
                f'num_identities is {self.num_identities}, too few for a pair in each of '
                f'{used} splits; give at least {2 * used}'
            )
        smallest = min(count for count in self.split_sizes() if count)
        if self.pairs_per_identity >= smallest:
            raise InputError(
                f'pairs_per_identity is {self.pairs_per_identity} but the smallest split has '
                f'{smallest} people; give at most {smallest - 1} or raise num_identities'
            )

    def split_sizes(self) -> tuple[int, ...]:
        """Number of people in train, val and test; all even."""
        pairs = self.num_identities // 2
        exact = [share * pairs for share in self.split_fractions]
        counts = [max(int(value + 1e-9), 1) if value > 0 else 0 for value in exact]
        while sum(counts) != pairs:
            step = 1 if sum(counts) < pairs else -1
            # Adjust the split that is furthest from its share; none becomes empty.
            open_splits = [i for i in range(3) if exact[i] > 0 and counts[i] + step >= 1]
            best = max(open_splits, key=lambda i: (step * (exact[i] - counts[i]), -i))
            counts[best] += step
        return tuple(2 * count for count in counts)

    def to_dict(self) -> dict[str, Any]:
        """The configuration as JSON holds it."""
        values = asdict(self)
        values['methods'] = list(self.methods)
        values['split_fractions'] = list(self.split_fractions)
        if not self.take:
            # Datasets from before there were takes have no such key.
            del values['take']
        return values


@dataclass(frozen=True)
class FakePlan:
    """One fake video.

    Args:
        method: The manipulation.
        target: Number of the person whose video is manipulated.
        source: Number of the person whose face or expression is transferred.
    """

    method: str
    target: int
    source: int

    @property
    def name(self) -> str:
        """Name of the video without suffix."""
        return f'{self.target:03d}_{self.source:03d}'


def draw_splits(config: ToyConfig) -> dict[str, list[tuple[int, int]]]:
    """Draw the pairs of every split.

    Args:
        config: The configuration.

    Returns:
        Pairs of people by split; no person is in two splits, each is in
        ``pairs_per_identity`` pairs.
    """
    order = stream(config.seed, 'splits').permutation(config.num_identities).tolist()
    splits: dict[str, list[tuple[int, int]]] = {}
    start = 0
    for name, count in zip(SPLITS, config.split_sizes(), strict=True):
        members = order[start : start + count]
        start += count
        pairs: list[tuple[int, int]] = []
        rounds = config.pairs_per_identity if members else 0
        for _ in range(rounds):
            # Round robin: the first stays, the others move one place each round.
            pairs += [(members[i], members[-1 - i]) for i in range(count // 2)]
            members = [members[0], members[-1], *members[1:-1]]
        splits[name] = pairs
    return splits


def plan_genuine(config: ToyConfig) -> dict[str, Factors]:
    """Factors of every genuine video, by its name."""
    return {f'{i:03d}': genuine_factors(config, i) for i in range(config.num_identities)}


def genuine_factors(config: ToyConfig, identity: int) -> Factors:
    """Factors of a person's genuine video, unique to the person and the take."""
    # A dataset has at most 1000 people.
    draw = identity + 1000 * config.take
    return Factors(identity, draw, draw, draw, draw, draw)


def plan_fakes(config: ToyConfig) -> list[FakePlan]:
    """All fake videos: every method, every pair, both orders."""
    pairs = [pair for split in draw_splits(config).values() for pair in split]
    both = [order for a, b in pairs for order in ((a, b), (b, a))]
    return [FakePlan(method, t, s) for method in config.methods for t, s in both]
