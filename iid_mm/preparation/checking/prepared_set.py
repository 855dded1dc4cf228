# SPDX-License-Identifier: Apache-2.0
"""A prepared set: its index, with boxes in place of the landmarks, and the report next to it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from iid_mm.datasets.index import INDEX_SCHEMA, LANDMARK_COUNTS, read_index
from iid_mm.errors import InputError, InvalidIndexError
from iid_mm.utils.files import read_json
from iid_mm.utils.parquet import check_size, open_parquet

# Nine tenths of an index are landmarks. They are read in pieces and reduced to boxes.
_COLUMNS = [name for name in INDEX_SCHEMA.names if name != 'landmarks']
_SETTINGS_KEY = b'iid_mm.preparation'
T = TypeVar('T')


@dataclass(frozen=True)
class Video:
    """One video of an index.

    Attributes:
        key: Its key.
        dataset: Dataset.
        method: Method.
        compression: Compression level.
        name: Name of the video in its key.
        label: 0 = genuine, 1 = fake.
        split: Split.
        target_id: Person whose head is shown; None if unknown.
        source_id: Person whose face was inserted; None if genuine or unknown.
        frames: Frames in the index.
    """

    key: str
    dataset: str
    method: str
    compression: str
    name: str
    label: int
    split: str
    target_id: str | None
    source_id: str | None
    frames: int

    @property
    def identities(self) -> set[str]:
        """The people whose head or face it shows, as far as known."""
        return {identity for identity in (self.target_id, self.source_id) if identity is not None}


@dataclass(frozen=True)
class Report:
    """What ``report.json`` says; what it lacks is None or empty.

    Attributes:
        problem: Why it cannot be used; empty if it can.
        settings: Settings of the preparation.
        asked: Frames that were wanted.
        found: Frames with a face.
        missing: Videos that a list of the dataset names and that are not on disk.
        left_out: Reason of each video that was left out.
        given_up: Video -> numbers of its frames without a face.
        problems: Videos and what was noted about them.
        faceless: Number of videos that gave no frame, by the counts of the methods.
    """

    problem: str = ''
    settings: dict[str, Any] | None = None
    asked: int | None = None
    found: int | None = None
    missing: Sequence[str] = ()
    left_out: Sequence[str] = ()
    given_up: Mapping[str, list[Any]] = field(default_factory=dict)
    problems: Sequence[tuple[str, str]] = ()
    faceless: int = 0

    @classmethod
    def read(cls, path: Path) -> Report:
        """Read the report of a preparation; what is not of the right type counts as missing."""
        if not path.is_file():
            return cls('there is no report.json next to the index')
        try:
            raw = read_json(path)
        except (OSError, ValueError) as error:
            return cls(f'report.json cannot be read ({error})')
        if not isinstance(raw, dict) or not isinstance(raw.get('settings'), dict):
            return cls('report.json is not the report of a preparation')

        def get(key: str, kind: type[T]) -> T:
            return value if isinstance(value := raw.get(key), kind) else kind()

        asked, found = raw.get('frames_asked'), raw.get('frames_found')
        methods = [entry for entry in get('methods', dict).values() if isinstance(entry, dict)]
        problems = [entry for entry in get('problems', list) if isinstance(entry, dict)]
        given_up = get('given_up', dict).items()
        counts = [entry.get('videos_without_face') for entry in methods]
        return cls(
            settings=raw['settings'],
            asked=asked if isinstance(asked, int) else None,
            found=found if isinstance(found, int) else None,
            missing=sorted(map(str, get('missing', list))),
            left_out=[str(reason) for reason in get('left_out', dict).values()],
            given_up={str(key): frames for key, frames in given_up if frames and isinstance(frames, list)},
            problems=[
                (entry['video'], str(entry.get('reason', '')))
                for entry in problems
                if isinstance(entry.get('video'), str)
            ],
            faceless=sum(count for count in counts if isinstance(count, int)),
        )


@dataclass
class PreparedSet:
    """An index with what belongs to it.

    Attributes:
        path: The index.
        name: Name in messages.
        table: The index without landmarks, in the order of the file.
        video_codes: (n,) number of the video of each row in :attr:`videos`.
        videos: Its videos, in the order in which they appear.
        boxes: (n, 4) float32 bounding boxes of the landmarks, x0, y0, x1, y1, pixels of the crop.
        points: (n,) number of landmarks of each row.
        settings: Settings of the preparation; None if the index does not say.
        report: The report next to the index.
    """

    path: Path
    name: str
    table: pa.Table
    video_codes: npt.NDArray[np.int64]
    videos: list[Video]
    boxes: npt.NDArray[np.float32]
    points: npt.NDArray[np.int64]
    settings: dict[str, Any] | None
    report: Report

    @property
    def root(self) -> Path:
        """Folder to which the paths of the index are relative."""
        return self.path.parent

    @property
    def rows(self) -> int:
        """Number of rows."""
        return int(self.table.num_rows)

    def column(self, name: str) -> pa.Array:
        """A column in one piece."""
        return _one_piece(self.table.column(name))

    @property
    def windows(self) -> npt.NDArray[np.int64]:
        """(n, 4) crop windows, x0, y0, x1, y1, pixels of the frame."""
        values = self.column('crop_window').flatten().to_numpy(zero_copy_only=False)
        return np.asarray(values, np.int64).reshape(-1, 4)

    @property
    def faceless(self) -> tuple[int, list[str]]:
        """Videos that gave no sample: their number, and the names that the report gives."""
        noted = {*self.report.given_up, *(video for video, _ in self.report.problems)}
        names = sorted(noted - {video.key for video in self.videos})
        return max(self.report.faceless, len(names)), names

    def numbers(self, name: str) -> npt.NDArray[Any]:
        """A column of numbers without nulls."""
        return np.asarray(self.column(name).to_numpy(zero_copy_only=False))

    def rows_by_kind(self, rows: npt.NDArray[np.int64]) -> Iterator[tuple[str, npt.NDArray[np.int64]]]:
        """Split rows by dataset, method and compression, sorted by the name of this kind."""
        names = [f'{video.dataset}/{video.method}/{video.compression}' for video in self.videos]
        kinds, codes = np.unique(np.array(names, np.str_), return_inverse=True)
        of_row = codes[self.video_codes[rows]]
        for code in np.unique(of_row):
            yield str(kinds[code]), rows[of_row == code]

    def texts(self, name: str, rows: Sequence[int] | npt.NDArray[Any]) -> list[Any]:
        """Values of a column in a few rows."""
        taken = self.column(name).take(pa.array(np.asarray(rows, np.int64)))
        return list(taken.to_pylist())

    def landmarks(self, rows: Sequence[int]) -> list[npt.NDArray[np.float32]]:
        """Landmarks of a few rows, each (K, 2); only the parts of the file that hold them are read."""
        wanted: dict[int, npt.NDArray[np.float32]] = {}
        with pq.ParquetFile(self.path) as file:
            start = 0
            for group in range(file.num_row_groups):
                count = file.metadata.row_group(group).num_rows
                mine = sorted({row for row in rows if start <= row < start + count})
                if mine:
                    lists = file.read_row_group(group, columns=['landmarks']).column('landmarks')
                    for row in mine:
                        flat = np.asarray(lists[row - start].as_py(), np.float32)
                        wanted[row] = flat.reshape(-1, 2)
                start += count
        return [wanted[row] for row in rows]


def load_set(path: Path) -> PreparedSet:
    """Read an index and the report next to it.

    Args:
        path: The index, or the folder that holds it as ``index.parquet``.

    Returns:
        The set.

    Raises:
        FileNotFoundError: If there is no such file.
        InvalidIndexError: If it is not an index or breaks the schema.
    """
    name = path.as_posix()
    if path.is_dir() and (path / 'index.parquet').is_file():
        path = path / 'index.parquet'
    table = read_index(path, columns=_COLUMNS)
    try:
        boxes, points = _read_boxes(path, table.num_rows)
        good = bool(np.isfinite(boxes).all() and np.isin(points, LANDMARK_COUNTS).all())
    except (pa.ArrowException, OSError, InputError):
        good = False
    if not good:
        # Says which row it is, and why; its rules are those above.
        read_index(path)
        raise InvalidIndexError(f'{path}, column landmarks: the values cannot be used; make the index again')
    codes, videos = _list_videos(table)
    report = Report.read(path.parent / 'report.json')
    settings = _parse_settings(table.schema.metadata) or report.settings
    return PreparedSet(path, name, table, codes, videos, boxes, points, settings, report)


def _one_piece(column: pa.ChunkedArray) -> pa.Array:
    whole = column.combine_chunks()
    if not isinstance(whole, pa.ChunkedArray):
        return whole
    return pa.concat_arrays(whole.chunks) if whole.num_chunks else pa.array([], whole.type)


def _read_boxes(path: Path, rows: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Bounding box and number of the landmarks of every row; NaN and 0 for what is no list of points."""
    boxes = np.full((rows, 4), np.nan, np.float32)
    points = np.zeros(rows, np.int64)
    with open_parquet(path) as file:
        check_size(file, path, ['landmarks'])
        start = 0
        # Whole row groups: batches of any other size are put together again and take twice the time.
        for group in range(file.num_row_groups):
            lists = _one_piece(file.read_row_group(group, columns=['landmarks']).column(0))
            sizes = pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False)
            values = pc.list_flatten(lists).to_numpy(zero_copy_only=False)
            ends = np.cumsum(sizes)
            for size in np.unique(sizes):
                if size < 2 or size % 2:
                    continue
                mine = np.flatnonzero(sizes == size)
                if len(mine) == len(sizes):
                    flat = values.reshape(len(mine), size)
                else:
                    flat = values[(ends[mine] - size)[:, None] + np.arange(size)]
                # Contiguous coordinates: a minimum over a short last axis is several times slower.
                x, y = np.ascontiguousarray(flat[:, 0::2]), np.ascontiguousarray(flat[:, 1::2])
                boxes[start + mine] = np.stack([x.min(1), y.min(1), x.max(1), y.max(1)], axis=1)
                points[start + mine] = size // 2
            start += len(sizes)
    return boxes, points


def _list_videos(table: pa.Table) -> tuple[npt.NDArray[np.int64], list[Video]]:
    """Number of the video of each row, and the videos."""
    encoded = _one_piece(table.column('video_key')).dictionary_encode()
    codes = encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64)
    # Codes count up in order of appearance, so a video begins wherever the highest code so far rises.
    first = np.flatnonzero(np.diff(np.maximum.accumulate(codes), prepend=-1) > 0)
    frames = np.bincount(codes, minlength=len(first)).tolist()
    names = ('video_key', 'dataset', 'method', 'compression', 'label', 'split', 'target_id', 'source_id')
    rows = table.select(names).take(pa.array(first)).to_pylist()
    videos = []
    for row, count in zip(rows, frames, strict=True):
        key = row.pop('video_key')
        head = f'{row["dataset"]}/{row["method"]}/{row["compression"]}/'
        videos.append(Video(key=key, name=key.removeprefix(head), frames=count, **row))
    return codes, videos


def _parse_settings(metadata: dict[bytes, bytes] | None) -> dict[str, Any] | None:
    try:
        settings = json.loads((metadata or {}).get(_SETTINGS_KEY, b''))
    except (ValueError, RecursionError):
        return None
    return settings if isinstance(settings, dict) and settings else None
