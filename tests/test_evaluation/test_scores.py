# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from iid_mm.errors import InputError
from iid_mm.evaluation.scores import (
    SCORES_SCHEMA,
    FrameScore,
    FrameScores,
    read_scores,
    write_scores,
)


def record(video: str, frame: int, score: float = 0.5, image: str = '') -> FrameScore:
    return FrameScore(f'ffpp/A/c23/{video}', frame, image or f'{video}/{frame}.png', 'ffpp', 'A', 1, score)


def test_records_are_sorted_and_repeated_faces_removed() -> None:
    rows = [
        record('b', 0, 0.1),
        record('a', 10, 0.2),
        record('a', 9, 0.3),
        record('b', 0, 0.1),
        record('b', 0, 0.7, image='second face'),
    ]
    scores = FrameScores.from_records(rows)
    assert scores.video_key.tolist() == ['ffpp/A/c23/a'] * 2 + ['ffpp/A/c23/b'] * 2
    assert scores.frame.tolist() == [9, 10, 0, 0]
    assert scores.score.tolist() == [0.3, 0.2, 0.1, 0.7]
    assert len(scores) == 4


def test_a_scores_file_comes_back_to_the_last_bit(tmp_path: Path) -> None:
    scores = FrameScores.from_records([record('a', i, 1 / (3 + i)) for i in range(5)])
    path = write_scores(scores, tmp_path / 'new folder' / 'scores.parquet')
    again = read_scores(path)
    for name in SCORES_SCHEMA.names:
        np.testing.assert_array_equal(getattr(again, name), getattr(scores, name))
        assert getattr(again, name).dtype == getattr(scores, name).dtype
    assert pq.read_schema(path).equals(SCORES_SCHEMA)
    assert [file.name for file in path.parent.iterdir()] == ['scores.parquet']


def test_a_failed_write_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_scores(FrameScores.from_records([record('a', 0)]), tmp_path / 'scores.parquet')
    before = path.read_bytes()

    def fail(*_: object, **__: object) -> None:
        raise OSError('disk full')

    monkeypatch.setattr(pq, 'write_table', fail)
    with pytest.raises(OSError, match='disk full'):
        write_scores(FrameScores.from_records([record('b', 1)]), path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_bad_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r'none\.parquet does not exist'):
        read_scores(tmp_path / 'none.parquet')
    (tmp_path / 'text.parquet').write_text('no table')
    with pytest.raises(InputError, match='cannot be read as Parquet'):
        read_scores(tmp_path / 'text.parquet')
    pq.write_table(pa.table({'frame': [1], 'score': [0.5]}), tmp_path / 'few.parquet')
    with pytest.raises(InputError, match='has no column dataset, method, video_key, label, image'):
        read_scores(tmp_path / 'few.parquet')
