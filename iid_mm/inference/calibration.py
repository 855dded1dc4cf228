# SPDX-License-Identifier: Apache-2.0
"""Temperature scaling: probabilities that mean what they say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from mmengine.dataset import pseudo_collate
from scipy.optimize import minimize_scalar
from scipy.special import expit, logit
from torch.utils.data import DataLoader
from tqdm import tqdm

from iid_mm.datasets.loader_workers import harden_loader
from iid_mm.errors import InputError
from iid_mm.evaluation.functional.aggregate import video_scores
from iid_mm.evaluation.functional.inputs import check_probabilities, check_scores
from iid_mm.evaluation.statistics.calibration import balanced_calibration_error
from iid_mm.registry import DATASETS

META_KEY = 'calibration'
"""Where it lies in a checkpoint's ``meta``."""
BOUNDS = (0.05, 20.0)
"""Smallest and largest temperature that is looked for."""
_EDGE = 1e-6
# Of counts and errors that a checkpoint tells.
_MOST = 1e12


@dataclass(frozen=True)
class Fit:
    """A temperature and what it was fitted on.

    Attributes:
        temperature: Log-odds are divided by it; above 1 makes probabilities less extreme.
        samples: Frames or videos it was fitted on.
        fakes: Fakes among them.
        loss_before: Mean negative log-likelihood of the given probabilities.
        loss_after: That of the calibrated ones.
        error_before: Calibration error with balanced classes,
            :func:`~iid_mm.evaluation.statistics.calibration.balanced_calibration_error`, of the given
            probabilities.
        error_after: That of the calibrated ones.
        genuine_videos: Genuine videos that the samples come from; None in checkpoints that were calibrated
            before this was counted.
        fake_videos: Fake ones.
    """

    temperature: float
    samples: int
    fakes: int
    loss_before: float
    loss_after: float
    error_before: float
    error_after: float
    genuine_videos: int | None = None
    fake_videos: int | None = None

    @property
    def limits(self) -> tuple[float, float] | None:
        """Smallest and largest probability that so few videos can support; None if they were not counted.

        Laplace's rule of succession: after n videos of a class, all of which were told right, the next one is
        with probability (n + 1) / (n + 2). The rarer class counts, for both ends.
        """
        if self.genuine_videos is None or self.fake_videos is None:
            return None
        rarer = min(self.genuine_videos, self.fake_videos)
        return 1 / (rarer + 2), (rarer + 1) / (rarer + 2)

    @property
    def at_edge(self) -> bool:
        """Whether the best temperature may lie outside of :data:`BOUNDS`."""
        return not BOUNDS[0] * 1.01 < self.temperature < BOUNDS[1] / 1.01

    def apply(self, probabilities: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Calibrate (N,) probabilities of fake: divide by the temperature, keep to :attr:`limits`."""
        scaled = scale_probabilities(probabilities, self.temperature)
        return scaled if self.limits is None else np.clip(scaled, *self.limits)


@dataclass(frozen=True)
class Calibration:
    """Temperatures of a checkpoint.

    The classes weigh equally in the fit, so a calibrated probability holds for an input that is genuine or
    fake with equal chances beforehand, and that is like the data it was fitted on. No probability is stated
    that the number of validation videos cannot support, see :attr:`Fit.limits`.

    Attributes:
        frame: For single images.
        video: For videos, whose probability is that of all frames together.
        data: What it was fitted on, in words.
        aggregation: How frames made a video.
    """

    frame: Fit
    video: Fit
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
        """Read what :meth:`as_dict` wrote.

        Raises:
            InputError: Something is missing or no temperature.
        """
        if not isinstance(content, Mapping):
            raise InputError(f'the calibration in the checkpoint is a {type(content).__name__}')
        for value in content.values():
            # Nothing else is written; what these hold goes into messages and reports.
            parts = value.values() if isinstance(value, Mapping) else [value]
            if not all(isinstance(part, (int, float, str, type(None))) for part in parts):
                raise InputError('the calibration in the checkpoint holds more than numbers and text')
        try:
            found = cls(
                Fit(**content['frame']),
                Fit(**content['video']),
                str(content['data']),
                str(content['aggregation']),
            )
        except (KeyError, TypeError) as error:
            raise InputError(f'the calibration in the checkpoint is incomplete ({error})') from error
        for fit in (found.frame, found.video):
            for count in (fit.genuine_videos, fit.fake_videos):
                if count is not None and (type(count) is not int or count < 1):
                    raise InputError(f'the calibration in the checkpoint counts {count!r} videos of a class')
            if not isinstance(fit.temperature, float) or not 0 < fit.temperature < float('inf'):
                raise InputError(f'the calibration in the checkpoint has temperature={fit.temperature!r}')
            for name in ('samples', 'fakes', 'loss_before', 'loss_after', 'error_before', 'error_after'):
                value = getattr(fit, name)
                if type(value) not in (int, float) or not 0 <= value < _MOST:
                    raise InputError(
                        f'the calibration in the checkpoint has {name}={str(value)[:40]!r}; fit it again '
                        '(tools/calibrate.py)'
                    )
        return found


def calibration_of(meta: Mapping[str, Any] | None) -> Calibration | None:
    """The calibration in a checkpoint's ``meta``; None if there is none.

    Raises:
        InputError: It is damaged.
    """
    content = (meta or {}).get(META_KEY)
    return None if content is None else Calibration.from_dict(content)


def scale_probabilities(probabilities: npt.ArrayLike, temperature: float) -> npt.NDArray[np.float64]:
    """Divide the log-odds of probabilities by a temperature.

    For two classes this is temperature scaling of the logits (Guo et al., "On Calibration of Modern Neural
    Networks", 2017, section 4.2): softmax(z / T) = expit(log-odds / T).

    Args:
        probabilities: (N,) probabilities; those nearer to 0 or 1 than 1e-6 count as this near.
        temperature: Above 0.

    Returns:
        (N,) probabilities.
    """
    values = np.clip(np.asarray(probabilities, dtype=np.float64), _EDGE, 1 - _EDGE)
    return np.asarray(expit(logit(values) / temperature), dtype=np.float64)


def fit_temperature(
    probabilities: npt.ArrayLike,
    labels: npt.ArrayLike,
    *,
    videos: tuple[int, int] | None = None,
    name: str = 'the set',
) -> Fit:
    """Find the temperature of the least negative log-likelihood, both classes weighing equally.

    The targets are those of Platt ("Probabilistic Outputs for Support Vector Machines", 1999, section 2.2):
    with N+ fakes and N- genuine videos (N+ + 1) / (N+ + 2) for a fake and 1 / (N- + 2) for a genuine one, so
    that a few videos that the scores separate do not make every score a certainty. The losses and errors
    of the fit are computed with the labels themselves, so on such a set they may grow.

    Args:
        probabilities: (N,) probabilities of fake.
        labels: (N,) 0 = genuine, 1 = fake; both must be there.
        videos: Genuine and fake videos that the samples come from: the frames of a video are no independent
            evidence. None takes each sample for a video of its own.
        name: What error messages call the set.

    Raises:
        InputError: A probability lies outside [0, 1], or a class is missing.
    """
    scores, classes = check_scores(probabilities, labels, name=name)
    check_probabilities(scores, name=name, metric='calibration')
    fakes = int(classes.sum())
    if fakes in (0, classes.size):
        raise InputError(
            f'{name} holds {"only" if fakes else "no"} fakes, and a temperature needs both classes; '
            'give data with genuine faces and fakes'
        )
    weight = np.where(classes == 1, 0.5 / fakes, 0.5 / (classes.size - fakes))
    genuine_videos, fake_videos = videos or (classes.size - fakes, fakes)
    smoothed = np.where(classes == 1, (fake_videos + 1) / (fake_videos + 2), 1 / (genuine_videos + 2))

    def loss(values: npt.NDArray[np.float64], targets: npt.NDArray[Any] = classes) -> float:
        safe = np.clip(values, 1e-12, 1 - 1e-12)
        return float(-(weight * (targets * np.log(safe) + (1 - targets) * np.log1p(-safe))).sum())

    found = minimize_scalar(
        lambda log_t: loss(scale_probabilities(scores, float(np.exp(log_t))), smoothed),
        bounds=np.log(BOUNDS),
        method='bounded',
        options={'xatol': 1e-6},
    )
    fit = Fit(
        float(np.exp(found.x)),
        int(classes.size),
        fakes,
        0.0,
        0.0,
        0.0,
        0.0,
        int(genuine_videos),
        int(fake_videos),
    )
    given, calibrated = scale_probabilities(scores, 1.0), fit.apply(scores)
    return replace(
        fit,
        loss_before=loss(given),
        loss_after=loss(calibrated),
        error_before=balanced_calibration_error(scores, classes),
        error_after=balanced_calibration_error(calibrated, classes),
    )


def calibrate(
    model: Any, dataloader: Mapping[str, Any], *, aggregation: str = 'mean', progress: bool = False
) -> Calibration:
    """Score a dataset and fit the temperatures.

    Args:
        model: Detector in evaluation mode.
        dataloader: Config of the data loader, e.g. ``cfg.val_dataloader``.
        aggregation: How frames make a video.
        progress: Whether a bar is shown.

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
