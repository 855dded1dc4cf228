# SPDX-License-Identifier: Apache-2.0
"""Choosing some of many."""

from __future__ import annotations

from iid_mm.errors import InputError


def evenly_spaced(total: int, count: int) -> list[int]:
    """Choose frame numbers that cover a video evenly.

    The video is cut into ``count`` parts of equal length and the middle frame of each is taken, so
    that neither the first nor the last frame (often a fade or a broken one) is favored.

    Args:
        total: Number of frames of the video.
        count: How many numbers are wanted.

    Returns:
        ``min(total, count)`` different numbers in [0, total), ascending; all if ``total <= count``.

    Raises:
        InputError: If ``total`` is negative or ``count`` is not positive.
    """
    if total < 0 or count < 1:
        raise InputError(f'total={total}, count={count}: need total >= 0 and count >= 1')
    if total <= count:
        return list(range(total))
    return [(2 * part + 1) * total // (2 * count) for part in range(count)]
