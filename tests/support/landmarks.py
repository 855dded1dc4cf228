# SPDX-License-Identifier: Apache-2.0
"""Landmarks of a drawn face."""

from __future__ import annotations

import numpy as np


def draw_landmarks(side: int, count: int = 68) -> np.ndarray:
    """Landmarks of an upright face that fills the middle of a square crop, (count, 2)."""
    t = np.linspace(0, np.pi, 17)
    jaw = np.stack([0.5 - 0.32 * np.cos(t), 0.42 + 0.38 * np.sin(t)], axis=1)
    points = np.full((count, 2), 0.5)
    points[:17] = jaw
    points[17:27] = np.stack([np.linspace(0.25, 0.75, 10), np.full(10, 0.33)], axis=1)
    points[27:36] = [(0.5, 0.4 + 0.02 * i) for i in range(9)]
    points[30] = (0.5, 0.56)
    turn = np.linspace(0, 2 * np.pi, 6, endpoint=False)
    ring = np.stack([np.cos(turn) * 0.05, np.sin(turn) * 0.02], axis=1)
    points[36:42], points[42:48] = ring + np.array((0.36, 0.42)), ring + np.array((0.64, 0.42))
    points[48:68] = np.stack([np.linspace(0.4, 0.6, 20), np.full(20, 0.68)], axis=1)
    points[48], points[54] = (0.4, 0.68), (0.6, 0.68)
    points[68:] = (0.5, 0.22)
    return (points * side).astype(np.float32)
