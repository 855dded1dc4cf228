# SPDX-License-Identifier: Apache-2.0
"""Pictures of predictions while a model is validated or tested."""

from __future__ import annotations

import re
from collections.abc import Sequence
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
    """Draw some of the faces that a model is validated or tested on, with what it says of them.

    Args:
        draw: Whether anything is drawn; False leaves the hook in a config without effect.
        interval: Draw every n-th sample.
        max_pictures: Draw at most so many in one validation or test.
        score_thr: Lowest score of a drawn box.
        test_out_dir: Folder, below the run's work directory, for pictures of a test. None gives them to the
            visualizer's backends, as those of a validation.

    Raises:
        InputError: If a number is out of range.
    """

    def __init__(
        self,
        draw: bool = True,
        interval: int = 50,
        max_pictures: int = 40,
        score_thr: float = 0.3,
        test_out_dir: str | None = 'predictions',
    ) -> None:
        for name, value in (('interval', interval), ('max_pictures', max_pictures)):
            if value < 1:
                raise InputError(f'{name}={value}: give at least 1')
        self.draw = draw
        self.interval = interval
        self.max_pictures = max_pictures
        self.score_thr = score_thr
        self.test_out_dir = test_out_dir
        self._seen = 0
        self._drawn = 0

    def before_val_epoch(self, runner: Runner) -> None:
        """Begin to count."""
        self._seen = self._drawn = 0

    def before_test_epoch(self, runner: Runner) -> None:
        """Begin to count."""
        self._seen = self._drawn = 0

    def after_val_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: Sequence[ForgeryDataSample] | None = None,
    ) -> None:
        """Draw samples of a batch for the backends."""
        self._draw_batch(runner, data_batch, outputs, 'val', None)

    def after_test_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: Sequence[ForgeryDataSample] | None = None,
    ) -> None:
        """Draw samples of a batch to files."""
        folder = None if self.test_out_dir is None else Path(runner.work_dir) / self.test_out_dir
        self._draw_batch(runner, data_batch, outputs, 'test', folder)

    def _draw_batch(
        self,
        runner: Runner,
        data_batch: Any,
        outputs: Sequence[ForgeryDataSample] | None,
        mode: str,
        folder: Path | None,
    ) -> None:
        if not self.draw or not outputs:
            return
        for image, sample in zip(data_batch['inputs'], outputs, strict=True):
            number = self._seen
            self._seen += 1
            if number % self.interval or self._drawn >= self.max_pictures:
                continue
            self._drawn += 1
            name = f'{mode}_{number:06d}_{_file_name(sample)}'
            # The tensor is (3, H, W) BGR; visualizers take (H, W, 3) RGB.
            picture = np.ascontiguousarray(image.cpu().numpy().transpose(1, 2, 0)[..., ::-1])
            runner.visualizer.add_datasample(
                name,
                picture,
                sample,
                pred_score_thr=self.score_thr,
                step=runner.iter,
                out_file=None if folder is None else str(folder / f'{name}.png'),
            )


def _file_name(sample: ForgeryDataSample) -> str:
    key = f'{sample.get("video_key", "sample")}_{sample.get("frame", 0)}'
    return re.sub(r'[^\w-]+', '_', key)
