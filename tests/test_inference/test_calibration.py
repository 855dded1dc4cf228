# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from iid_mm.errors import InputError
from iid_mm.evaluation.statistics.calibration import fit_temperature, scale_probabilities
from iid_mm.inference.calibration import Calibration, calibration_of


def test_checkpoints_without_counts_still_work() -> None:
    fit = fit_temperature([0.0] * 18 + [1.0] * 54, [0] * 18 + [1] * 54)
    content = Calibration(fit, fit, 'old').as_dict()
    for part in ('frame', 'video'):
        del content[part]['genuine_videos'], content[part]['fake_videos']
    old = Calibration.from_dict(content)
    assert old.video.limits is None
    assert old.apply(1.0, of_video=True) == pytest.approx(scale_probabilities([1.0], fit.temperature)[0])
    content['video']['fake_videos'] = 0
    with pytest.raises(InputError, match='counts 0 videos'):
        Calibration.from_dict(content)


def test_round_trip() -> None:
    fit = fit_temperature([0.9, 0.2, 0.6], [1, 0, 0])
    made = Calibration(fit, fit, '3 videos')
    assert Calibration.from_dict(made.as_dict()) == made
    assert calibration_of({'calibration': made.as_dict()}) == made
    assert calibration_of({}) is None
    assert calibration_of(None) is None
    scaled = float(scale_probabilities([0.7], fit.temperature)[0])
    assert made.apply(0.7, of_video=True) == made.apply(0.7, of_video=False) == scaled


def test_bad_input() -> None:
    with pytest.raises(InputError, match='incomplete'):
        Calibration.from_dict({'frame': {}})
    endless: list[Any] = [1]
    for _ in range(60):
        # As text this has no end.
        endless = [endless, endless]
    for damaged in ('x', 5, [1], np.ones(3)):
        with pytest.raises(InputError, match='the calibration in the checkpoint is a '):
            Calibration.from_dict(damaged)  # type: ignore[arg-type]
    fit = fit_temperature([0.9, 0.2], [1, 0])
    content = Calibration(fit, fit, '').as_dict()
    for damaged in ({**content, 'data': endless}, {**content, 'frame': {'temperature': endless}}):
        with pytest.raises(InputError, match='more than numbers and text'):
            Calibration.from_dict(damaged)
    content['video']['temperature'] = -1.0
    with pytest.raises(InputError, match=r'temperature=-1\.0'):
        Calibration.from_dict(content)


@pytest.mark.parametrize('name', ['samples', 'loss_before', 'error_after'])
@pytest.mark.parametrize('value', ['x', None, math.nan, -1, 10**400])
def test_values_that_are_no_numbers_are_refused(name: str, value: Any) -> None:
    fit = fit_temperature([0.9, 0.2], [1, 0])
    content = Calibration(fit, fit, '').as_dict()
    content['frame'][name] = value
    with pytest.raises(InputError, match=f'{name}=.*calibrate'):
        Calibration.from_dict(content)
