# SPDX-License-Identifier: Apache-2.0
"""Features with planted identities."""

from __future__ import annotations

import numpy as np


def clips_of(people: int, clips: int, frames: int) -> tuple[np.ndarray, np.ndarray]:
    """Identity and clip of every face."""
    clip = np.repeat(np.arange(people * clips), frames)
    return clip // clips, clip


def planted(
    people: int, clips: int, frames: int, size: int, distance: float, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Orthogonal prototypes ``distance`` apart from the origin plus unit noise."""
    identity, clip = clips_of(people, clips, frames)
    noise = np.random.default_rng(seed).normal(size=(identity.size, size))
    return noise + distance * np.eye(people, size)[identity], identity, clip
