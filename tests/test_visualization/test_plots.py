# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
from pathlib import Path

import pytest

from iid_mm.errors import InputError
from iid_mm.visualization.drawing import BLUE, GREEN, ORANGE, SKY, VERMILION
from iid_mm.visualization.plots import PALETTE, new_figure, save_figure


def test_one_palette_in_plots_and_drawings() -> None:
    drawn = {f'#{red:02X}{green:02X}{blue:02X}' for blue, green, red in (BLUE, GREEN, ORANGE, SKY, VERMILION)}
    assert drawn <= set(PALETTE)


def test_figures_are_written_whole_and_under_any_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ('a.png', 'b.svg', 'bare', os.fsdecode(b'caf\xe9.png'), 'x' * 251 + '.pdf'):
        path = save_figure(new_figure(1, 1), tmp_path / 'new' / name)
        start = {'.svg': b'<?xml', '.pdf': b'%PDF'}.get(path.suffix, b'\x89PNG')
        assert path.read_bytes().startswith(start)
    with pytest.raises(InputError, match=r'a\.abc cannot be written; use a suffix such as \.png'):
        save_figure(new_figure(1, 1), tmp_path / 'a.abc')
    before = sorted(os.listdir(tmp_path / 'new'))

    def fail(*args: object) -> None:
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(os, 'replace', fail)
    with pytest.raises(OSError, match='No space left'):
        save_figure(new_figure(1, 1), tmp_path / 'new' / 'c.png')
    assert sorted(os.listdir(tmp_path / 'new')) == before


def test_labels_of_logarithmic_axes_are_formulas(tmp_path: Path) -> None:
    figure = new_figure(3, 3)
    axes = figure.subplots()
    axes.set_xscale('log')
    axes.plot([1, 100], [1, 2])
    save_figure(figure, tmp_path / 'log.png')
    labels = [label for label in axes.get_xticklabels() if label.get_text()]
    assert labels
    assert all(label.get_parse_math() for label in labels)
