# SPDX-License-Identifier: Apache-2.0
"""Type aliases used throughout the package."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from mmengine.config import ConfigDict

ImageArray: TypeAlias = npt.NDArray[np.uint8]
"""Image, (H, W, 3) uint8, BGR."""
PointsArray: TypeAlias = npt.NDArray[np.float32]
"""Points, (K, 2) float32, x then y, pixels."""
BoxesArray: TypeAlias = npt.NDArray[np.float32]
"""Boxes, (n, 4) float32, x0, y0, x1, y1, pixels."""
MaskArray: TypeAlias = npt.NDArray[np.float32]
"""Blending weights, (H, W) float32 in [0, 1]."""
FloatArray: TypeAlias = npt.NDArray[np.floating[Any]]
IntArray: TypeAlias = npt.NDArray[np.integer[Any]]

Size: TypeAlias = tuple[int, int]
"""Width, height."""
ConfigType: TypeAlias = ConfigDict | dict[str, Any]
OptConfigType: TypeAlias = ConfigType | None
MultiConfig: TypeAlias = ConfigType | Sequence[ConfigType]
Features: TypeAlias = tuple[torch.Tensor, ...]
"""Feature maps, one (N, C, H, W) tensor a level."""
Results: TypeAlias = dict[str, Any]
"""The dictionary that data transforms hand on."""
