# SPDX-License-Identifier: Apache-2.0
"""Scores of single frames: in memory, and as the Parquet file that figures are recomputed from."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from iid_mm.errors import InputError
from iid_mm.evaluation.functional.checks import Labels, Scores

SCORES_SCHEMA = pa.schema(
    [
        pa.field('dataset', pa.string(), nullable=False),
        pa.field('method', pa.string(), nullable=False),
        pa.field('video_key', pa.string(), nullable=False),
        pa.field('frame', pa.int32(), nullable=False),
        pa.field('label', pa.int8(), nullable=False),
        pa.field('score', pa.float64(), nullable=False),
        pa.field('image', pa.string(), nullable=False),
    ]
)
"""Columns of a scores file: ``score`` = probability of fake, ``label`` 0 = genuine, 1 = fake."""


class FrameScore(NamedTuple):
    """Score of one face; plain values only, so that millions of them stay small."""

    video_key: str
    frame: int
    image: str
    dataset: str
    method: str
    label: int
    score: float


@dataclass(frozen=True)
class FrameScores:
    """Scores of N faces, sorted by (video_key, frame, image).

    Attributes:
        dataset: (N,) str.
        method: (N,) str, the manipulation of a fake, the source folder of a genuine one.
        video_key: (N,) str, ``dataset/method/compression/video``.
        frame: (N,) int64, number in the video.
        label: (N,) int64, 0 = genuine, 1 = fake.
        score: (N,) float64, probability of fake.
        image: (N,) str, path of the crop.
    """

    dataset: npt.NDArray[np.object_]
    method: npt.NDArray[np.object_]
    video_key: npt.NDArray[np.object_]
    frame: npt.NDArray[np.int64]
    label: Labels
    score: Scores
    image: npt.NDArray[np.object_]

    def __len__(self) -> int:
        return int(self.score.size)

    @classmethod
    def from_records(cls, records: Iterable[FrameScore]) -> FrameScores:
        """Sort the records and remove what the padding of a distributed sampler repeated.

        The same (video_key, frame, image) is the same face. The image is part of it because one
        frame can hold several faces. Of repeated records the first stays.

        Args:
            records: In any order.

        Returns:
            The scores in an order that does not depend on the order of the records, so that sums
            over them are equal to the last bit however many processes made them.
        """
        unique: dict[tuple[str, int, str], FrameScore] = {}
        for record in records:
            unique.setdefault((record.video_key, record.frame, record.image), record)
        rows = [unique[key] for key in sorted(unique)]
        return cls(
            dataset=np.array([row.dataset for row in rows], dtype=object),
            method=np.array([row.method for row in rows], dtype=object),
            video_key=np.array([row.video_key for row in rows], dtype=object),
            frame=np.array([row.frame for row in rows], dtype=np.int64),
            label=np.array([row.label for row in rows], dtype=np.int64),
            score=np.array([row.score for row in rows], dtype=np.float64),
            image=np.array([row.image for row in rows], dtype=object),
        )


def write_scores(scores: FrameScores, path: str | os.PathLike[str]) -> Path:
    """Write a scores file; a reader sees the old file or the whole new one.

    Args:
        scores: The scores; NaN is kept, so that a diverged run can be looked into.
        path: The Parquet file; its folder is made.

    Returns:
        The path.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table(
        {field.name: getattr(scores, field.name) for field in SCORES_SCHEMA}, schema=SCORES_SCHEMA
    )
    handle, temporary = tempfile.mkstemp(prefix=f'.{target.name}.', dir=target.parent)
    os.close(handle)
    try:
        pq.write_table(table, temporary, compression='zstd')
        # mkstemp makes private files; a result should be as readable as any other file of its user.
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, target)
    finally:
        Path(temporary).unlink(missing_ok=True)
    return target


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def read_scores(path: str | os.PathLike[str]) -> FrameScores:
    """Read a scores file.

    Args:
        path: A file that :func:`write_scores` wrote.

    Returns:
        The scores.

    Raises:
        FileNotFoundError: There is no such file.
        InputError: The file is not Parquet or lacks a column.
    """
    source = Path(path)
    if not source.is_file():
        raise FileNotFoundError(f'scores file {source} does not exist; tools/test.py writes one with --out')
    try:
        table = pq.read_table(source)
        missing = [name for name in SCORES_SCHEMA.names if name not in table.column_names]
        if missing:
            raise InputError(
                f'scores file {source} has no column {", ".join(missing)}; it must have '
                f'{", ".join(SCORES_SCHEMA.names)}'
            )
        table = table.select(SCORES_SCHEMA.names).cast(SCORES_SCHEMA)
    except pa.ArrowException as error:
        raise InputError(
            f'scores file {source} cannot be read as Parquet with the columns of a scores file: {error}'
        ) from error
    columns = {name: table.column(name).to_numpy() for name in SCORES_SCHEMA.names}
    columns['frame'] = columns['frame'].astype(np.int64)
    columns['label'] = columns['label'].astype(np.int64)
    return FrameScores(**columns)
