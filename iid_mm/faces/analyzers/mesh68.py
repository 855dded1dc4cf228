# SPDX-License-Identifier: Apache-2.0
"""The 68 iBUG points in MediaPipe's face mesh.

The mesh has 468 vertices (478 with the irises); each iBUG point is the vertex that lies at the same
place of the face. Where the mesh has no vertex at an iBUG point (jaw, lips), the vertex nearest to
the same part of the contour's length was taken, measured on the mean mesh of frontal faces. Left
and right here are those of the picture.
"""

from __future__ import annotations

import numpy as np

# fmt: off
_JAW = [
    127, 234, 93, 132, 58, 172, 150, 176,  # 0-7: left temple down to the chin
    152,                                   # 8: chin
    400, 379, 397, 288, 361, 323, 454, 356,  # 9-16: chin up to the right temple
]
_BROWS = [
    70, 63, 105, 66, 107,     # 17-21: left brow, outer to inner end, upper edge
    336, 296, 334, 293, 300,  # 22-26: right brow, inner to outer end, upper edge
]
_NOSE = [
    168, 197, 5, 4,        # 27-30: bridge, from between the eyes to the tip
    98, 97, 2, 326, 327,   # 31-35: below the nostrils, left to right
]
_EYES = [
    33, 160, 158, 133, 153, 144,   # 36-41: left eye: outer corner, upper lid, inner, lower lid
    362, 385, 387, 263, 373, 380,  # 42-47: right eye: inner corner, upper lid, outer, lower lid
]
_MOUTH = [
    61, 39, 37, 0, 267, 269, 291,  # 48-54: left corner, upper edge of the upper lip, right corner
    321, 314, 17, 84, 91,          # 55-59: lower edge of the lower lip, right to left
    78, 81, 13, 311, 308,          # 60-64: left inner corner, lower edge of the upper lip, right
    402, 14, 178,                  # 65-67: upper edge of the lower lip, right to left
]
# fmt: on

MESH_TO_68 = np.array([*_JAW, *_BROWS, *_NOSE, *_EYES, *_MOUTH], dtype=np.int64)
"""(68,) mesh vertex of each iBUG point."""

MIRROR_68 = np.array(
    [
        *range(16, -1, -1),
        *range(26, 16, -1),
        *range(27, 31),
        *range(35, 30, -1),
        *(45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40),
        *(54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55),
        *(64, 63, 62, 61, 60, 67, 66, 65),
    ],
    dtype=np.int64,
)
"""(68,) iBUG point that each point becomes in a mirrored picture."""
