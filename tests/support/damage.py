# SPDX-License-Identifier: Apache-2.0
"""Random damage to files."""

from __future__ import annotations

import numpy as np


def damage_bytes(data: bytes, rng: np.random.Generator) -> tuple[str, bytes]:
    """Damage a file in one of seven ways.

    Args:
        data: The sound file.
        rng: Chooses the way and the places.

    Returns:
        Name of the way, and what is left of the file.
    """
    kind = str(rng.choice(['cut', 'empty tail', 'bit', 'bytes', 'zeros', 'swap', 'head']))
    out, size = bytearray(data), len(data)
    if kind == 'cut':
        del out[int(rng.integers(0, size)) :]
    elif kind == 'empty tail':
        start = int(rng.integers(0, size))
        out[start:] = bytes(size - start)
    elif kind == 'bit':
        out[int(rng.integers(0, size))] ^= 1 << int(rng.integers(0, 8))
    elif kind == 'bytes':
        for place in rng.integers(0, size, int(rng.integers(2, 40))):
            out[place] ^= int(rng.integers(1, 256))
    elif kind == 'zeros':
        start, length = int(rng.integers(0, size)), int(rng.integers(16, 4096))
        out[start : start + length] = bytes(len(out[start : start + length]))
    elif kind == 'swap':
        length = int(rng.integers(16, min(2048, size // 3)))
        a = int(rng.integers(0, size - 2 * length))
        b = int(rng.integers(a + length, size - length + 1))
        out[a : a + length], out[b : b + length] = out[b : b + length], out[a : a + length]
    else:
        start, length = int(rng.integers(0, 300)), int(rng.integers(1, 200))
        out[start : start + length] = rng.bytes(len(out[start : start + length]))
    return kind, bytes(out)
