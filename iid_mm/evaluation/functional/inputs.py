# SPDX-License-Identifier: Apache-2.0
"""What metrics take: checked scores and labels, and names and groups as integers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from iid_mm.errors import InputError

Scores = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]
Names = npt.NDArray[np.object_]
Codes = npt.NDArray[np.int64]


class OneClassError(InputError):
    """A set holds only genuine samples, or only fakes, and the metric compares the two."""


def check_scores(
    scores: npt.ArrayLike, labels: npt.ArrayLike, *, name: str = 'the set'
) -> tuple[Scores, Labels]:
    """Check scores and labels and convert them to one type.

    Args:
        scores: (N,) one score per sample, higher = more likely fake; any finite values.
        labels: (N,) 0 = genuine, 1 = fake.
        name: What the error messages call the set.

    Returns:
        The scores, (N,) float64, and the labels, (N,) int64.

    Raises:
        InputError: N is 0, the lengths differ, a score is NaN or infinite, or a label is neither
            0 nor 1.
    """
    checked = np.asarray(scores, dtype=np.float64)
    raw_labels = np.asarray(labels)
    if checked.ndim != 1 or raw_labels.shape != checked.shape:
        raise InputError(
            f'{name}: scores of shape {checked.shape} and labels of shape {raw_labels.shape}; '
            'give one score and one label for every sample, both of shape (N,)'
        )
    if checked.size == 0:
        raise InputError(
            f'{name} is empty: there are no scores to evaluate; check the index, its split and the data root'
        )
    bad = int(np.count_nonzero(~np.isfinite(checked)))
    if bad:
        raise InputError(
            f'{name}: {bad} of {checked.size} scores are NaN or infinite; look for a diverged '
            'training or an overflow in half precision (evaluate once without --amp)'
        )
    odd = np.unique(raw_labels[(raw_labels != 0) & (raw_labels != 1)])
    if odd.size:
        raise InputError(f'{name}: labels {odd[:5].tolist()} are unknown; use 0 for genuine and 1 for fake')
    return checked, raw_labels.astype(np.int64)


def check_both_classes(labels: Labels, *, name: str = 'the set', unit: str = 'samples') -> None:
    """Refuse a set of one class, for which AUC, EER and AP are not defined.

    Args:
        labels: (N,) 0 = genuine, 1 = fake; N >= 1.
        name: What the message calls the set.
        unit: What the message calls its members.

    Raises:
        OneClassError: All labels are equal.
    """
    fakes = int(np.count_nonzero(labels))
    if 0 < fakes < labels.size:
        return
    present, absent = ('fake', 'genuine') if fakes else ('genuine', 'fake')
    raise OneClassError(
        f'{name}: all {labels.size} {unit} are {present}, so AUC, EER and AP are not defined; add '
        f'{absent} {unit} to the set (check the split and the manipulations that its index selects)'
    )


def check_probabilities(scores: Scores, *, name: str = 'the set', metric: str) -> None:
    """Refuse scores outside [0, 1] for metrics of probabilities.

    Args:
        scores: (N,) finite scores.
        name: What the message calls the set.
        metric: What the message calls the metric.

    Raises:
        InputError: A score lies outside [0, 1].
    """
    outside = (scores < 0) | (scores > 1)
    if outside.any():
        raise InputError(
            f'{name}: {metric} needs probabilities, {int(outside.sum())} of {scores.size} scores lie '
            f'outside [0, 1], the first is {scores[outside][0]:g}; apply a sigmoid or softmax to logits'
        )


@dataclass(frozen=True, eq=False)
class Coded:
    """N names, U of them distinct. ``np.asarray(coded)`` gives the names themselves.

    Millions of strings are hashed and sorted once, not in every metric.

    Attributes:
        codes: (N,) int64, position of each name in ``names``.
        names: (U,) the distinct names in ascending order, each of them used.
    """

    codes: Codes
    names: Names

    def __len__(self) -> int:
        return int(self.codes.size)

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> npt.NDArray[Any]:
        # Equal names share one object.
        values = self.names[self.codes]
        return values if dtype is None else values.astype(dtype, copy=False)

    def equal(self, name: Any) -> npt.NDArray[np.bool_]:
        """Where the name is ``name``, (N,)."""
        found = np.flatnonzero(self.names == name)
        return self.codes == (found[0] if found.size else -1)

    def take(self, chosen: npt.NDArray[Any]) -> Coded:
        """Names at the chosen positions, (M,) integers or (N,) bool; ``names`` keeps only used ones."""
        return _compact(self.codes[chosen], self.names)

    def first(self) -> npt.NDArray[np.intp]:
        """Position of the first use of each name, (U,)."""
        first = np.empty(self.names.size, dtype=np.intp)
        # The last assignment to a repeated index wins, hence the reversed order.
        first[self.codes[::-1]] = np.arange(self.codes.size - 1, -1, -1)
        return first


def _compact(codes: Codes, names: Names) -> Coded:
    """Drop the names that no code points to; the others keep their order."""
    used = np.bincount(codes, minlength=names.size) > 0
    if used.all():
        return Coded(codes, names)
    rank = np.cumsum(used) - 1
    return Coded(rank[codes], names[used])


def factorize(values: Any, *, argument: str = 'values') -> Coded:
    """Number the distinct values of an array in ascending order.

    The same as ``np.unique(values, return_inverse=True)``, but strings are hashed and only the distinct
    ones sorted, which is tens of times faster for millions of frames of a few videos.

    Args:
        values: (N,) strings or integers: a sequence, a NumPy or Arrow array (also of dictionary type) or
            a :class:`Coded`, which is returned as it is. Strings are ordered by code points, as in
            Python.
        argument: What error messages call the values.

    Returns:
        The coded values.

    Raises:
        InputError: A value is missing (None), the values have several types, or the array is not 1-D.
    """
    if isinstance(values, Coded):
        return values
    if not isinstance(values, pa.Array | pa.ChunkedArray):
        raw = values if isinstance(values, list | tuple) else np.asarray(values)
        if isinstance(raw, np.ndarray) and raw.ndim != 1:
            raise InputError(f'{argument} of shape {raw.shape}; give one value a sample, of shape (N,)')
        try:
            # pandas' rules would turn NaN into missing values.
            values = pa.array(raw, from_pandas=False)
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise InputError(f'{argument}: give values of one type, strings or integers ({error})') from error
    if values.null_count:
        raise InputError(
            f'{argument}: {values.null_count} of {len(values)} values are missing; every sample needs one'
        )
    if not len(values):
        return Coded(np.empty(0, dtype=np.int64), np.empty(0, dtype=object))
    encoded = values if pa.types.is_dictionary(values.type) else values.dictionary_encode()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.unify_dictionaries().combine_chunks()
        if isinstance(encoded, pa.ChunkedArray):
            encoded = encoded.chunk(0)
    # Arrow sorts strings by their UTF-8 bytes, which is the order of code points.
    order = pc.sort_indices(encoded.dictionary).to_numpy()
    rank = np.empty(order.size, dtype=np.int64)
    rank[order] = np.arange(order.size)
    names = np.empty(order.size, dtype=object)
    names[:] = encoded.dictionary.take(order).to_pylist()
    return _compact(rank[encoded.indices.to_numpy()], names)


def group_codes(groups: Any, size: int, *, name: str = 'the set') -> Codes:
    """Number groups of samples that depend on each other, such as all videos of one person.

    Args:
        groups: (N,) names or integers; a sample with None is a group of its own. None: every sample is.
        size: N, the expected length.
        name: What error messages call the set.

    Returns:
        (N,) codes from 0 without gaps, in ascending order of the names, samples with None last.

    Raises:
        InputError: The length differs.
    """
    if groups is None:
        return np.arange(size)
    if not isinstance(groups, Coded | pa.Array | pa.ChunkedArray):
        groups = np.asarray(groups)
    if len(groups) != size or getattr(groups, 'ndim', 1) != 1:
        raise InputError(f'{name}: groups of {len(groups)} samples for {size} scores; give one a sample')
    argument = f'{name}: groups'
    if not isinstance(groups, np.ndarray) or groups.dtype != object:
        return factorize(groups, argument=argument).codes
    known = np.array([group is not None for group in groups], dtype=bool)
    found = factorize(groups[known].tolist(), argument=argument)
    codes = np.empty(size, dtype=np.int64)
    codes[known] = found.codes
    codes[~known] = found.names.size + np.arange(size - found.codes.size)
    return codes
