# SPDX-License-Identifier: Apache-2.0
"""Degrade an image as cameras, platforms and codecs do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import cv2
import numpy as np
from mmcv.transforms.utils import cache_randomness

from iid_mm.datasets.functional import degradation
from iid_mm.datasets.transforms.face_transform import FaceTransform
from iid_mm.errors import InputError
from iid_mm.registry import TRANSFORMS
from iid_mm.utils.typing import Results

Range = tuple[float, float]

PROBS = {
    'half_resolution': 0.3,
    'down_up': 0.25,
    'min_max_stretch': 0.5,
    'shift_hsv': 0.25,
    'gamma': 1.0,
    'color_tone': 0.3,
    'low_frequency_noise': 0.5,
    'motion_blur': 0.3,
    'gaussian_blur': 0.3,
    'gaussian_noise': 0.3,
    'sharpen': 0.0,
    'jpeg': 0.3,
}
"""Probability of each operation, in the order in which they are applied. Sharpening is not of the
published recipe: where fakes are softer than genuine faces, it keeps a model from learning just that."""

_OPERATIONS: dict[str, Callable[..., Any]] = {
    'half_resolution': degradation.down_up,
    **{name: getattr(degradation, name) for name in PROBS if name != 'half_resolution'},
}

STRENGTHS: dict[str, Any] = {
    'down_up_factor': (1.0, 2.0),
    'hue_shift': 10,
    'saturation_shift': 30,
    'value_shift': 20,
    'gamma_exponent': (0.6, 1.4),
    'tone_gain': 0.1,
    'noise_cells': (4, 16),
    'noise_level': (0.0, 8.0),
    'motion_length': (3, 7),
    'blur_sigma': (0.3, 1.5),
    'gaussian_level': (1.0, 8.0),
    'sharpen_amount': (0.3, 1.5),
    'jpeg_quality': (15, 80),
}
"""Strengths: ranges to draw from, or bounds on either side; see :class:`DegradeFace`."""


@TRANSFORMS.register_module()
class DegradeFace(FaceTransform):
    """Apply random degradations, each with its own probability.

    Genuine and fake samples are treated alike. The operations, in order, are reductions of the
    resolution, changes of color, noise and blur, and JPEG compression last.

    Required Keys:

    - img
    - source_img (optional)

    Modified Keys:

    - img
    - source_img (optional; with ``with_source``)

    Args:
        probs: Probabilities that replace those in :data:`PROBS`; 0 switches an operation off.
        strengths: Strengths that replace those in :data:`STRENGTHS`: ``down_up_factor`` range;
            ``hue_shift`` (0-90, OpenCV's half degrees), ``saturation_shift``, ``value_shift`` bounds
            in gray levels; ``gamma_exponent`` range; ``tone_gain`` bound of the relative change of a
            channel; ``noise_cells`` range of the cells along a side, ``noise_level`` range of the
            standard deviation of low-frequency noise in gray levels; ``motion_length`` range in
            pixels, made odd; ``blur_sigma`` range in pixels; ``gaussian_level`` range of the standard
            deviation of Gaussian noise in gray levels; ``sharpen_amount`` range of the share of fine
            structure that is added (of ``blur_sigma``); ``jpeg_quality`` range.
        with_source: Degrade the genuine image of a pair in the same way, for
            :class:`~iid_mm.datasets.transforms.PackForgeryPair`.
    """

    def __init__(
        self,
        probs: Mapping[str, float] | None = None,
        strengths: Mapping[str, Any] | None = None,
        with_source: bool = False,
    ) -> None:
        for name, given, known in (
            ('probs', probs, PROBS),
            ('strengths', strengths, STRENGTHS),
        ):
            if unknown := sorted(set(given or {}) - set(known)):
                raise InputError(f'{name}: unknown {", ".join(unknown)}; known: {", ".join(known)}')
        self.probs = {**PROBS, **(probs or {})}
        self.strengths = {**STRENGTHS, **(strengths or {})}
        for name, prob in self.probs.items():
            if not 0 <= prob <= 1:
                raise InputError(f'probs[{name!r}]={prob!r}: must be between 0 and 1')
        self.with_source = with_source

    @cache_randomness
    def _draw(self) -> list[tuple[str, dict[str, Any]]]:
        """Draw the operations to apply and their arguments."""
        # Without sharpening the draws are those of the published operations alone.
        names = [name for name in PROBS if name != 'sharpen' or self.probs[name]]
        chosen = np.random.rand(len(names)) < [self.probs[name] for name in names]
        return [(name, self._arguments(name)) for name, use in zip(names, chosen, strict=True) if use]

    def _arguments(self, name: str) -> dict[str, Any]:
        """Draw the arguments of one operation."""
        given, uniform, randint = self.strengths, np.random.uniform, np.random.randint
        if name == 'half_resolution':
            return {'factor': 2.0, 'down': cv2.INTER_LINEAR, 'up': cv2.INTER_LINEAR}
        if name == 'down_up':
            down, up = np.random.choice(degradation.INTERPOLATIONS, 2)
            factor = float(uniform(*given['down_up_factor']))
            return {'factor': factor, 'down': int(down), 'up': int(up)}
        if name == 'shift_hsv':
            bounds = [given[f'{part}_shift'] for part in ('hue', 'saturation', 'value')]
            shifts = (int(randint(-bound, bound + 1)) for bound in bounds)
            return dict(zip(('hue', 'saturation', 'value'), shifts, strict=True))
        if name == 'gamma':
            return {'exponent': float(uniform(*given['gamma_exponent']))}
        if name == 'color_tone':
            return {'gains': 1 + uniform(-given['tone_gain'], given['tone_gain'], 3)}
        if name == 'low_frequency_noise':
            low, high = given['noise_cells']
            level = uniform(*given['noise_level'])
            return {'grid': np.random.normal(0, level, (*randint(low, high + 1, 2), 3))}
        if name == 'motion_blur':
            low, high = given['motion_length']
            return {'length': int(randint(low, high + 1)) | 1, 'angle': float(uniform(0, 180))}
        if name == 'gaussian_blur':
            return {'sigma': float(uniform(*given['blur_sigma']))}
        if name == 'gaussian_noise':
            return {'sigma': float(uniform(*given['gaussian_level'])), 'seed': int(randint(2**31))}
        if name == 'sharpen':
            sigma, amount = (float(uniform(*given[key])) for key in ('blur_sigma', 'sharpen_amount'))
            return {'sigma': sigma, 'amount': amount}
        if name == 'jpeg':
            low, high = given['jpeg_quality']
            return {'quality': int(randint(low, high + 1))}
        return {}

    def transform(self, results: Results) -> Results:
        """Degrade the image."""
        operations = self._draw()
        for key in ('img', 'source_img') if self.with_source else ('img',):
            if (image := results.get(key)) is not None:
                for name, arguments in operations:
                    image = _OPERATIONS[name](image, **arguments)
                results[key] = image
        return results
