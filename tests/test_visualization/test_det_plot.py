# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
from matplotlib.figure import Figure
from scipy import stats

from iid_mm.visualization.det_plot import _scale


@pytest.mark.parametrize('lowest', [0.0001, 0.0005, 0.5 / 53, 0.5 / 18, 0.05, 0.1])
def test_the_edge_of_the_det_plot_says_what_lies_on_it(lowest: float) -> None:
    axes = Figure().subplots()
    _scale(axes.xaxis, lowest)
    ticks, labels = axes.get_xticks(), [label.get_text() for label in axes.get_xticklabels()]
    assert ticks[0] == pytest.approx(stats.norm.ppf(lowest))
    assert labels[0] == f'≤ {100 * lowest:.2g}'
    assert [float(label) for label in labels[1:]] == pytest.approx(100 * stats.norm.cdf(ticks[1:]))
    # Labels keep a distance from the edge's.
    assert ticks[1] - ticks[0] > 0.06 * (ticks[-1] - ticks[0])
