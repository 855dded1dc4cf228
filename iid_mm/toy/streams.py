# SPDX-License-Identifier: Apache-2.0
"""Named random streams: one independent generator for every factor of the toy dataset.

A factor such as the pose of track 7 has its own stream, so that drawing it never depends on what
was drawn before, on the number of workers or on the order of the videos.
"""

from __future__ import annotations

import zlib

import numpy as np


def stream(seed: int, name: str, *keys: int | str) -> np.random.Generator:
    """Open the stream ``name`` with the given keys.

    Args:
        seed: Seed of the whole set, >= 0.
        name: Name of the factor, e.g. ``'pose'``.
        *keys: Integers >= 0 or names that number the draw, e.g. the index of the track.

    Returns:
        A generator that is the same on every machine and in every process.
    """
    words = [seed, _word(name), *(_word(key) for key in keys)]
    return np.random.default_rng(np.random.SeedSequence(words))


def _word(key: int | str) -> int:
    """Turn a key into a stable integer (Python's hash() differs between processes)."""
    return zlib.crc32(key.encode()) if isinstance(key, str) else int(key)
