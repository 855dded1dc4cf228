# SPDX-License-Identifier: Apache-2.0
"""Self-blended images as a transform."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from mmcv.transforms.utils import cache_randomness

from iid_mm.datasets.functional.alignment import CANVAS
from iid_mm.datasets.functional.geometry import check_landmarks
from iid_mm.datasets.transforms.face_transform import FaceTransform
from iid_mm.errors import InputError
from iid_mm.registry import TRANSFORMS
from iid_mm.utils.typing import Results
from self_blended.blend import HULLS, BlendPlan, ColorChange, blended_box, self_blend

_BEND_CELLS = 5
RATIOS = (0.25, 0.5, 0.75, 1.0, 1.0, 1.0)


@TRANSFORMS.register_module()
class SelfBlendedImage(FaceTransform):
    """Turn a genuine face into a fake that is blended from two views of it.

    Shiohara and Yamasaki, CVPR 2022: no fakes are needed, every person is seen under both labels, and only
    the traces of blending separate the labels. Here the fake also gets boxes for the artifact head: the
    blended region and, like every fake, the whole canvas. Fakes of the dataset pass unchanged, so that it
    can follow :class:`~iid_mm.datasets.transforms.MultiScaleFacialSwap`; use
    :class:`~iid_mm.datasets.transforms.PackForgeryPair` to show the genuine image in the same batch.

    Required Keys:

    - img: aligned canvas
    - landmarks (of genuine samples)
    - gt_label
    - donor_img (optional, of :class:`~self_blended.LoadDonor`): blended in instead of a copy of the image

    Modified Keys:

    - img
    - gt_label
    - gt_bboxes
    - gt_bboxes_labels

    Added Keys:

    - source_img: the genuine image in the colors of the target
    - source_img_path (where there is an ``img_path``)
    - swap_kind: ``self_blended``

    Args:
        prob: Share of the genuine samples that are turned into fakes.
        scale: Largest change of the source's width and height.
        shift: Largest shift of the source in x and y, parts of the canvas.
        color: Strength of changes of color; 0 to 1.
        bend: Standard deviation of the bending of the mask in pixels at 224.
        sigma: Range of the standard deviations of the mask's Gaussians in pixels at 224.
        ratios: Highest values of the mask, drawn evenly.
        hulls: Regions, drawn evenly; see :data:`~self_blended.blend.HULLS`.
        min_change: An image whose fake differs by less than this, in gray levels on the mean of the box,
            stays genuine.
        mismatch: Largest share of the difference of a donor's colors that remains after they were matched.
    """

    def __init__(
        self,
        prob: float = 1.0,
        scale: float = 0.05,
        shift: Sequence[float] = (0.03, 0.015),
        color: float = 1.0,
        bend: float = 6.0,
        sigma: Sequence[float] = (2.0, 8.0),
        ratios: Sequence[float] = RATIOS,
        hulls: Sequence[str] = HULLS,
        min_change: float = 0.5,
        mismatch: float = 0.3,
    ) -> None:
        for name, value in (('prob', prob), ('color', color), ('mismatch', mismatch)):
            if not 0 <= value <= 1:
                raise InputError(f'{name}={value!r}: must be between 0 and 1')
        if unknown := sorted(set(hulls) - set(HULLS)):
            raise InputError(f'hulls: unknown {", ".join(unknown)}; known: {", ".join(HULLS)}')
        if not hulls or not ratios or not all(0 < ratio <= 1 for ratio in ratios):
            raise InputError(f'hulls={hulls!r}, ratios={ratios!r}: give at least one each, ratios in (0, 1]')
        if len(sigma) != 2 or not 0 < sigma[0] <= sigma[1]:
            raise InputError(f'sigma={sigma!r}: expected (smallest, largest), above 0')
        self.prob = prob
        self.scale = scale
        self.shift = (float(shift[0]), float(shift[1]))
        self.color = color
        self.bend = bend
        self.sigma = (float(sigma[0]), float(sigma[1]))
        self.ratios = tuple(ratios)
        self.hulls = tuple(hulls)
        self.min_change = min_change
        self.mismatch = mismatch

    @cache_randomness
    def _draw(self, size: tuple[int, int], with_donor: bool) -> BlendPlan | None:
        """Draw a plan; None leaves the sample genuine."""
        if np.random.rand() >= self.prob:
            return None
        uniform = np.random.uniform
        canvas = min(size) / CANVAS
        of_source = bool(np.random.rand() < 0.5)
        sigmas = uniform(*self.sigma, 2) * canvas
        return BlendPlan(
            self._draw_change(),
            of_source,
            (1 + uniform(-self.scale, self.scale), 1 + uniform(-self.scale, self.scale)),
            (
                size[0] * uniform(-self.shift[0], self.shift[0]),
                size[1] * uniform(-self.shift[1], self.shift[1]),
            ),
            self.hulls[np.random.randint(len(self.hulls))],
            np.random.normal(0, self.bend * canvas, (_BEND_CELLS, _BEND_CELLS, 2)),
            (float(sigmas[0]), float(sigmas[1])),
            float(self.ratios[np.random.randint(len(self.ratios))]),
            float(uniform(0, self.mismatch)) if with_donor else 0.0,
        )

    def _draw_change(self) -> ColorChange:
        uniform, randint, strength = np.random.uniform, np.random.randint, self.color
        shifts, hsv, light = np.random.rand(3) < (0.3, 1.0, 1.0)
        sharper = bool(np.random.rand() < 0.5)
        bounds = [round(bound * strength) for bound in (2, 10, 10)]
        red, green, blue = uniform(-20 * strength, 20 * strength, 3) * shifts
        hue, saturation, value = (int(randint(-bound, bound + 1)) * int(hsv) for bound in bounds)
        return ColorChange(
            (float(blue), float(green), float(red)),
            hue,
            saturation,
            value,
            float(1 + uniform(-0.1, 0.1) * strength * light),
            float(uniform(-25, 25) * strength * light),
            float(uniform(0.2, 0.5)) if sharper else 0.0,
            1.0 if sharper else float(uniform(1.5, 4.0)),
        )

    def transform(self, results: Results) -> Results:
        """Turn a genuine sample into a fake, or leave it.

        Raises:
            InputError: If the label is not 0 or 1, or the landmarks have the wrong shape.
        """
        label = results['gt_label']
        if label not in (0, 1):
            raise InputError(f'gt_label={label!r}: must be 0 (genuine) or 1 (fake)')
        image = results['img']
        height, width = image.shape[:2]
        results.setdefault('gt_bboxes', np.array([[0, 0, width, height]] * label, np.float32).reshape(-1, 4))
        results.setdefault('gt_bboxes_labels', np.zeros(label, dtype=np.int64))
        if label == 1:
            return results
        check_landmarks(results['landmarks'])
        donor = results.pop('donor_img', None)
        plan = self._draw((width, height), donor is not None)
        if plan is None:
            return results
        fake, genuine, mask = self_blend(image, results['landmarks'], plan, donor)
        box = blended_box(mask)
        if box is None or self._is_faint(fake, genuine, box):
            return results
        results['img'], results['source_img'] = fake, genuine
        if 'img_path' in results:
            results['source_img_path'] = results['img_path']
        results['gt_label'] = 1
        results['gt_bboxes'] = np.stack([np.array([0, 0, width, height], dtype=np.float32), box])
        results['gt_bboxes_labels'] = np.zeros(2, dtype=np.int64)
        results['swap_kind'] = 'self_blended'
        return results

    def _is_faint(self, fake: np.ndarray, genuine: np.ndarray, box: np.ndarray) -> bool:
        x0, y0, x1, y1 = box.astype(int)
        changed = np.abs(fake[y0:y1, x0:x1].astype(np.int16) - genuine[y0:y1, x0:x1])
        return bool(changed.mean() < self.min_change)
