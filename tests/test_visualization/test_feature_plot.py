# SPDX-License-Identifier: Apache-2.0
"""Panels of an embedding, and visualize_features.py from end to end."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from iid_mm.errors import InputError
from iid_mm.visualization.feature_plot import (
    OTHERS,
    embedding_figure,
    identity_groups,
    kind_groups,
)
from iid_mm.visualization.plots import FAKE, GENUINE, PALETTE
from support.paths import REPOSITORY

TOOL = REPOSITORY / 'tools' / 'analysis_tools' / 'visualize_features.py'


def test_the_most_frequent_identities_are_colored() -> None:
    identities = [f'{i:02d}' for i in range(14) for _ in range(2 + (i > 1))] + ['']
    groups = identity_groups(identities)
    # 00 and 01 have fewer samples than the twelve others.
    assert [group.name for group in groups] == ['2 others', *(f'{i:02d}' for i in range(2, 14))]
    assert groups[0].color == OTHERS
    assert groups[0].members == [0, 1, 2, 3, len(identities) - 1]
    assert len({(group.color, group.marker) for group in groups}) == 13
    assert groups[1].members == [4, 5, 6]
    assert sorted(i for group in groups for i in group.members) == list(range(len(identities)))

    asked = identity_groups(identities, ['13', '00'])
    assert [group.name for group in asked] == ['12 others', '13', '00']
    assert [group.color for group in asked[1:]] == list(PALETTE[:2])
    with pytest.raises(InputError, match='identities: 77 not among the samples; there are 00, 01'):
        identity_groups(identities, ['77'])
    with pytest.raises(InputError, match='13 are requested, at most 12'):
        identity_groups(identities, [f'{i:02d}' for i in range(13)])


def test_unknown_identities_are_gray() -> None:
    groups = identity_groups(['', 'a', ''])
    assert [(group.name, group.members) for group in groups] == [('unknown', [0, 2]), ('a', [1])]


def test_colors_of_manipulations_and_labels() -> None:
    groups = kind_groups(['genuine', 'FaceSwap', 'genuine', 'Deepfakes'])
    assert [(g.name, g.members) for g in groups] == [
        ('genuine', [0, 2]),
        ('Deepfakes', [3]),
        ('FaceSwap', [1]),
    ]
    assert groups[0].color == GENUINE
    assert len({group.color for group in groups}) == 3
    labels = kind_groups(['genuine', 'fake', 'genuine', 'fake'], (FAKE,))
    named = [(g.name, g.color, g.members) for g in labels]
    assert named == [('genuine', GENUINE, [0, 2]), ('fake', FAKE, [1, 3])]
    many = kind_groups([f'm{i}' for i in range(15)])
    assert len({(group.color, group.marker) for group in many}) == 15


def test_every_panel_draws_every_point_once() -> None:
    placed = np.random.default_rng(0).normal(size=(30, 2))
    panels = {
        'identity': identity_groups([f'{i % 15:02d}' for i in range(30)]),
        'label': kind_groups(['genuine', 'fake'] * 15, (FAKE,)),
    }
    figure = embedding_figure(placed, panels, title='t', scores={'identity': 0.25, 'label': None})
    assert [axes.get_title() for axes in figure.axes] == [
        'identity (silhouette in the features +0.25)',
        'label',
    ]
    for axes, groups in zip(figure.axes, panels.values(), strict=True):
        drawn = np.concatenate([np.asarray(dots.get_offsets()) for dots in axes.collections])
        np.testing.assert_allclose(np.sort(drawn, axis=0), np.sort(placed, axis=0))
        legend = axes.get_legend()
        names = [text.get_text() for text in legend.get_texts()]
        # The gray ones come last in the legend and first in the drawing.
        gray = [group.name for group in groups if group.color == OTHERS]
        assert names == [group.name for group in groups if group.color != OTHERS] + gray


@pytest.fixture
def tool(run_as_script: Callable[..., Any]) -> Callable[..., Any]:
    """Run the tool: exit status, stdout, stderr."""
    return partial(run_as_script, TOOL)


def test_index_to_image(
    tool: Callable[..., Any], tiny_config: Path, tiny_checkpoint: Path, tiny_prepared: Path, tmp_path: Path
) -> None:
    common = (tiny_config, tiny_checkpoint, '--index', tiny_prepared)
    for name in ('a', 'b'):
        more = ('--max-samples', 18, '--method', 'tsne')
        status, out, _ = tool(*common, '--out', tmp_path / name / 'x.png', *more)
        assert status == 0
    assert 'manipulation' in out
    image = cv2.imread(str(tmp_path / 'a' / 'x.png'))
    assert image.shape[1] > 2 * image.shape[0]
    data = json.loads((tmp_path / 'a' / 'x.json').read_text())
    assert data['feature'] == 'backbone'
    assert data['samples'] == 18
    scores = data['silhouettes']
    assert {name: found['groups'] for name, found in scores.items()} == dict(
        identity=3, manipulation=3, label=2
    )
    assert all(-1 <= found['features'] <= 1 for found in scores.values())
    for name in ('x.png', 'x.json'):
        assert (tmp_path / 'a' / name).read_bytes() == (tmp_path / 'b' / name).read_bytes()

    status, _, _ = tool(
        *common, '--out', tmp_path / 'c.png', '--feature', 'fused', '--method', 'pca', '--identities', '201'
    )
    assert status == 0
    assert json.loads((tmp_path / 'c.json').read_text())['samples'] == 27
    status, out, _ = tool(*common, '--out', tmp_path / 'd.png', '--list-features')
    assert status == 0
    assert {'backbone', 'fused', 'logits'} <= {line.split()[0] for line in out.splitlines() if line.strip()}
    assert not (tmp_path / 'd.png').exists()


def test_bad_input(
    tool: Callable[..., Any],
    tiny_config: Path,
    tiny_checkpoint: Path,
    tiny_prepared: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def error(*more: Any) -> str:
        arguments = (
            tiny_config,
            tiny_checkpoint,
            '--index',
            tiny_prepared,
            '--out',
            tmp_path / 'x.png',
            *more,
        )
        status, _, err = tool(*arguments)
        assert status == 1
        assert err.count('\n') == 1
        return str(err)

    assert '--feature layer9: unknown; this model has pixels, ' in error('--feature', 'layer9')
    assert 'identities: 999 not among the samples; there are 200, 201, 202' in error(
        '--identities', '999', '--method', 'pca'
    )
    assert '--max-samples 3' in error('--max-samples', 3)
    assert 'none' in error('--index', tmp_path / 'none')
    assert 'cannot be written' in error('--out', tmp_path / 'x.abc', '--method', 'pca')
    monkeypatch.setitem(sys.modules, 'umap', None)
    assert "pip install 'iid-mm[umap]'" in error('--method', 'umap')
