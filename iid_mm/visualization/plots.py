# SPDX-License-Identifier: Apache-2.0
"""The look of all plots; they are made without a display and without global state."""

from __future__ import annotations

import io
import os
import re
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from iid_mm.errors import InputError
from iid_mm.utils.files import printable, write_bytes

# The palette of Okabe and Ito without black and yellow: distinct with any common color vision.
PALETTE = ('#0072B2', '#E69F00', '#009E73', '#CC79A7', '#56B4E9', '#D55E00')
_TICK = re.compile(r'\$\\mathdefault\{[-+0-9.^{}]*(?:\\times[-+0-9.^{}]*)?\}\$')
INK = '#22242A'
MUTED = '#8A8F98'
GENUINE = '#0072B2'
FAKE = '#D55E00'


def new_figure(width: float, height: float) -> Figure:
    """Make an empty figure of a size in inches, independent of displays and of pyplot."""
    figure = Figure(figsize=(width, height), dpi=150, layout='constrained', facecolor='white')
    FigureCanvasAgg(figure)
    return figure


def polish(axes: Axes, *, title: str = '', xlabel: str = '', ylabel: str = '') -> None:
    """Give axes the look that all plots share, and their texts."""
    axes.spines[['top', 'right']].set_visible(False)
    axes.spines[['left', 'bottom']].set_color(MUTED)
    axes.tick_params(colors=INK, length=3, labelsize=9)
    axes.grid(True, color='#E6E8EB', linewidth=0.8)
    axes.set_axisbelow(True)
    if title:
        axes.set_title(title, color=INK, fontsize=11, loc='left')
    if xlabel:
        axes.set_xlabel(xlabel, color=INK)
    if ylabel:
        axes.set_ylabel(ylabel, color=INK)


def save_figure(figure: Figure, path: str | os.PathLike[str]) -> Path:
    """Write a figure, whole or not at all.

    Args:
        figure: The figure.
        path: The file; its folder is made, its suffix is the format (PNG without one).

    Returns:
        The path.

    Raises:
        InputError: The suffix is no known format.
        OSError: It cannot be written.
    """
    target = Path(path)
    if target.suffix and target.suffix[1:].lower() not in figure.canvas.get_supported_filetypes():
        raise InputError(f'{printable(path)} cannot be written; use a suffix such as .png, .pdf or .svg')
    for text in figure.findobj(Text):
        # Names may hold dollars; only the labels of logarithmic axes are formulas.
        if '$' in text.get_text() and not _TICK.fullmatch(text.get_text()):
            text.set_parse_math(False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format=target.suffix[1:] or None)
    write_bytes(target, buffer.getvalue())
    return target
