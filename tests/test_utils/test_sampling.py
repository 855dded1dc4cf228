# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from iid_mm.errors import InputError
from iid_mm.utils.sampling import evenly_spaced


@pytest.mark.parametrize(
    ('total', 'count', 'expected'),
    [
        (12, 3, [2, 6, 10]),
        (8, 3, [1, 4, 6]),
        (24, 16, [0, 2, 3, 5, 6, 8, 9, 11, 12, 14, 15, 17, 18, 20, 21, 23]),
        (3, 5, [0, 1, 2]),
        (5, 5, [0, 1, 2, 3, 4]),
        (7, 1, [3]),
        (0, 4, []),
    ],
)
def test_evenly_spaced(total, count, expected):
    assert evenly_spaced(total, count) == expected


@given(st.integers(0, 5000), st.integers(1, 300))
def test_evenly_spaced_properties(total, count):
    numbers = evenly_spaced(total, count)
    assert len(numbers) == min(total, count)
    assert numbers == sorted(set(numbers))
    if numbers:
        assert numbers[0] >= 0
        assert numbers[-1] < total
        gaps = np.diff(numbers)
        assert gaps.size == 0 or gaps.max() - gaps.min() <= 1
        # Symmetric up to rounding: no end is favored.
        assert abs(numbers[0] - (total - 1 - numbers[-1])) <= 1


@pytest.mark.parametrize(('total', 'count'), [(-1, 3), (5, 0)])
def test_evenly_spaced_refuses(total, count):
    with pytest.raises(InputError, match='need total >= 0 and count >= 1'):
        evenly_spaced(total, count)
