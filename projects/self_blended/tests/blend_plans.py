# SPDX-License-Identifier: Apache-2.0
"""Plans of blends for tests."""

from __future__ import annotations

from typing import Any

import numpy as np

from self_blended.blend import BlendPlan, ColorChange


def blend_plan(**options: Any) -> BlendPlan:
    """A plan of a blend that changes nothing but what is given."""
    values: dict[str, Any] = dict(
        change=ColorChange(),
        of_source=True,
        scale=(1.0, 1.0),
        shift=(0.0, 0.0),
        hull='face',
        bend=np.zeros((5, 5, 2)),
        sigmas=(2.0, 2.0),
        ratio=1.0,
    )
    return BlendPlan(**{**values, **options})
