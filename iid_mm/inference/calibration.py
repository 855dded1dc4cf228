# SPDX-License-Identifier: Apache-2.0
"""The calibration of a checkpoint: fitted on validation data and stored in the checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from mmengine.dataset import pseudo_collate
from torch.utils.data import DataLoader
from tqdm import tqdm

from iid_mm.datasets.loader_workers import harden_loader
from iid_mm.errors import InputError
from iid_mm.evaluation.functional.aggregate import video_scores
from iid_mm.evaluation.statistics.calibration import TemperatureFit, fit_temperature
from iid_mm.registry import DATASETS

META_KEY = 'calibration'
"""Its key in a checkpoint's ``meta``."""
_LARGEST = 1e12
"""Limit of counts and errors in a checkpoint, which may be damaged."""


@dataclass(frozen=True)
class Calibration:
    """Temperatures of a checkpoint.

    The classes weigh equally in the fit, so a calibrated probability holds for inputs like the data it was
    fitted on, if genuine and fake ones are equally frequent. It stays in the range that the number of
    validation videos supports, see
    :attr:`~iid_mm.evaluation.statistics.calibration.TemperatureFit.limits`.

    Attributes:
        frame: For single images.
        video: For videos, whose probability is aggregated over frames.
        data: Description of the data it was fitted on.
        aggregation: How frame scores were aggregated.
    """

    frame: TemperatureFit
    video: TemperatureFit
    data: str
    aggregation: str = 'mean'

    def apply(self, probability: float, *, of_video: bool) -> float:
        """Calibrate a probability of fake."""
        fit = self.video if of_video else self.frame
        return float(fit.apply([probability])[0])

    def as_dict(self) -> dict[str, Any]:
        """Plain data for the ``meta`` of a checkpoint."""
        return asdict(self)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Calibration:
        """Read the output of :meth:`as_dict`.

        Raises:
            InputError: A value is missing or out of range.
        """
        where = 'the calibration in the checkpoint'
        if not isinstance(content, Mapping):
            raise InputError(f'{where} is a {type(content).__name__}')
        for value in content.values():
            # These go into messages and reports.
            parts = value.values() if isinstance(value, Mapping) else [value]
            if not all(isinstance(part, (int, float, str, type(None))) for part in parts):
                raise InputError(f'{where} holds more than numbers and text')
        try:
            frame, video = (TemperatureFit(**content[key]) for key in ('frame', 'video'))
            found = cls(frame, video, str(content['data']), str(content['aggregation']))
        except (KeyError, TypeError) as error:
            raise InputError(f'{where} is incomplete ({error})') from error
        for fit in (frame, video):
            for count in (fit.genuine_videos, fit.fake_videos):
                if count is not None and (type(count) is not int or count < 1):
                    raise InputError(f'{where} counts {count!r} videos of a class')
            if not isinstance(fit.temperature, float) or not 0 < fit.temperature < float('inf'):
                raise InputError(f'{where} has temperature={fit.temperature!r}')
            for name in ('samples', 'fakes', 'loss_before', 'loss_after', 'error_before', 'error_after'):
                value = getattr(fit, name)
                if type(value) not in (int, float) or not 0 <= value < _LARGEST:
                    raise InputError(
                        f'{where} has {name}={str(value)[:40]!r}; fit it again (tools/calibrate.py)'
                    )
        return found


def calibration_of(meta: Mapping[str, Any] | None) -> Calibration | None:
    """The calibration in a checkpoint's ``meta``; None if there is none.

    Raises:
        InputError: It is damaged.
    """
    content = (meta or {}).get(META_KEY)
    return None if content is None else Calibration.from_dict(content)


def calibrate(
    model: Any, dataloader: Mapping[str, Any], *, aggregation: str = 'mean', progress: bool = False
) -> Calibration:
    """Score a dataset and fit the temperatures.

    Args:
        model: Detector in evaluation mode.
        dataloader: Config of the data loader, e.g. ``cfg.val_dataloader``.
        aggregation: How frame scores are aggregated.
        progress: Whether to show a progress bar.

    Raises:
        InputError: The dataset is empty or lacks a class.
    """
    cfg = dict(dataloader)
    dataset = DATASETS.build(cfg['dataset'])
    loader: Any = harden_loader(
        DataLoader(
            dataset,
            batch_size=cfg.get('batch_size', 32),
            num_workers=cfg.get('num_workers', 0),
            collate_fn=pseudo_collate,
        )
    )
    scores: list[float] = []
    labels: list[int] = []
    keys: list[str] = []
    with torch.no_grad():
        for batch in tqdm(loader, desc='scoring', unit='batch', disable=not progress):
            for sample in model.test_step(batch):
                scores.append(float(sample.pred_score[1]))
                labels.append(int(sample.gt_label))
                keys.append(str(sample.video_key))
    videos = video_scores(scores, labels, keys, aggregation, name='the validation data')
    split, files = getattr(dataset, 'split', 'val'), getattr(dataset, 'ann_files', [])
    names = ', '.join('/'.join(Path(file).parts[-2:]) for file in files) or 'its dataset'
    fake_videos = int(videos.labels.sum())
    counts = (videos.labels.size - fake_videos, fake_videos)
    return Calibration(
        fit_temperature(scores, labels, videos=counts, name='the validation data'),
        fit_temperature(videos.scores, videos.labels, name='the validation data'),
        f'{videos.scores.size} videos of split {split} of {names}',
        aggregation,
    )
