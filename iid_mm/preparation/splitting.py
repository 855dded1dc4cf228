# SPDX-License-Identifier: Apache-2.0
"""A validation split for sets that come without one."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

from iid_mm.structures.video_record import VideoRecord


def move_to_val(records: Sequence[VideoRecord], fraction: float) -> list[VideoRecord]:
    """Move part of the training videos to ``val``.

    Whole people move: all videos with one target identity, or where it is unknown a genuine video with
    its fakes. Who moves follows from the names alone, so it is the same on every machine.

    Args:
        records: All videos.
        fraction: Expected part of the training people that moves, in [0, 1).

    Returns:
        The records in the same order.
    """

    def moves(record: VideoRecord) -> bool:
        person = record.target_id or record.pair or record.key
        digest = hashlib.sha256(f'{record.dataset}/{person}'.encode()).digest()
        return int.from_bytes(digest[:8], 'big') / 2**64 < fraction

    return [
        replace(record, split='val') if record.split == 'train' and moves(record) else record
        for record in records
    ]
