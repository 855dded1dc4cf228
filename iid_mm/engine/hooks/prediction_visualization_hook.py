# SPDX-License-Identifier: Apache-2.0
"""Images of predictions during validation and test."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.hooks import Hook
from mmengine.runner import Runner

from iid_mm.errors import InputError
from iid_mm.registry import HOOKS
from iid_mm.structures import ForgeryDataSample


@HOOKS.register_module()
class PredictionVisualizationHook(Hook):
    """Draw predictions on some of the faces of a validation or test.

    Args:
        draw: Whether to draw; False disables the hook.
        interval: Draw every n-th sample.
        max_images: Draw at most this many in one validation or test.
        score_thr: Lowest score of a drawn box.
        test_out_dir: Folder below the work directory for images of a test. None sends them to the
            visualizer's backends, like those of a validation.

    Raises:
        InputError: If a number is out of range.
    """

    def __init__(
        self,
        draw: bool = True,
        interval: int = 50,
        max_images: int = 40,
        score_thr: float = 0.3,
        test_out_dir: str | None = 'predictions',
    ) -> None:
        for name, value in (('interval', interval), ('max_images', max_images)):
            if value < 1:
                raise InputError(f'{name}={value}: give at least 1')
        self.draw = draw
        self.interval = interval
        self.max_images = max_images
        self.score_thr = score_thr
        self.test_out_dir = test_out_dir
        self._seen = 0
        self._drawn = 0

    def _before_epoch(self, runner: Runner, mode: str = 'train') -> None:
        """Reset the counts."""
        self._seen = self._drawn = 0

    def _after_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: Any = None,
        mode: str = 'train',
    ) -> None:
        """Send images of a batch to the backends, or write those of a test to files."""
        if mode == 'train' or not self.draw or not outputs:
            return
        folder = None
        if mode == 'test' and self.test_out_dir is not None:
            folder = Path(runner.work_dir, self.test_out_dir)
        for image, sample in zip(data_batch['inputs'], outputs, strict=True):
            number = self._seen
            self._seen += 1
            if number % self.interval or self._drawn >= self.max_images:
                continue
            self._drawn += 1
            name = f'{mode}_{number:06d}_{_file_name(sample)}'
            # The tensor is (3, H, W) BGR; visualizers take (H, W, 3) RGB.
            face = np.ascontiguousarray(image.cpu().numpy().transpose(1, 2, 0)[..., ::-1])
            runner.visualizer.add_datasample(
                name,
                face,
                sample,
                pred_score_thr=self.score_thr,
                step=runner.iter,
                out_file=None if folder is None else str(folder / f'{name}.png'),
            )


def _file_name(sample: ForgeryDataSample) -> str:
    key = f'{sample.get("video_key", "sample")}_{sample.get("frame", 0)}'
    return re.sub(r'[^\w-]+', '_', key)
