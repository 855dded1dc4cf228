# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import stats

from iid_mm.errors import InputError
from iid_mm.evaluation.functional.per_method import scored_set
from iid_mm.evaluation.functional.roc import roc_curve
from iid_mm.visualization.score_plots import (
    _deviates,
    _scale,
    plot_det,
    plot_reliability,
    plot_roc,
    plot_score_histograms,
    score_plots,
)


def test_roc_has_a_line_a_curve_with_its_area(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    labels: list[str] = []
    plot = Axes.plot

    def spy(self: Axes, *args: object, **kwargs: object) -> object:
        labels.append(str(kwargs.get('label', '')))
        return plot(self, *args, **kwargs)

    monkeypatch.setattr(Axes, 'plot', spy)
    curves = {
        'Deepfakes': roc_curve([0.1, 0.2, 0.8, 0.9], [0, 0, 1, 1]),
        'overall': roc_curve([0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1]),
    }
    path = plot_roc(curves, tmp_path / 'new' / 'roc.png')
    height, width, _ = cv2.imread(str(path)).shape
    assert width > 1200
    assert 1.5 < width / height < 2.5
    # Each curve once in the whole and once in the enlarged panel.
    assert labels.count('Deepfakes  100.00 %') == 2
    assert labels.count('overall     75.00 %') == 2
    assert 'matplotlib.pyplot' not in plot_roc.__globals__


@pytest.mark.parametrize('count', [1, 3, 4, 7])
def test_histograms_of_any_number_of_groups(tmp_path: Path, count: int) -> None:
    generator = np.random.default_rng(0)
    groups = {f'method {i}': (generator.beta(1, 4, 50), generator.beta(4, 1, 20)) for i in range(count)}
    path = plot_score_histograms(groups, tmp_path / 'scores.png')
    image = cv2.imread(str(path))
    assert image.std() > 10
    assert image.shape[1] > 700


def test_plots_of_a_set(tmp_path: Path) -> None:
    generator = np.random.default_rng(2)
    labels = np.repeat([0, 1, 1], 20)
    keys = [f'{i // 2}' for i in range(60)]
    methods = np.repeat(['youtube', 'A', 'B'], 20)
    scored = scored_set(generator.random(60), labels, keys, methods)
    plots = score_plots(scored, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        *('roc_frame.png', 'roc_video.png', 'scores_frame.png', 'scores_video.png')
    ]
    assert len(plots) == 4


def test_nothing_to_plot_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match='curves is empty'):
        plot_roc({}, tmp_path / 'a.png')
    with pytest.raises(InputError, match='groups is empty'):
        plot_score_histograms({}, tmp_path / 'a.png')
    assert not list(tmp_path.iterdir())


def test_det_and_reliability(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    labels = np.repeat([0, 1], 50)
    scores = 1 / (1 + np.exp(-generator.normal(2 * labels)))
    curve = roc_curve(scores, labels)
    assert plot_det({'a': curve, 'overall': curve}, tmp_path / 'det.png').stat().st_size > 10_000
    assert plot_reliability(scores, labels, tmp_path / 'r.png').stat().st_size > 10_000
    # One bin, one class, all right: nothing to divide by.
    assert plot_reliability(np.ones(3), np.ones(3, dtype=int), tmp_path / 'one.png').is_file()
    with pytest.raises(InputError, match='curves is empty'):
        plot_det({}, tmp_path / 'none.png')
    with pytest.raises(InputError, match=r'lowest=0\.5'):
        plot_det({'a': curve}, tmp_path / 'none.png', lowest=0.5)


def test_error_rates_without_a_place_lie_on_the_edge() -> None:
    placed = _deviates(np.array([0.0, 0.0001, 0.5, 1.0]), 0.01)
    assert placed.tolist() == pytest.approx([-2.3263478740, -2.3263478740, 0, 1.2815515655])


@pytest.mark.parametrize('name', ['$\\frac{', '$x$ and $y', '$\\mathdefault{10}$ $\\foo{'])
def test_names_are_no_formulas(tmp_path: Path, name: str) -> None:
    """matplotlib would read what is between dollars, and fail where it is none."""
    curves = {name: roc_curve([0.1, 0.2, 0.8, 0.9], [0, 0, 1, 1])}
    assert plot_roc(curves, tmp_path / 'roc.png', title=name).stat().st_size


@pytest.mark.parametrize('lowest', [0.0001, 0.0005, 0.5 / 53, 0.5 / 18, 0.05, 0.1])
def test_the_edge_of_the_det_plot_is_labeled_as_such(lowest: float) -> None:
    axes = Figure().subplots()
    _scale(axes.xaxis, lowest)
    ticks, labels = axes.get_xticks(), [label.get_text() for label in axes.get_xticklabels()]
    assert ticks[0] == pytest.approx(stats.norm.ppf(lowest))
    assert labels[0] == f'≤ {100 * lowest:.2g}'
    assert [float(label) for label in labels[1:]] == pytest.approx(100 * stats.norm.cdf(ticks[1:]))
    # Labels keep a distance from the edge's.
    assert ticks[1] - ticks[0] > 0.06 * (ticks[-1] - ticks[0])
