# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import sys
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest

from iid_mm.errors import InputError, MissingExtraError
from iid_mm.evaluation.localization.maps import map_metrics
from iid_mm.registry import MODELS
from iid_mm.visualization.attention import (
    AttentionSettings,
    check_settings,
    face_panel,
    filled,
    map_tops,
    panel_name,
)
from iid_mm.visualization.drawing import BLUE, GREEN, VERMILION

from .face_views import SIDE, halves, make_view

needs_library = pytest.mark.skipif(
    find_spec('pytorch_grad_cam') is None, reason='grad-cam is not installed (extra attention)'
)
SIZE = (112, 112)


def test_energy_of_known_maps() -> None:
    mask = np.zeros((4, 4), np.uint8)
    mask[:2, :2] = 1
    heat = np.zeros((4, 4), np.float32)
    heat[0, 0], heat[3, 3] = 3, 1
    assert map_metrics(filled(heat), mask).energy == 0.75
    assert map_metrics(filled(np.full((4, 4), 0.1, np.float32)), mask).energy == pytest.approx(0.25)
    # A map of zeros is no better than chance.
    assert map_metrics(filled(np.zeros((4, 4), np.float32)), mask).energy == 0.25


def test_a_panel_shows_region_map_and_class() -> None:
    view = make_view('A', '001_009', halves(3, 1))
    panel = face_panel(view, {'gradcam': 3.0}, {'gradcam': 'Grad-CAM'}, cell=112)
    assert panel.shape[1] == 2 * 112 + 6
    # The outline runs along the region's right edge; its left half is hot under the map only.
    assert any(tuple(panel[56, x]) == GREEN for x in range(50, 60))
    assert tuple(panel[56, 20]) == (90, 90, 90)
    assert int(panel[56, 118 + 20, 2]) > 150
    assert (panel == VERMILION).all(axis=2).any()
    genuine = make_view('youtube', '001', halves(0, 0), fake=False)
    drawn = face_panel(genuine, {'gradcam': 0.0}, {}, cell=112)
    assert (drawn == BLUE).all(axis=2).any()
    assert not (drawn == GREEN).all(axis=2).any()
    assert tuple(drawn[56, 118 + 20]) == (90, 90, 90)


def test_brightest_colors() -> None:
    views = [make_view('A', 'a', halves(3, 1)), make_view('A', 'b', halves(0.5, 1))]
    for view, top in zip(views, (0.4, 0.8), strict=True):
        view.maps['adm'] = np.full((SIDE, SIDE), top)
    assert map_tops(views, 'own') == [dict(gradcam=3, adm=0.4), dict(gradcam=1, adm=0.8)]
    assert map_tops(views, 'shared') == [dict(gradcam=3, adm=0.8)] * 2
    assert map_tops(views) == [dict(gradcam=3, adm=0.8), dict(gradcam=1, adm=0.8)]
    with pytest.raises(InputError, match="scale='log'"):
        map_tops(views, 'log')


def test_names_of_panels() -> None:
    view = make_view('A', '0 1/../x', halves(1, 0))
    assert panel_name(7, view) == '007_A_x_00003.png'
    view.sample.set_metainfo(dict(method='../a b'))
    assert panel_name(7, view) == '007_..-a-b_x_00003.png'


@needs_library
def test_settings_say_which_maps_there_are(iid_scope: None, tiny_model_cfg: dict[str, Any]) -> None:
    detector: Any = MODELS.build(tiny_model_cfg)
    head = dict(tiny_model_cfg['forgery_head'], artifact_channels=None)
    plain: Any = MODELS.build(dict(tiny_model_cfg, neck=None, artifact_head=None, forgery_head=head))
    assert check_settings(detector, AttentionSettings('gradcam', heat_map='max'), SIZE) == {
        'gradcam': 'Grad-CAM',
        'adm': 'ADM (max)',
    }
    assert detector.artifact_head.test_cfg['heat_map'] == 'max'
    assert check_settings(detector, AttentionSettings('adm'), SIZE) == {'adm': 'ADM (noisy_or)'}
    assert check_settings(plain, AttentionSettings('eigencam'), SIZE) == {'eigencam': 'Eigen-CAM'}
    with pytest.raises(InputError, match='the model has no artifact_head'):
        check_settings(plain, AttentionSettings('adm'), SIZE)
    with pytest.raises(InputError, match="heat_map='sum'"):
        check_settings(detector, AttentionSettings('adm', heat_map='sum'), SIZE)


def test_a_missing_library_is_named(
    iid_scope: None, tiny_model_cfg: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, 'pytorch_grad_cam', None)
    with pytest.raises(MissingExtraError, match='grad-cam'):
        check_settings(MODELS.build(tiny_model_cfg), AttentionSettings('layercam'), SIZE)
