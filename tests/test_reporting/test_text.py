# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import re
from dataclasses import asdict
from pathlib import Path

import numpy as np

from iid_mm.reporting.text import _trained_on, localization_table, main_table, report_text
from iid_mm.utils.tables import markdown_table

from .report_scores import HOSTILE, rescored, rows_of, scores


class TestText:
    def test_what_a_reader_sees(self, sound: Path) -> None:
        text = (sound / 'report.md').read_text()
        assert '**ffpp.** 20 videos got a score: 4 genuine and 16 fake, 60 faces in all.' in text
        assert 'There is no total over the datasets' in text
        assert '* threshold: 0.' in text
        assert 'chosen on the validation split' in text

    def test_guessing_is_called_guessing(self, sound: Path) -> None:
        frames = scores(videos=6)
        half = np.random.default_rng(0).uniform(size=len(frames))
        content = json.loads((sound / 'report.json').read_text())
        content['metrics'] = [asdict(row) for row in rows_of(rescored(frames, half)).values()]
        assert 'this test does not show that the detector can tell genuine' in report_text(content)

    def test_a_total_over_all_sets(self, sound: Path) -> None:
        content = json.loads((sound / 'report.json').read_text())
        total = content['metrics'][-1] | {'test_set': 'all sets', 'dataset': 'all sets'}
        content['metrics'].append(total)
        content['options']['pooled'] = True
        assert '**all sets.** 20 videos got a score' in report_text(content)


def test_the_interval_of_a_perfect_auc_is_explained(sound: Path) -> None:
    frames = scores()
    rows = rows_of(rescored(frames, 0.1 + 0.8 * frames.label))
    content = json.loads((sound / 'report.json').read_text())
    content['metrics'] = [asdict(row) for row in rows_of(scores(videos=40)).values()]
    assert 'Newcombe' not in report_text(content)
    content['metrics'] = [asdict(row) for row in rows.values()]
    assert '; where all resamples have the same AUC (that of 100), or a class has' in report_text(content)
    assert 'plain percentiles' not in report_text(content)
    content['metrics'][0]['intervals']['video_auc']['method'] = 'percentile'
    assert '; plain percentiles where that is not possible;' in report_text(content)
    low = rows[None].intervals['video_auc']['low']
    assert low is not None
    assert 0.5 < low < 1


def test_names_stay_names_in_the_text(sound: Path) -> None:
    content = json.loads((sound / 'report.json').read_text())
    for row in content['metrics'][:2]:
        row['manipulation'] = HOSTILE
    content['test_sets'][0]['methods'] = [HOSTILE]
    content['test_sets'][0]['indices'][0]['preparation'] = {
        'analyzer': HOSTILE,
        'analyzer_version': HOSTILE,
    }
    content['protocol']['checkpoint']['file'] = content['run']['command'] = HOSTILE
    content['files'][f'plots/{HOSTILE}_roc.png'] = HOSTILE
    text = report_text(content)
    assert '\x1b' not in text
    # In code everything stands for itself, up to the next backtick.
    assert "`a|b<img src=x onerror=alert(1)>[c](javascript:d)'e'%0A%1B[2J`." in text
    text = '\n'.join(line for line in text.splitlines() if not line.startswith('Made on'))
    for sign in ('|b', '<img', '[c]', '](java', '`'):
        if sign == '`':
            text = text.replace('`python tools/analysis_tools/verify_report.py FOLDER`', '')
        assert not re.search(rf'(?<!\\){re.escape(sign)}', text), sign
    table = main_table(content['metrics'])
    lines = markdown_table(table)
    assert len(lines) == len(table) + 1
    assert {len(re.findall(r'(?<!\\)\|', line)) for line in lines} == {len(table[0]) + 1}


def test_manipulations_in_training() -> None:
    found = [_trained_on(value) for value in (None, [], ['a', 'b'])]
    assert found == ['all of its index', 'not known', 'a, b']


def test_the_table_of_localization() -> None:
    metrics = {
        'localization/pointing': 0.5,
        'localization/pointing/Deepfakes': 0.25,
        'localization/center_pointing': 0.75,
        'localization/gain_iou_best': None,
        'localization/num_scored': 8.0,
    }
    table = localization_table([dict(name='toy', localization=metrics), dict(name='x', localization={})])
    assert [(row[1], row[3], row[-1]) for row in table] == [
        ('manipulation', 'pointing', 'faces with mask'),
        ('Deepfakes', '25.00', '–'),
        ('overall', '50.00', '8'),
        ('centered guess', '75.00', '–'),
        ('chance', '–', '–'),
    ]
    assert localization_table([dict(name='x', localization={})]) == []
