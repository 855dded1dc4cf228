# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

from iid_mm.preparation.records import move_to_val
from iid_mm.structures.video_record import VideoFile, VideoRecord


def record(video, label, target, split='train', pair=None):
    key = f'd/{"fake" if label else "real"}/native/{video}'
    return VideoRecord(
        VideoFile(Path('x.mp4')), 'd', 'm', 'native', video, key, label, split, target, pair=pair
    )


def test_whole_people_move():
    records = [record(f'{t}_{n}', n % 2, f'id{t}') for t in range(400) for n in range(3)]
    moved = move_to_val(records, 0.25)
    splits = {}
    for r in moved:
        splits.setdefault(r.target_id, set()).add(r.split)
    assert all(len(found) == 1 for found in splits.values())
    share = sum(found == {'val'} for found in splits.values()) / 400
    assert 0.18 < share < 0.32
    assert move_to_val(records, 0.0) == records
    # More people move with a larger part; none comes back.
    more = {r.target_id for r in move_to_val(records, 0.5) if r.split == 'val'}
    assert {name for name, found in splits.items() if found == {'val'}} < more


def test_unknown_people_move_with_their_genuine_video_and_other_splits_stay():
    records = []
    for n in range(60):
        records += [record(f'{n}', 0, None), record(f'f{n}', 1, None, pair=f'd/real/native/{n}')]
    moved = move_to_val(records, 0.5)
    assert all(moved[i].split == moved[i + 1].split for i in range(0, 120, 2))
    assert {r.split for r in moved} == {'train', 'val'}
    test = [record('a', 0, 'id1', split='test')]
    assert move_to_val(test, 0.99) == test
