# SPDX-License-Identifier: Apache-2.0
"""The choices that decide what a prepared folder holds."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from iid_mm.errors import InputError
from iid_mm.faces.cropping import CropSettings
from iid_mm.media.image_writing import DEFAULT_FORMAT, check_quality

# Raise when the same settings give other files, so that folders are not mixed.
PREPARATION_VERSION = 3


@dataclass(frozen=True)
class Settings:
    """What decides the content of a prepared folder; processes and shards do not.

    Attributes:
        layout: Layout of the dataset.
        compression: Compression level.
        methods: Manipulations that were asked for; None for all.
        analyzer: Name of the face analyzer.
        analyzer_version: Version of the library (and models) behind it.
        frames: Frames a video.
        margin: Margin around the face box on each side, as part of its longer side.
        max_side: Longest side of a stored crop, pixels.
        image_format: Suffix of the crops.
        quality: Quality of lossy ``jpg`` and ``webp``; None is lossless ``webp`` or ``png``.
        masks: Whether mask crops are written.
        keep_frames: Whether the whole frames are written, too.
        split: Split of a set without an official one; None takes the layout's default.
        val_fraction: Part of the training identities that is moved to ``val``.
        stills: Whether every image is a still of its own, not a frame of a video.
        version: Version of the preparation itself.
    """

    layout: str
    compression: str
    methods: tuple[str, ...] | None
    analyzer: str
    analyzer_version: str
    frames: int = 32
    margin: float = CropSettings.margin
    max_side: int = CropSettings.max_side
    image_format: str = DEFAULT_FORMAT
    quality: int | None = None
    masks: bool = False
    keep_frames: bool = False
    split: str | None = None
    val_fraction: float = 0.0
    stills: bool = False
    version: int = PREPARATION_VERSION

    def __post_init__(self) -> None:
        rules = (
            ('frames', self.frames >= 1, 'must be at least 1'),
            ('val_fraction', 0 <= self.val_fraction < 1, 'must lie in [0, 1)'),
        )
        for name, good, rule in rules:
            if not good:
                raise InputError(f'{name}={getattr(self, name)!r}: {rule}')
        CropSettings(self.margin, self.max_side)
        check_quality(self.image_format, self.quality)

    def to_json(self) -> str:
        """The settings as JSON, the same text for the same settings."""
        return json.dumps(asdict(self), sort_keys=True)
