# SPDX-License-Identifier: Apache-2.0
"""Multi-scale facial swap: new fakes whose artifact area is known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from mmcv.transforms.utils import cache_randomness

from iid_mm.datasets.functional.alignment import CANVAS
from iid_mm.datasets.functional.facial_swap import SwapPlan, change_scores, swap_face
from iid_mm.datasets.functional.geometry import Window, check_landmarks
from iid_mm.datasets.transforms.face_transform import FaceTransform
from iid_mm.errors import InputError
from iid_mm.registry import TRANSFORMS
from iid_mm.utils.typing import ImageArray, PointsArray, Results, Size

WINDOWS: tuple[Size, ...] = ((40, 80), (80, 120), (120, 160), (224, 224))
_BEND_CELLS = 7


@TRANSFORMS.register_module()
class MultiScaleFacialSwap(FaceTransform):
    """Swap the whole face or a window of it between a fake frame and its genuine frame.

    A genuine sample keeps its pixels and gets no box. A fake is, with probability ``partial_prob``,
    replaced by its genuine frame into which the part of the fake face in its most altered window is
    pasted; its boxes are the whole canvas and that window, also where the face does not fill it.
    Otherwise its box is the whole canvas and it becomes one of

    * the fake frame with the genuine face (hull of the landmarks) pasted in,
    * the genuine frame with the fake face pasted in,
    * the fake frame, unchanged.

    A result that hardly differs from the genuine frame is drawn again, by up to three rules:
    ``min_changed``, with the published thresholds, for every result; ``min_kept``, not published, for
    genuine faces in fake frames; and ``min_kept_share``, off by default. A genuine face in a fake frame
    restores the genuine frame where the forgery lies inside the hull, and what compression changes
    there is enough to pass the first rule. After ``max_redraws`` more draws the fake stays unchanged.
    So does a fake without a genuine frame. ``swap_kind`` says what was done: ``genuine``,
    ``untouched``, ``genuine_into_fake``, ``fake_into_genuine``, or ``partial``.

    Required Keys:

    - img: aligned canvas
    - landmarks: of the fake's face, on the canvas (of fakes with a pair)
    - gt_label
    - source_img (optional): genuine frame, aligned alike

    Modified Keys:

    - img

    Added Keys:

    - gt_bboxes: (n, 4) float32 xyxy inside the canvas
    - gt_bboxes_labels: (n,) int64 zeros
    - swap_kind

    Args:
        windows: Windows (w, h) in pixels of the canvas, drawn in either orientation and clipped to
            the canvas. The defaults belong to a canvas of 224 px.
        partial_prob: Share of partial swaps.
        poisson_prob: Share of Poisson blending; the rest is alpha blending.
        elastic_prob: Share of global swaps whose mask is bent.
        elastic_strength: Standard deviation of the bending in pixels at 224.
        genuine_into_fake_prob: Share of global swaps that put the genuine face into the fake frame.
        keep_fake_prob: Share of global swaps that leave the fake as it is; the remaining share puts
            the fake face into the genuine frame.
        dssim_thresh: Dissimilarity above which a pixel counts as changed.
        min_changed: A result with this many changed pixels or fewer, at 224, is drawn again; scaled
            with the area of the canvas.
        kept_dssim_thresh: Dissimilarity that compression alone rarely causes.
        min_kept: A genuine face in a fake frame must leave more than this many pixels, at 224, with a
            greater dissimilarity to the genuine frame. 0 switches the rule off.
        min_kept_share: The result must keep this share of the fake's dissimilarity to the genuine frame,
            summed over the canvas or, of a partial swap, over its window and 10 px around it.
            Compression noise is part of both, so a share of 0.3 is little. 0 switches the rule off.
        max_redraws: How often to draw again.
    """

    def __init__(
        self,
        windows: Sequence[Size] = WINDOWS,
        partial_prob: float = 0.2,
        poisson_prob: float = 0.5,
        elastic_prob: float = 0.5,
        elastic_strength: float = 6.0,
        genuine_into_fake_prob: float = 0.5,
        keep_fake_prob: float = 0.25,
        dssim_thresh: float = 1e-3,
        min_changed: int = 1600,
        kept_dssim_thresh: float = 0.05,
        min_kept: int = 400,
        min_kept_share: float = 0.0,
        max_redraws: int = 4,
    ) -> None:
        if not windows or any(len(w) != 2 or min(w) < 8 for w in windows):
            raise InputError(f'windows={windows!r}: expected (width, height) pairs of at least 8 px')
        shares = {
            'partial_prob': partial_prob,
            'poisson_prob': poisson_prob,
            'elastic_prob': elastic_prob,
            'genuine_into_fake_prob': genuine_into_fake_prob,
            'keep_fake_prob': keep_fake_prob,
            'min_kept_share': min_kept_share,
            'genuine_into_fake_prob + keep_fake_prob': genuine_into_fake_prob + keep_fake_prob,
        }
        for name, value in shares.items():
            if not 0 <= value <= 1:
                raise InputError(f'{name}={value!r}: must be between 0 and 1')
        bounds = {'min_changed': min_changed, 'min_kept': min_kept, 'max_redraws': max_redraws}
        for name, value in bounds.items():
            if value < 0:
                raise InputError(f'{name}={value!r}: must not be negative')
        self.windows: tuple[Size, ...] = tuple((int(w), int(h)) for w, h in windows)
        self.partial_prob = partial_prob
        self.poisson_prob = poisson_prob
        self.elastic_prob = elastic_prob
        self.elastic_strength = elastic_strength
        self.genuine_into_fake_prob = genuine_into_fake_prob
        self.keep_fake_prob = keep_fake_prob
        self.dssim_thresh = dssim_thresh
        self.min_changed = min_changed
        self.kept_dssim_thresh = kept_dssim_thresh
        self.min_kept = min_kept
        self.min_kept_share = min_kept_share
        self.max_redraws = max_redraws

    @cache_randomness
    def _draw_plans(self, size: Size) -> list[SwapPlan]:
        """Draw a plan and those to fall back on, in order."""
        plans = []
        for _ in range(1 + self.max_redraws):
            plans.append(self._draw_plan(size))
            if plans[-1].kind == 'untouched':
                break
        return plans

    def _draw_plan(self, size: Size) -> SwapPlan:
        window = self.windows[np.random.randint(len(self.windows))]
        if np.random.rand() < 0.5:
            window = window[::-1]
        poisson = bool(np.random.rand() < self.poisson_prob)
        if np.random.rand() < self.partial_prob:
            return SwapPlan('partial', poisson, window, None)
        draw = np.random.rand()
        if draw < self.keep_fake_prob:
            return SwapPlan('untouched', poisson, window, None)
        into_fake = draw < self.keep_fake_prob + self.genuine_into_fake_prob
        bend = None
        if np.random.rand() < self.elastic_prob:
            strength = self.elastic_strength * min(size) / CANVAS
            bend = np.random.normal(0, strength, (_BEND_CELLS, _BEND_CELLS, 2))
        return SwapPlan('genuine_into_fake' if into_fake else 'fake_into_genuine', poisson, window, bend)

    def transform(self, results: Results) -> Results:
        """Swap and set the boxes.

        Raises:
            InputError: If the label is not 0 or 1, the landmarks have the wrong shape, or the images
                of the pair differ in shape.
        """
        image, label = results['img'], results['gt_label']
        genuine: ImageArray | None = None
        if label not in (0, 1):
            raise InputError(f'gt_label={label!r}: must be 0 (genuine) or 1 (fake)')
        kind, window = 'genuine', None
        if label == 1:
            genuine = results.get('source_img')
            kind = 'untouched'
            if genuine is not None:
                check_landmarks(results['landmarks'])
                if genuine.shape != image.shape:
                    raise InputError(
                        f'img {image.shape} and source_img {genuine.shape} differ in shape: '
                        'align both to one canvas first (AlignFace)'
                    )
                results['img'], kind, window = self._swap(image, genuine, results['landmarks'])
        height, width = image.shape[:2]
        boxes: list[Window] = [] if label == 0 else [(0, 0, width, height)]
        if window is not None:
            boxes.append(window)
        results['gt_bboxes'] = np.array(boxes, dtype=np.float32).reshape(-1, 4)
        results['gt_bboxes_labels'] = np.zeros(len(boxes), dtype=np.int64)
        results['swap_kind'] = kind
        return results

    def _swap(
        self, fake: ImageArray, genuine: ImageArray, landmarks: PointsArray
    ) -> tuple[ImageArray, str, Window | None]:
        """Carry out the first plan whose result differs enough from the genuine frame."""
        height, width = fake.shape[:2]
        for plan in self._draw_plans((width, height)):
            if plan.kind == 'untouched':
                break
            result, window = swap_face(fake, genuine, landmarks, plan)
            score = change_scores(result, genuine, window)
            if not self._differs_enough(score, plan.kind, height * width / CANVAS**2):
                continue
            least = self.min_kept_share
            if least == 0 or score.sum() >= least * change_scores(fake, genuine, window).sum():
                return result, plan.kind, window
        return fake, 'untouched', None

    def _differs_enough(self, score: npt.NDArray[np.float32], kind: str, area: float) -> bool:
        """Apply the redraw rules to dissimilarities; ``area`` is that of the canvas, 1 at 224."""
        if np.count_nonzero(score > self.dssim_thresh) <= self.min_changed * area:
            return False
        kept = kind != 'genuine_into_fake' or self.min_kept == 0
        return kept or np.count_nonzero(score > self.kept_dssim_thresh) > self.min_kept * area
