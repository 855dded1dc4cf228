# SPDX-License-Identifier: Apache-2.0
"""Visualizer of artifact boxes and the probability of fake."""

from __future__ import annotations

import logging
from typing import Any

import cv2
import matplotlib.pyplot as plt
import numpy as np
from mmengine.dist import master_only
from mmengine.logging import print_log
from mmengine.visualization import Visualizer

from iid_mm.datasets.functional.geometry import warp_image
from iid_mm.errors import InputError
from iid_mm.registry import VISUALIZERS
from iid_mm.structures import ForgeryDataSample
from iid_mm.utils.typing import ImageArray
from iid_mm.visualization.drawing import (
    BLUE,
    GREEN,
    VERMILION,
    draw_boxes,
    fit_image,
    write_image,
)
from iid_mm.visualization.image_grid import add_caption, side_by_side

CLASSES = ('genuine', 'fake')


@VISUALIZERS.register_module()
class ForgeryVisualizer(Visualizer):
    """Draw the prediction for a face.

    The prediction's panel has the artifact boxes with their scores and, in a band below the face,
    the probability of fake and, where known, the label. A sample with annotated artifact boxes gets a second
    panel with these to the left.

    Args:
        name: Name of the visualizer.
        image: First image, (H, W, 3) uint8, RGB; None: none yet.
        vis_backends: Configs of the storage backends.
        save_dir: Folder of the backends.
        size: Longer edge of a drawn face in pixels; smaller faces are scaled up.
        threshold: A probability >= this is called fake.
        max_boxes: Highest number of predicted boxes that are drawn; those with the highest scores.
    """

    def __init__(
        self,
        name: str = 'visualizer',
        image: ImageArray | None = None,
        vis_backends: list[dict[str, Any]] | None = None,
        save_dir: str | None = None,
        size: int = 384,
        threshold: float = 0.5,
        max_boxes: int = 5,
    ) -> None:
        super().__init__(name=name, image=image, vis_backends=vis_backends, save_dir=save_dir)
        if size < 32:
            raise InputError(f'size={size} leaves no room to draw; give at least 32 pixels')
        self.size = size
        self.threshold = threshold
        self.max_boxes = max_boxes

    @master_only
    def add_datasample(
        self,
        name: str,
        image: ImageArray,
        data_sample: ForgeryDataSample | None = None,
        draw_gt: bool = True,
        draw_pred: bool = True,
        show: bool = False,
        wait_time: float = 0,
        out_file: str | None = None,
        pred_score_thr: float = 0.3,
        step: int = 0,
    ) -> None:
        """Draw a sample and pass the image to the backends, a file or a window.

        Args:
            name: Name of the drawn image.
            image: (H, W, 3) uint8, RGB: the model's input, or the stored crop, which is recognized by
                its size and warped to the input with the sample's ``warp_matrix``.
            data_sample: Annotation and prediction; None: the image alone.
            draw_gt: Draw the annotated boxes, where there are any, and write the truth.
            draw_pred: Draw the predicted boxes and write the probability of fake.
            show: Open a window; without a display a warning is logged.
            wait_time: Seconds that the window stays open; 0: until a key is pressed.
            out_file: Write the image to this file instead of passing it to the backends.
            pred_score_thr: Predicted boxes below this score are left out.
            step: Step that the backends record.
        """
        drawn = self.draw(
            np.ascontiguousarray(image[..., ::-1]),
            data_sample,
            draw_gt=draw_gt,
            draw_pred=draw_pred,
            pred_score_thr=pred_score_thr,
        )
        rgb = np.ascontiguousarray(drawn[..., ::-1])
        self.set_image(rgb)
        if show:
            self._show(rgb, name, wait_time)
        if out_file is None:
            self.add_image(name, rgb, step)
            return
        write_image(out_file, drawn, argument='out_file=')

    def draw(
        self,
        image: ImageArray,
        data_sample: ForgeryDataSample | None,
        *,
        draw_gt: bool = True,
        draw_pred: bool = True,
        pred_score_thr: float = 0.3,
    ) -> ImageArray:
        """Draw a sample, see :meth:`add_datasample`; ``image`` and the result are BGR."""
        if data_sample is None:
            return fit_image(image, (self.size, self.size))[0]
        sample = data_sample.cpu()
        face, factor = fit_image(_to_canvas(image, sample), (self.size, self.size))
        truth = _truth(sample) if draw_gt else ''
        panels = []
        if draw_gt and 'gt_instances' in sample and len(sample.gt_instances) > 0:
            boxes = sample.gt_instances.bboxes.numpy() * factor
            panel = draw_boxes(face, boxes, color=GREEN)
            panels.append(add_caption(panel, [f'truth: {truth}', 'annotated boxes'], size=16, accent=GREEN))
        if draw_pred and 'pred_score' in sample:
            panels.append(self._prediction(face, factor, sample, '' if panels else truth, pred_score_thr))
        if not panels:
            return add_caption(face, [f'truth: {truth}'], size=16) if truth else face
        return side_by_side(panels, gap=8)

    def _prediction(
        self,
        face: ImageArray,
        factor: float,
        sample: ForgeryDataSample,
        truth: str,
        pred_score_thr: float,
    ) -> ImageArray:
        probability = float(sample.pred_score[1])
        fake = probability >= self.threshold
        panel = face
        if 'pred_instances' in sample:
            found = sample.pred_instances
            scores = found.scores.float().numpy()
            order = np.argsort(-scores, kind='stable')[: self.max_boxes]
            order = order[scores[order] >= pred_score_thr]
            boxes = found.bboxes.float().numpy()[order] * factor
            panel = draw_boxes(face, boxes, scores[order], VERMILION)
        lines = [f'predicted: {CLASSES[fake]}', f'P(fake) = {100 * probability:.1f} %']
        if truth:
            lines.append(f'truth: {truth}')
        return add_caption(panel, lines, size=16, accent=VERMILION if fake else BLUE)

    def _show(self, drawn: ImageArray, name: str, wait_time: float) -> None:
        if plt.get_backend().lower() == 'agg':
            print_log(
                f'no display to show {name!r} on; give out_file to write the image to a file',
                logger='current',
                level=logging.WARNING,
            )
            return
        self.show(drawn, win_name=name, wait_time=wait_time)


def _truth(sample: ForgeryDataSample) -> str:
    if 'gt_label' not in sample:
        return ''
    label = CLASSES[int(sample.gt_label)]
    method = sample.get('method')
    return f'{label} ({method})' if method else label


def _to_canvas(image: ImageArray, sample: ForgeryDataSample) -> ImageArray:
    """Bring the image into the coordinates of the sample's boxes."""
    shape = sample.get('img_shape')
    if shape is None or image.shape[:2] == tuple(shape[:2]):
        return image
    height, width = int(shape[0]), int(shape[1])
    matrix = sample.get('warp_matrix')
    if matrix is None:
        return np.asarray(cv2.resize(image, (width, height)), np.uint8)
    return warp_image(image, np.asarray(matrix, dtype=np.float64)[:2], (width, height))
