# SPDX-License-Identifier: Apache-2.0
"""The choices that decide what a prepared folder holds."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from iid_mm.errors import InputError

IMAGE_FORMATS = ('png', 'jpg', 'webp')
# Raise when the same settings give other files, so that folders are not mixed.
PREPARATION_VERSION = 1


@dataclass(frozen=True)
class Settings:
    """What decides the content of a prepared folder; the number of processes does not.

    Attributes:
        layout: Layout of the data set.
        compression: Compression level.
        methods: Manipulations that were asked for; None for all.
        analyser: Name of the face analyser.
        analyser_version: Version of the library behind it.
        frames: Frames a video.
        margin: Margin around the face box on each side, as part of its longer side.
        max_side: Longest side of a stored crop, pixels.
        image_format: Suffix of the crops.
        masks: Whether mask crops are written.
        version: Version of the preparation itself.
    """

    layout: str
    compression: str
    methods: tuple[str, ...] | None
    analyser: str
    analyser_version: str
    frames: int = 32
    margin: float = 0.25
    max_side: int = 320
    image_format: str = 'png'
    masks: bool = False
    version: int = PREPARATION_VERSION

    def __post_init__(self) -> None:
        rules = (
            ('frames', self.frames >= 1, 'must be at least 1'),
            ('margin', 0 <= self.margin <= 5, 'must lie in [0, 5]'),
            ('max_side', self.max_side >= 16, 'must be at least 16'),
            ('image_format', self.image_format in IMAGE_FORMATS, f'choose from {IMAGE_FORMATS}'),
        )
        for name, good, rule in rules:
            if not good:
                raise InputError(f'{name}={getattr(self, name)!r}: {rule}')

    def to_json(self) -> str:
        """The settings as JSON, the same text for the same settings."""
        return json.dumps(asdict(self), sort_keys=True)
