# SPDX-License-Identifier: Apache-2.0
"""Samples of a dataset, kept as columns."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import Any, overload

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from iid_mm.datasets.storage import LmdbStorage

_NAMES = ('dataset', 'method', 'video_key', 'target_id', 'source_id')
_PATHS = {'img_path': 'image', 'source_img_path': 'source_image', 'mask_path': 'mask'}


class _Part:
    """Samples of one index."""

    def __init__(self, table: pa.Table, root: str, storage: LmdbStorage | None) -> None:
        self.root = root
        self.storage = storage
        self.size: int = table.num_rows
        # The paths were checked to stay inside the root when the index was read.
        self.paths = {key: _one_array(table[name]) for key, name in _PATHS.items()}
        self.names = {name: _coded(table[name]) for name in _NAMES}
        self.labels = table['label'].to_numpy()
        self.frames = table['frame'].to_numpy()
        landmarks = _one_array(table['landmarks'])
        self.ends = np.cumsum(pc.list_value_length(landmarks).to_numpy(zero_copy_only=False))
        self.landmarks = landmarks.flatten().to_numpy(zero_copy_only=False)

    def sample(self, row: int) -> dict[str, Any]:
        """Make the dictionary of a sample."""
        start = self.ends[row - 1] if row else 0
        made = {
            **{key: self._path(key, row) for key in _PATHS},
            **{name: values[codes[row]] for name, (codes, values) in self.names.items()},
            'landmarks': self.landmarks[start : self.ends[row]].reshape(-1, 2),
            'gt_label': int(self.labels[row]),
            'frame': int(self.frames[row]),
        }
        if self.storage is not None:
            made['storage'] = self.storage
        return made

    def _path(self, key: str, row: int) -> str | None:
        path = self.paths[key][row].as_py()
        return None if path is None else os.path.join(self.root, path)


class SampleTable(Sequence[dict[str, Any]]):
    """A sequence of samples whose dictionaries are made on access.

    A sample takes little more memory than its landmarks and paths, and forked processes share nearly all of
    it, because columns have no reference counts.
    """

    def __init__(self) -> None:
        self._parts: list[_Part] = []
        self._ends: list[int] = []

    def add(self, table: pa.Table, root: str, storage: LmdbStorage | None = None) -> None:
        """Append samples.

        Args:
            table: Rows of an index.
            root: Folder of the index, to which paths are relative.
            storage: Database that images are read from; None: files.
        """
        self._parts.append(_Part(table, root, storage))
        self._ends.append(len(self) + table.num_rows)

    def labels(self) -> dict[str, npt.NDArray[np.int64]]:
        """Labels of all samples, by the name of their dataset."""
        found: dict[str, list[npt.NDArray[np.int64]]] = {}
        for part in self._parts:
            codes, values = part.names['dataset']
            for code in np.unique(codes):
                found.setdefault(str(values[code]), []).append(part.labels[codes == code].astype(np.int64))
        return {name: np.concatenate(labels) for name, labels in found.items()}

    def __len__(self) -> int:
        """Number of samples."""
        return self._ends[-1] if self._ends else 0

    @overload
    def __getitem__(self, index: int) -> dict[str, Any]: ...

    @overload
    def __getitem__(self, index: slice) -> list[dict[str, Any]]: ...

    def __getitem__(self, index: int | slice) -> dict[str, Any] | list[dict[str, Any]]:
        """Make a sample, or a list of them."""
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        number = int(index) + (len(self) if index < 0 else 0)
        if not 0 <= number < len(self):
            raise IndexError(f'sample {index} of {len(self)}')
        part = bisect_right(self._ends, number)
        return self._parts[part].sample(number - (self._ends[part - 1] if part else 0))

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Make all samples in turn."""
        for part in self._parts:
            yield from map(part.sample, range(part.size))


def _one_array(column: pa.ChunkedArray) -> pa.Array:
    """Join the chunks of a column."""
    array = column.combine_chunks()
    return pa.concat_arrays(array.chunks) if isinstance(array, pa.ChunkedArray) else array


def _coded(column: pa.ChunkedArray) -> tuple[npt.NDArray[np.int32], list[str | None]]:
    """Codes of the values of a column, and the values."""
    array = _one_array(pc.dictionary_encode(column, null_encoding='encode'))
    codes: npt.NDArray[np.int32] = array.indices.to_numpy(zero_copy_only=False).astype(np.int32)
    return codes, array.dictionary.to_pylist()
