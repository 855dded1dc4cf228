# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iid_mm.errors import InputError
from iid_mm.evaluation.functional.inputs import Coded, factorize


@settings(deadline=None, max_examples=50)
@given(st.lists(st.text(alphabet='aZé/\U0001f600_0', max_size=4), min_size=1, max_size=30))
def test_agrees_with_numpy_for_strings(values: list[str]) -> None:
    coded = factorize(values)
    names, codes = np.unique(np.array(values, dtype=object), return_inverse=True)
    assert coded.names.tolist() == names.tolist() == sorted(set(values))
    assert coded.codes.tolist() == codes.tolist()
    assert coded.first().tolist() == np.unique(np.array(values, dtype=object), return_index=True)[1].tolist()
    assert np.asarray(coded).tolist() == values


@pytest.mark.parametrize(
    'values',
    [
        np.array([3, 1, 3, 2]),
        ['c', 'a', 'c', 'b'],
        np.array(['c', 'a', 'c', 'b']),
        pa.array(['c', 'a', 'c', 'b']),
        pa.chunked_array([['c', 'a'], ['c', 'b']]),
        pa.chunked_array(
            [pa.array(['c', 'a']).dictionary_encode(), pa.array(['c', 'b']).dictionary_encode()]
        ),
        pa.DictionaryArray.from_arrays(pa.array([3, 1, 3, 2]), pa.array(['unused', 'a', 'b', 'c'])),
    ],
)
def test_all_forms_give_the_same_codes(values: Any) -> None:
    coded = factorize(values)
    assert coded.codes.tolist() == [2, 0, 2, 1]
    assert coded.codes.dtype == np.int64
    assert len(coded.names) == 3
    assert factorize(coded) is coded


def test_parts_keep_used_names_only() -> None:
    coded = factorize(['b', 'a', 'c', 'b'])
    part = coded.take(np.array([True, False, True, False]))
    assert part.names.tolist() == ['b', 'c']
    assert part.codes.tolist() == [0, 1]
    assert coded.take(np.array([3, 0])).names.tolist() == ['b']
    assert coded.equal('b').tolist() == [True, False, False, True]
    assert coded.equal('d').tolist() == [False] * 4
    assert len(coded) == 4
    assert len(factorize([])) == 0


def test_equal_names_share_one_object() -> None:
    names = np.asarray(Coded(np.zeros(5, dtype=np.int64), np.array(['x/y'], dtype=object)))
    assert len({id(name) for name in names}) == 1


@pytest.mark.parametrize(
    ('values', 'message'),
    [
        (['a', None], 'keys: 1 of 2 values are missing'),
        (np.array(['a', 1], dtype=object), 'keys: give values of one type'),
        (np.array([['a', 'b']]), r'keys of shape \(1, 2\)'),
    ],
)
def test_bad_values_are_refused(values: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        factorize(values, argument='keys')
