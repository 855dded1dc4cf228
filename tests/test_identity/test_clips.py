# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from iid_mm.errors import InputError
from iid_mm.identity.clips import draw_split, select_clips, shuffle_identities, time_blocks
from iid_mm.identity.extraction import extract, face_datasets

from .planted import clips_of


def test_fakes_are_in_the_clip_of_their_genuine_recording(
    tiny: tuple[Any, Any], takes: list[Path], tmp_path: Path
) -> None:
    cfg, model = tiny
    faces = extract(model, face_datasets(cfg, takes, split='test'), ['logits'], tmp_path)
    genuine, both = select_clips(faces), select_clips(faces, 'both')
    assert genuine.names == both.names == ['200', '201', '202']
    assert (genuine.rows.size, both.rows.size) == (27, 81)
    assert np.unique(genuine.clip).size == np.unique(both.clip).size == 9
    # Every fake has the source 999.
    with pytest.raises(InputError, match='needs at least 2 such'):
        select_clips(faces, 'fakes', 'source')


def test_splits_hold_out_whole_clips_of_everyone() -> None:
    identity, clip = clips_of(6, 4, 5)
    splits = [draw_split(identity, clip, seed) for seed in range(4)]
    tests = [test for _, test in splits]
    for train, test in splits:
        np.testing.assert_array_equal(train, ~test)
        assert not set(clip[test]) & set(clip[~test])
        assert [np.unique(clip[test & (identity == k)]).size for k in range(6)] == [1] * 6
    assert any((tests[0] != other).any() for other in tests[1:])
    np.testing.assert_array_equal(tests[2], draw_split(identity, clip, 2)[1])


def test_shuffling_moves_whole_clips_and_keeps_counts() -> None:
    identity, clip = clips_of(6, 4, 5)
    shuffled = shuffle_identities(identity, clip, 0)
    assert (shuffled != identity).any()
    assert np.unique(np.stack([clip, shuffled]), axis=1).shape[1] == 24
    np.testing.assert_array_equal(np.bincount(shuffled), np.bincount(identity))


def test_time_blocks_leave_a_gap() -> None:
    order = np.arange(8)[::-1]
    assert time_blocks(np.zeros(8, int), order).tolist() == [3, 3, -1, 2, -1, 1, -1, 0]
    with pytest.raises(InputError, match='7 frames'):
        time_blocks(np.zeros(7, int), np.arange(7))
