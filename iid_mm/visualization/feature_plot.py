# SPDX-License-Identifier: Apache-2.0
"""Plots of an embedding, colored by identity, by manipulation and by label."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from iid_mm.errors import InputError
from iid_mm.utils.typing import FloatArray
from iid_mm.visualization.plots import GENUINE, INK, MUTED, PALETTE, new_figure

MAX_COLORED = 12
"""Identities that get a color of their own."""
OTHERS = '#C9CDD3'
# Twelve combinations: the six colors of the palette with two shapes.
MARKERS = ('o', '^')
FAKE_MARKERS = ('o', '^', 's', 'v', 'D')
MANIPULATION_COLORS = tuple(color for color in PALETTE if color != GENUINE)
GENUINE_KIND = 'genuine'


@dataclass(frozen=True)
class PanelGroup:
    """Points of one group.

    Attributes:
        name: Its entry in the legend.
        members: Numbers of the points.
        color: Their color.
        marker: Their shape.
    """

    name: str
    members: list[int]
    color: str
    marker: str = 'o'


def identity_groups(identities: Sequence[str], shown: Sequence[str] | None = None) -> list[PanelGroup]:
    """Groups of the identity panel: the most frequent or the requested identities; the others are gray.

    Args:
        identities: Of every point; '' = unknown.
        shown: Identities to color; None: the :data:`MAX_COLORED` most frequent ones, ties by name.

    Returns:
        Gray points first, so that colored ones lie on top of them.

    Raises:
        InputError: More are requested than there are colors, or one is not among the samples.
    """
    counts = Counter(name for name in identities if name)
    if shown is None:
        chosen = sorted(counts, key=lambda name: (-counts[name], name))[:MAX_COLORED]
        chosen.sort()
    else:
        chosen = list(dict.fromkeys(shown))
        if len(chosen) > MAX_COLORED:
            raise InputError(f'identities: {len(chosen)} are requested, at most {MAX_COLORED} get colors')
        if missing := [name for name in chosen if name not in counts]:
            known = sorted(counts)
            more = f', ... ({len(known) - 20} more)' if len(known) > 20 else ''
            raise InputError(
                f'identities: {", ".join(missing)} not among the samples; there are '
                f'{", ".join(known[:20]) or "none"}{more}'
            )
    groups = [
        PanelGroup(name, _members(identities, name), PALETTE[i % len(PALETTE)], MARKERS[i // len(PALETTE)])
        for i, name in enumerate(chosen)
    ]
    rest = [i for i, own in enumerate(identities) if own not in chosen]
    if not rest:
        return groups
    left = len(counts) - len(chosen)
    return [PanelGroup(f'{left} others' if left else 'unknown', rest, OTHERS), *groups]


def kind_groups(kinds: Sequence[str], palette: Sequence[str] = MANIPULATION_COLORS) -> list[PanelGroup]:
    """Groups of manipulations or labels: genuine faces first, in their own color, the others by name.

    Args:
        kinds: Kind of every point; genuine ones are ``'genuine'``.
        palette: Colors of the others; further ones repeat them with other shapes.

    Returns:
        The groups that have points.
    """
    fakes = sorted(set(kinds) - {GENUINE_KIND})
    looks = [(palette[i % len(palette)], FAKE_MARKERS[i // len(palette) % 5]) for i in range(len(fakes))]
    genuine = PanelGroup(GENUINE_KIND, _members(kinds, GENUINE_KIND), GENUINE)
    others = [PanelGroup(n, _members(kinds, n), *look) for n, look in zip(fakes, looks, strict=True)]
    return [genuine, *others] if genuine.members else others


def _members(values: Sequence[str], wanted: str) -> list[int]:
    return [i for i, value in enumerate(values) if value == wanted]


def embedding_figure(
    placed: FloatArray,
    panels: Mapping[str, Sequence[PanelGroup]],
    *,
    title: str,
    scores: Mapping[str, float | None] | None = None,
) -> Figure:
    """Draw one embedding once for every grouping, side by side.

    Args:
        placed: (N, 2).
        panels: Groups by the name of the grouping.
        title: Title above the panels.
        scores: Silhouette in the features by grouping, written over the panels.

    Returns:
        The figure.
    """
    figure = new_figure(4.6 * len(panels), 5.6)
    figure.suptitle(title, color=INK, fontsize=12)
    points = np.asarray(placed, dtype=np.float64)
    axes = figure.subplots(1, len(panels), squeeze=False, sharex=True, sharey=True)[0]
    for panel, (name, groups) in zip(axes, panels.items(), strict=True):
        _draw_panel(panel, points, groups)
        score = (scores or {}).get(name)
        suffix = '' if score is None else f' (silhouette in the features {score:+.2f})'
        panel.set_title(f'{name}{suffix}', color=INK, fontsize=10)
    return figure


def _draw_panel(axes: Axes, points: FloatArray, groups: Sequence[PanelGroup]) -> None:
    size = float(np.clip(6000 / len(points), 7, 36))
    gray = [group for group in groups if group.color == OTHERS]
    own = [group for group in groups if group.color != OTHERS]
    handles = {}
    for group in gray:
        x, y = points[group.members].T
        handles[group.name] = axes.scatter(x, y, s=0.7 * size, c=OTHERS, linewidths=0)
    # Drawn in an order that does not depend on the group, so that no group hides another.
    order = np.random.default_rng(0).permutation([i for group in own for i in group.members])
    rank = {int(point): place for place, point in enumerate(order)}
    for group in own:
        members = sorted(group.members, key=lambda point: rank[point])
        for layer in range(4):
            x, y = points[[m for m in members if rank[m] * 4 // len(order) == layer]].T
            dots = axes.scatter(
                x,
                y,
                s=size,
                c=group.color,
                marker=group.marker,
                linewidths=0.3,
                edgecolors='white',
                zorder=3 + layer,
            )
            handles[group.name] = dots
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_color(MUTED)
    axes.set_box_aspect(1)
    names = [group.name for group in (*own, *gray)]
    axes.legend(
        [handles[name] for name in names],
        names,
        loc='upper center',
        bbox_to_anchor=(0.5, -0.02),
        ncols=4 if len(names) > 4 else max(len(names), 1),
        frameon=False,
        fontsize=8,
        labelcolor=INK,
        handletextpad=0.1,
        columnspacing=0.9,
        markerscale=1.4,
    )
