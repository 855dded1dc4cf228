# SPDX-License-Identifier: Apache-2.0
"""Align a face to the canvas."""

from __future__ import annotations

from typing import Any

import numpy as np
from mmcv.transforms.utils import cache_randomness

from iid_mm.datasets.functional import alignment, geometry
from iid_mm.datasets.transforms.face_transform import FaceTransform
from iid_mm.errors import InputError
from iid_mm.registry import TRANSFORMS
from iid_mm.utils.typing import Results, Size

JITTER = {
    'scale_std': 0.1,
    'scale_range': (0.6, 1.2),
    'shift': 25.0,
    'rotation': 30.0,
    'stretch': 0.03,
    'stretch_prob': 0.2,
}
"""Strengths of the training jitter, see :class:`AlignFace`."""


@TRANSFORMS.register_module()
class AlignFace(FaceTransform):
    """Warp the image, and the genuine image of its pair, so that the face fits the template.

    Required Keys:

    - img
    - landmarks
    - source_img (optional)
    - img_path (optional; named in messages)

    Modified Keys:

    - img
    - landmarks
    - source_img (if there)
    - img_shape

    Added Keys:

    - warp_matrix

    Args:
        size: Canvas (w, h).
        scale: Size of the face on the canvas, the mean in training.
        jitter: None aligns exactly (validation and test). A dictionary, empty or with strengths that
            replace the defaults, draws for every sample: the scale from a normal distribution of
            standard deviation ``scale_std`` (0.1), clipped to ``scale_range`` ((0.6, 1.2)); a shift
            uniform within ``shift`` pixels at 224 (25) in both directions; a rotation of
            ``rotation`` (30) times u^3 degrees, u uniform in [-1, 1]; with probability
            ``stretch_prob`` (0.2) a stretch of one axis by up to ``stretch`` (0.03).
    """

    def __init__(
        self,
        size: Size = (224, 224),
        scale: float = 0.9,
        jitter: dict[str, Any] | None = None,
    ) -> None:
        if len(size) != 2 or min(size) < 1:
            raise InputError(f'size={size!r}: expected (width, height), both at least 1')
        # Refuses a bad scale before any sample is read.
        alignment.template((int(size[0]), int(size[1])), scale)
        if unknown := sorted(set(jitter or {}) - set(JITTER)):
            raise InputError(f'jitter: unknown {", ".join(unknown)}; known: {", ".join(JITTER)}')
        self.size = (int(size[0]), int(size[1]))
        self.scale = scale
        self.jitter = None if jitter is None else {**JITTER, **jitter}

    @cache_randomness
    def _draw(self, jitter: dict[str, Any]) -> tuple[float, dict[str, Any]]:
        """Draw the scale and the arguments of :func:`alignment.jitter_matrix`."""
        scale = float(np.clip(np.random.normal(self.scale, jitter['scale_std']), *jitter['scale_range']))
        limit = jitter['shift'] * min(self.size) / alignment.CANVAS
        shift = np.random.uniform(-limit, limit, 2)
        rotation = jitter['rotation'] * np.random.uniform(-1, 1) ** 3
        stretch = [1.0, 1.0]
        if np.random.rand() < jitter['stretch_prob']:
            factor = 1 + np.random.uniform(-jitter['stretch'], jitter['stretch'])
            stretch[np.random.randint(2)] = factor
        return scale, {'shift': shift, 'rotation': rotation, 'stretch': stretch}

    def transform(self, results: Results) -> Results:
        """Align the sample.

        Raises:
            InputError: If the landmarks have the wrong shape or are not finite, or the images of the
                pair differ in size.
        """
        landmarks = results['landmarks']
        geometry.check_landmarks(landmarks, f'landmarks of {results.get("img_path", "the sample")!r}')
        scale, movement = self.scale, None
        if self.jitter is not None:
            scale, movement = self._draw(self.jitter)
        points = alignment.five_points(landmarks)
        matrix = geometry.fit_similarity(points, alignment.template(self.size, scale))
        if movement is not None:
            matrix = geometry.compose(alignment.jitter_matrix(self.size, **movement), matrix)
        source = results.get('source_img')
        if source is not None:
            if source.shape != results['img'].shape:
                raise InputError(
                    f'img {results["img"].shape} and source_img {source.shape} differ in shape: '
                    'the images of a pair need one crop window'
                )
            results['source_img'] = geometry.warp_image(source, matrix, self.size)
        results['img'] = geometry.warp_image(results['img'], matrix, self.size)
        results['landmarks'] = geometry.transform_points(landmarks, matrix)
        results['img_shape'] = results['img'].shape[:2]
        results['warp_matrix'] = matrix
        return results
