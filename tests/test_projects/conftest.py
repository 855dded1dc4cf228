# SPDX-License-Identifier: Apache-2.0
"""What several tests of the projects share."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

SELF_BLENDED = Path(__file__).parents[2] / 'projects' / 'self_blended'
sys.path.insert(0, str(SELF_BLENDED))

from self_blended.blend import BlendPlan, ColourChange  # noqa: E402


def blend_plan(**options: Any) -> BlendPlan:
    """A plan of a blend that changes nothing but what is given."""
    values: dict[str, Any] = dict(
        change=ColourChange(),
        of_source=True,
        scale=(1.0, 1.0),
        shift=(0.0, 0.0),
        hull='face',
        bend=np.zeros((5, 5, 2)),
        sigmas=(2.0, 2.0),
        ratio=1.0,
    )
    return BlendPlan(**{**values, **options})
