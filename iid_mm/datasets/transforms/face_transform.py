# SPDX-License-Identifier: Apache-2.0
"""What all transforms of this package share."""

from __future__ import annotations

import inspect

from mmcv.transforms import BaseTransform


class FaceTransform(BaseTransform):
    """A transform that keeps each argument as an attribute of the same name and shows them."""

    def __repr__(self) -> str:
        shown = (f'{name}={getattr(self, name)!r}' for name in inspect.signature(type(self)).parameters)
        return f'{type(self).__name__}({", ".join(shown)})'
