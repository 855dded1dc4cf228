# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json

import pytest

from iid_mm.errors import InputError
from iid_mm.visualization.attention_energy import energy_json, energy_markdown, energy_rows

from .face_views import halves, make_view


def test_the_table_sets_energies_beside_chance_and_genuine_frames() -> None:
    views = [
        make_view('youtube', '001', halves(1, 1), fake=False),
        make_view('youtube', '002', halves(0, 0), target='2', fake=False),
        make_view('A', '001_009', halves(3, 1)),
        make_view('A', '002_009', halves(0, 0), target='2'),
        make_view('B', '001_009', halves(0, 5)),
        make_view('B', '002_009', halves(1, 0), target='2', mask=False),
    ]
    tables = energy_rows(views, ['gradcam'], num_resamples=20)
    rows = {row.name: row for row in tables['gradcam']}
    assert list(rows) == ['A', 'B', 'overall']
    # 3 of 4 parts lie in the left half; the map of zeros counts as half.
    assert rows['A'].metrics['energy'] == pytest.approx((0.75 + 0.5) / 2)
    assert rows['A'].metrics['chance_energy'] == pytest.approx(0.5)
    assert rows['A'].metrics['genuine_energy'] == pytest.approx(0.5)
    assert rows['A'].metrics['gain_energy'] == pytest.approx(0.125, abs=1e-3)
    assert rows['B'].metrics['energy'] == 0
    assert rows['B'].metrics['gain_energy'] == pytest.approx(-0.5)
    blank = {name: (row.counts['blank_fakes'], row.counts['blank_genuine']) for name, row in rows.items()}
    assert blank == {'A': (1, 1), 'B': (0, 1), 'overall': (1, 1)}

    data = energy_json(tables)['gradcam']
    assert data['B']['energy'] == 0
    assert data['B']['counts'] == dict(
        scored=1, paired=1, genuine=2, videos=1, without_mask=1, blank_fakes=0, blank_genuine=1
    )
    assert json.loads(json.dumps(data)) == data
    text = energy_markdown(tables, {'gradcam': 'Grad-CAM'})
    lines = [[cell.strip() for cell in line.strip('|').split('|')] for line in text.splitlines()]
    (cells,) = [cells for cells in lines if cells[:2] == ['Grad-CAM', 'B']]
    assert cells[2].startswith('0.0 (')
    assert cells[3] == '50.0'
    assert cells[5] == '50.0'
    assert cells[6].startswith('-50.0 (')
    assert cells[8:] == ['1', '0, 1']


def test_a_set_without_masks_has_no_energy() -> None:
    views = [make_view('A', '001_009', halves(3, 1), mask=False)]
    with pytest.raises(InputError, match='1 have no mask'):
        energy_rows(views, ['gradcam'], num_resamples=0)
