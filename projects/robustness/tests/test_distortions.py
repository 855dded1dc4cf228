# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from iid_mm.datasets.functional.distortion import DISTORTIONS, LEVELS
from iid_mm.errors import InputError
from robustness.distortions import choose


def test_order_and_repeats() -> None:
    assert choose(['jpeg', 'contrast', 'jpeg'], [3, 1, 3, 0]) == (['contrast', 'jpeg'], [1, 3])
    assert choose(None, LEVELS) == (list(DISTORTIONS), [1, 2, 3, 4, 5])


def test_bad() -> None:
    with pytest.raises(InputError, match="'fog' is unknown; choose from saturation, contrast"):
        choose(['fog'], [1])
    with pytest.raises(InputError, match='level 6 is out of range; levels are 1 to 5'):
        choose(None, [1, 6])
    with pytest.raises(InputError, match='nothing to test'):
        choose(None, [0])
