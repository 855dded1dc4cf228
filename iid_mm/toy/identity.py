# SPDX-License-Identifier: Apache-2.0
"""Identity: everything of a person that no other factor of a video changes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from iid_mm.toy.streams import stream

Color = tuple[float, float, float]
"""B, G, R in 0 to 255."""

HAIR_STYLES = ('bald', 'buzz', 'short', 'medium', 'long')

# Skin tones from light to dark, hair from black to gray, irises from brown to blue; BGR.
_SKINS: tuple[Color, ...] = (
    (180, 202, 235), (160, 186, 226), (138, 168, 214), (116, 148, 198), (92, 124, 176),
    (70, 100, 150), (54, 80, 124), (44, 64, 100),
)  # fmt: skip
_HAIRS: tuple[Color, ...] = (
    (22, 24, 28), (30, 38, 52), (38, 56, 84), (48, 78, 118), (96, 146, 188), (40, 66, 138),
    (150, 152, 158),
)  # fmt: skip
_IRISES: tuple[Color, ...] = ((24, 44, 74), (36, 66, 104), (58, 104, 108), (150, 118, 78))


@dataclass(frozen=True)
class Identity:
    """A person: shape of the head, geometry of the features, colors and skin.

    Lengths are in units of the skull's half axes (about 1 = half the height of the skull);
    ratios are around 1. ``texture_seed`` seeds the freckles, moles, strands of hair and pores.
    """

    width: float
    depth: float
    jaw_width: float
    chin: float
    cheek: float
    nose_width: float
    nose_length: float
    nose_height: float
    eye_distance: float
    eye_width: float
    eye_height: float
    eye_slant: float
    brow_height: float
    brow_thickness: float
    brow_arch: float
    mouth_width: float
    mouth_y: float
    lip_upper: float
    lip_lower: float
    ear_size: float
    skin: Color
    hair: Color
    iris: Color
    lip_redness: float
    hair_style: str
    hairline: float
    hair_volume: float
    parting: float
    beard: float
    freckles: float
    moles: int
    age: float
    texture_seed: int

    @classmethod
    def draw(cls, seed: int, index: int) -> Identity:
        """Draw identity number ``index`` from the stream ``identity``.

        Args:
            seed: Seed of the set.
            index: Number of the person.

        Returns:
            The same person for the same two numbers, whatever else is drawn.
        """
        rng = stream(seed, 'identity', index)

        def around(mean: float, spread: float) -> float:
            return float(mean + spread * rng.uniform(-1, 1))

        skin, tone = _mix(_SKINS, rng)
        # Light skin goes with all hair colors, dark skin with dark hair.
        hair, _ = _mix(_HAIRS if tone < 3.5 else _HAIRS[:2], rng)
        iris, _ = _mix(_IRISES if tone < 3.5 else _IRISES[:2], rng)
        style = str(rng.choice(HAIR_STYLES, p=(0.06, 0.12, 0.34, 0.24, 0.24)))
        beard = float(rng.uniform(0.2, 1.0)) if style != 'long' and rng.random() < 0.45 else 0.0
        return cls(
            width=around(0.73, 0.06), depth=around(0.88, 0.05), jaw_width=around(0.0, 0.05),
            chin=around(0.10, 0.04), cheek=around(0.02, 0.025), nose_width=around(1.0, 0.25),
            nose_length=around(0.36, 0.035), nose_height=around(0.16, 0.04),
            eye_distance=around(0.385, 0.035), eye_width=around(0.178, 0.018),
            eye_height=around(0.068, 0.013), eye_slant=around(0.008, 0.02),
            brow_height=around(0.185, 0.03), brow_thickness=around(0.042, 0.017),
            brow_arch=around(0.045, 0.025), mouth_width=around(0.265, 0.04),
            mouth_y=around(0.60, 0.025), lip_upper=around(0.048, 0.02),
            lip_lower=around(0.062, 0.022), ear_size=around(1.0, 0.2), skin=skin, hair=hair,
            iris=iris, lip_redness=around(0.5, 0.4), hair_style=style,
            hairline=around(-0.66, 0.09), hair_volume=around(0.09, 0.04),
            parting=around(0.0, 0.5), beard=beard,
            freckles=float(rng.uniform(0.3, 1.0)) if tone < 3 and rng.random() < 0.5 else 0.0,
            moles=int(rng.integers(0, 5)), age=float(rng.uniform(0, 1)),
            texture_seed=int(rng.integers(0, 2**31)),
        )  # fmt: skip


def _mix(colors: tuple[Color, ...], rng: np.random.Generator) -> tuple[Color, float]:
    """Draw a place on a scale of colors; returns the color and the place."""
    place = float(rng.uniform(0, len(colors) - 1))
    low = int(place)
    high = min(low + 1, len(colors) - 1)
    mixed = np.array(colors[low]) + (place - low) * (np.array(colors[high]) - np.array(colors[low]))
    mixed = mixed * rng.uniform(0.96, 1.04, size=3)
    return (float(mixed[0]), float(mixed[1]), float(mixed[2])), place
