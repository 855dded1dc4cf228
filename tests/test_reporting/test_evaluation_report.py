# SPDX-License-Identifier: Apache-2.0
"""A report that was written: its text, and what its verification finds when something was changed."""

from __future__ import annotations

import json
import os
import re
import runpy
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from iid_mm.errors import InputError
from iid_mm.evaluation.scores import FrameScores, read_scores, write_scores
from iid_mm.reporting import document, text_verification, verification
from iid_mm.reporting.document import (
    Computed,
    compute,
    file_hashes,
    report_content,
    video_table,
    write_report,
    write_video_table,
)
from iid_mm.reporting.options import ReportOptions
from iid_mm.reporting.provenance import text_sha256
from iid_mm.reporting.scoring import write_json
from iid_mm.reporting.source_verification import check_config
from iid_mm.reporting.tables import main_table, markdown
from iid_mm.reporting.text import report_text
from iid_mm.reporting.verification import differences, verify_report
from iid_mm.utils.files import sha256
from iid_mm.version import __version__
from support.paths import REPOSITORY

from .report_scores import FAST, facts, rows_of, scores


def write(folder: Path, options: ReportOptions = FAST, pictures: bool = True) -> Computed:
    """A report without a model: two sets, and a validation set where a threshold is to be chosen."""
    digest = '0' * 64
    records = []
    for name, seed in (('ffpp', 1), ('dfd', 2), ('validation', 3)):
        path = write_scores(scores(seed=seed), folder / f'frame_scores/{name}.parquet')
        index = dict(file='index.parquet', sha256=digest, preparation=None)
        record = dict(
            name=name,
            split='val' if name == 'validation' else 'test',
            methods=None,
            frames_per_video=None,
            indices=[index],
            coverage=facts(),
            source=dict(checkpoint_sha256=digest, index_sha256=[digest], settings_sha256=digest),
            scores=dict(file=f'frame_scores/{name}.parquet', sha256=sha256(path)),
            localization={},
            localization_scores=None,
        )
        write_json(record, path.with_suffix('.json'))
        records.append(record)
    *records, validation = records
    chosen = validation if options.threshold is None else None
    computed = compute(folder, records, chosen, '', options)
    write_video_table(video_table(computed, records), folder / 'video_scores.parquet')
    (folder / 'config.py').write_text('model = dict()\n')
    names = ['config.py', 'video_scores.parquet', *(r['scores']['file'] for r in records)]
    names += [validation['scores']['file']] if chosen else []
    card = dict(
        checkpoint=dict(file='best.pth', sha256=digest, epoch=3, iteration=9, selection=None),
        config=dict(file='x.py', text='config.py', sha256=text_sha256('model = dict()\n'), options={}),
        alignment=dict(size=[112, 112], scale=0.9),
        training_manipulations=None,
        seed=0,
        device='CPU',
        libraries={'iid-mm': __version__},
        git=None,
    )
    run = dict(date='2026-01-01', command='tools/test.py')
    hashes = file_hashes(folder, names)
    content = report_content(computed, card, records, chosen, '', options, run, hashes)
    write_report(content, report_text(content), folder)
    return computed


@pytest.fixture(scope='module')
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp('report')
    write(folder, ReportOptions(resamples=100))
    return folder


@pytest.fixture
def report(sound: Path, tmp_path: Path) -> Path:
    """A sound report that may be changed."""
    return Path(shutil.copytree(sound, tmp_path / 'report'))


def edit(folder: Path, change: Any) -> list[str]:
    """Problems of a report after a change of report.json."""
    content = json.loads((folder / 'report.json').read_text())
    change(content)
    (folder / 'report.json').write_text(json.dumps(content))
    return verify_report(folder).problems


class TestVerification:
    def test_a_sound_report(self, report: Path) -> None:
        found = verify_report(report)
        assert found.problems == []

    def test_a_changed_metric_is_named(self, report: Path) -> None:
        true = json.loads((report / 'report.json').read_text())['metrics'][2]['video_auc']
        assert edit(report, lambda content: content['metrics'][2].update(video_auc=0.999)) == [
            f'report.json, ffpp / ffpp / FaceSwap: video_auc is 0.999, the scores give {true!r}'
        ]

    def test_a_changed_interval_and_count(self, report: Path) -> None:
        def change(content: Any) -> None:
            content['metrics'][0]['intervals']['video_auc']['low'] = 0.9
            content['metrics'][1]['videos'] = 9
            del content['metrics'][3]['accuracy']
            content['metrics'][4]['extra'] = 1

        problems = edit(report, change)
        assert len(problems) == 4
        assert 'intervals.video_auc.low is 0.9, the scores give' in problems[0]
        assert 'videos is 9, the scores give 8' in problems[1]
        assert 'accuracy is missing' in problems[2]
        assert 'extra is 1, which the scores do not give' in problems[3]

    def test_rows_that_are_missing_or_made_up(self, report: Path) -> None:
        def change(content: Any) -> None:
            row = content['metrics'].pop(0)
            content['metrics'].append({**row, 'manipulation': 'Magic'})

        missing, made_up = edit(report, change)
        assert missing == 'report.json: the row ffpp / ffpp / Deepfakes is missing'
        assert made_up == 'report.json: there are no scores for the row ffpp / ffpp / Magic'

    def test_a_changed_threshold(self, report: Path) -> None:
        (problem,) = edit(report, lambda content: content['threshold'].update(value=0.9))
        assert 'threshold.value is 0.9, the scores give 0.' in problem

    def test_another_seed_changes_the_intervals_only(self, report: Path) -> None:
        problems = edit(report, lambda content: content['options'].update(seed=1))
        assert problems
        assert all('intervals' in text or 'report.md' in text for text in problems)

    def test_a_changed_cell_of_the_text(self, report: Path) -> None:
        path = report / 'report.md'
        lines = path.read_text().splitlines()
        place = next(n for n, line in enumerate(lines) if line.startswith('| ffpp') and 'FaceSwap' in line)
        cells = lines[place].split('|')
        was, cells[4] = cells[4].strip(), ' 99.99 '
        lines[place] = '|'.join(cells)
        path.write_text('\n'.join(lines) + '\n')
        assert verify_report(report).problems == [
            f'report.md, ffpp / FaceSwap: video AUC is 99.99, the scores give {was}'
        ]

    def test_a_changed_sentence_of_the_text(self, report: Path) -> None:
        path = report / 'report.md'
        path.write_text(path.read_text().replace('picked at random', 'picked with care', 1))
        (problem,) = verify_report(report).problems
        assert problem.startswith('report.md, line ')
        assert 'picked with care' in problem
        path.write_text('nothing')
        assert 'has no table' in verify_report(report).problems[0]

    def test_a_changed_cell_of_the_table_of_localization(self, report: Path) -> None:
        """Its rows have the names of those of the main table."""
        metrics = {'localization/pointing': 0.5, 'localization/pointing/FaceSwap': 0.2468}
        content = json.loads((report / 'report.json').read_text())
        content['test_sets'][0]['localization'] = metrics
        (report / 'report.json').write_text(json.dumps(content))
        path = report / 'report.md'
        path.write_text(report_text(content))
        before = verify_report(report).problems
        assert 'report.json, test set ffpp: no file has the scores of localization' in before
        assert not any('report.md' in problem for problem in before)
        assert path.read_text().count('24.68 |') == 1
        path.write_text(path.read_text().replace('24.68 |', '94.68 |'))
        (problem,) = [text for text in verify_report(report).problems if text not in before]
        assert problem.startswith('report.md, line ')
        assert '94.68' in problem

    def test_changed_scores(self, report: Path) -> None:
        write_scores(scores(seed=8), report / 'frame_scores/dfd.parquet')
        problems = verify_report(report).problems
        assert problems[0].startswith('frame_scores/dfd.parquet was changed: its SHA-256 is')
        assert any('dfd / ffpp / overall: video_auc is' in text for text in problems)
        assert not any('ffpp / ffpp' in text for text in problems)

    def test_changed_video_scores(self, report: Path) -> None:
        path = report / 'video_scores.parquet'
        table = pq.read_table(path)
        values = table['score'].to_pylist()
        values[3] = 0.125
        pq.write_table(table.set_column(6, 'score', pa.array(values)), path)
        problems = verify_report(report).problems
        assert any('score of ffpp/Deepfakes/c23/003_006 is 0.125' in text for text in problems)

    def test_the_text_of_another_version_is_compared_by_its_hash(
        self, report: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(text_verification, '__version__', '999')
        found = verify_report(report)
        assert found.problems == []
        assert 'all of report.md' in found.checked
        path = report / 'report.md'
        path.write_text(path.read_text().replace('picked at random', 'picked with care', 1))
        (problem,) = verify_report(report).problems
        assert problem.startswith('report.md was changed: its SHA-256 is')
        # Reports of before this hash was noted.
        content = json.loads((report / 'report.json').read_text())
        del content['run']['text_sha256']
        (report / 'report.json').write_text(json.dumps(content))
        found = verify_report(report)
        assert found.problems == []
        assert 'the table in report.md' in found.checked
        assert found.unchecked[0].startswith('the wording of report.md: it was written by iid-mm')

    @pytest.mark.parametrize('value', [None, 'x', 3, [], {}, [None], 'absent'])
    def test_entries_of_the_wrong_kind(self, report: Path, value: Any) -> None:
        """Whatever stands in the place of an entry: something differs, or a message says what is wrong."""
        path = report / 'report.json'
        content = json.loads(path.read_text())
        paths = [(key,) for key in content] + [('protocol', key) for key in content['protocol']]
        paths += [('test_sets', 0, key) for key in content['test_sets'][0]] + [('metrics', 0)]
        # What no score shows; a change of these shows in report.md, if at all.
        silent = ('run', 'no_validation_because', 'iteration')
        for *way, last in paths:
            if last in silent:
                continue
            changed = json.loads(json.dumps(content))
            node = changed
            for key in way:
                node = node[key]
            # Nothing, said in another way, is no change.
            if node[last] == value or not (node[last] or value):
                continue
            if value == 'absent':
                del node[last]
            else:
                node[last] = value
            path.write_text(json.dumps(changed))
            try:
                problems = verify_report(report).problems
            except InputError as error:
                problems = [str(error)]
            assert problems, (way, last)

    def test_missing_and_damaged_files(self, report: Path, tmp_path: Path) -> None:
        (report / 'frame_scores/ffpp.json').unlink()
        assert any('record of test set ffpp, cannot be read' in t for t in verify_report(report).problems)
        (report / 'frame_scores/ffpp.parquet').unlink()
        problems = verify_report(report).problems
        assert 'does not exist' in problems[0]
        assert 'cannot be computed' in problems[-1]
        (report / 'report.json').write_text('{')
        with pytest.raises(InputError, match='is no JSON'):
            verify_report(report)
        (report / 'report.json').write_text('{}')
        with pytest.raises(InputError, match='is no report of this version'):
            verify_report(report)
        with pytest.raises(FileNotFoundError, match=r'report\.json does not exist'):
            verify_report(tmp_path)

    def test_sources(self, report: Path, tmp_path: Path) -> None:
        (tmp_path / 'a.pth').write_bytes(b'weights')
        found = verify_report(report, checkpoint=tmp_path / 'a.pth')
        assert found.problems[0].startswith('checkpoint a.pth has SHA-256')
        found = verify_report(report, indices={'ffpp': tmp_path / 'a.pth'})
        assert found.problems[0].startswith('index of ffpp: a.pth has SHA-256')
        with pytest.raises(InputError, match=r'--index x=...: the report has the test sets ffpp, dfd'):
            verify_report(report, indices={'x': tmp_path / 'a.pth'})
        (tmp_path / 'x.py').write_text('model = dict()')
        assert verify_report(report, config=tmp_path / 'x.py').problems == []
        (tmp_path / 'x.py').write_text('model = dict(a=1)')
        (problem,) = verify_report(report, config=tmp_path / 'x.py').problems
        assert "'model = dict(a=1)', in the report 'model = dict()'" in problem
        content = json.loads((report / 'report.json').read_text())
        content['protocol']['config']['options'] = {'model.b': '2'}
        assert check_config(report, content, tmp_path / 'x.py')[1].endswith('--cfg-options model.b=2')

    def test_numbers_are_compared_with_tolerance(self) -> None:
        assert differences({'a': 0.1 + 0.2, 'b': [1]}, {'a': 0.3, 'b': [1]}, '') == []
        assert differences(3, 3.0000001, 'x') == ['x is 3, the scores give 3.0000001']
        assert differences(True, False, 'x') == ['x is True, the scores give False']
        assert differences(None, 0.5, 'x') == ['x is None, the scores give 0.5']


class TestText:
    def test_what_a_reader_sees(self, report: Path) -> None:
        text = (report / 'report.md').read_text()
        assert '**ffpp.** 20 videos got a score: 4 genuine and 16 fake, 60 faces in all.' in text
        assert 'There is no total over the datasets' in text
        assert '* threshold: 0.' in text
        assert 'chosen on the validation split' in text

    def test_guessing_is_called_guessing(self, tmp_path: Path) -> None:
        frames = scores(videos=6)
        columns = {name: frames.table[name] for name in frames.table.column_names}
        half = np.random.default_rng(0).uniform(size=len(frames))
        rows = rows_of(FrameScores.from_columns({**columns, 'score': half}))
        write(tmp_path)
        content = json.loads((tmp_path / 'report.json').read_text())
        content['metrics'] = [row.as_dict() for row in rows.values()]
        assert 'this test does not show that the detector tells genuine from fake' in report_text(content)


def test_the_interval_of_a_perfect_auc_is_explained(tmp_path: Path) -> None:
    frames = scores()
    columns = {name: frames.table[name] for name in frames.table.column_names}
    rows = rows_of(FrameScores.from_columns({**columns, 'score': 0.1 + 0.8 * frames.label}))
    write(tmp_path)
    content = json.loads((tmp_path / 'report.json').read_text())
    content['metrics'] = [row.as_dict() for row in rows_of(scores(videos=40)).values()]
    assert 'Newcombe' not in report_text(content)
    content['metrics'] = [row.as_dict() for row in rows.values()]
    assert '; where every resample gives the same AUC (that of 100), or a class has' in report_text(content)
    assert 'plain percentiles' not in report_text(content)
    content['metrics'][0]['intervals']['video_auc']['method'] = 'percentile'
    assert '; plain percentiles where that is not possible;' in report_text(content)
    low = rows[None].intervals['video_auc']['low']
    assert low is not None
    assert 0.5 < low < 1


HOSTILE = 'a|b<img src=x onerror=alert(1)>[c](javascript:d)`e`\n\x1b[2J'


class TestReportsOfStrangers:
    """Nothing outside of the folder is opened, nothing is waited for, nothing that is printed is obeyed."""

    @pytest.mark.parametrize(
        'name',
        [
            '/etc/passwd',
            '../outside.parquet',
            'frame_scores/../../outside.parquet',
            'frame_scores/../outside.parquet',
            'frame_scores\\x.parquet',
            'https://host/x.parquet',
            'C:/x.parquet',
            'config.pkl',
            'frame_scores/x.npz',
            'frame_scores/\x1b[2J.parquet',
            '',
            7,
            None,
        ],
    )
    @pytest.mark.parametrize('place', ['files', 'scores'])
    def test_names(self, report: Path, name: Any, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
        (report.parent / 'outside.parquet').write_bytes(b'')
        opened: list[str] = []
        monkeypatch.setattr(verification, 'sha256', lambda path: opened.append(str(path)) or sha256(path))
        monkeypatch.setattr(
            document, 'read_scores', lambda path: opened.append(str(path)) or read_scores(path)
        )

        def change(content: Any) -> None:
            if place == 'files':
                content['files'][name] = '0' * 64
            else:
                content['test_sets'][0]['scores']['file'] = name

        problems = edit(report, change)
        assert any('which is no file of a report; it was not opened' in text for text in problems)
        assert all(Path(path).resolve().is_relative_to(report.resolve()) for path in opened)

    @pytest.mark.parametrize(
        'name', ['frame_scores/ffpp.parquet', 'video_scores.parquet', 'report.md', 'config.py']
    )
    def test_links_out_of_the_folder(self, report: Path, name: str) -> None:
        outside = report.parent / 'outside'
        shutil.move(report / name, outside)
        (report / name).symlink_to(outside)
        assert any('a link out of the folder' in text for text in verify_report(report).problems)

    def test_a_link_in_place_of_the_report(self, report: Path) -> None:
        shutil.move(report / 'report.json', report.parent / 'outside.json')
        (report / 'report.json').symlink_to(report.parent / 'outside.json')
        with pytest.raises(InputError, match='a link out of the folder'):
            verify_report(report)

    @pytest.mark.parametrize(
        'name',
        [
            'frame_scores/ffpp.parquet',
            'frame_scores/ffpp.json',
            'video_scores.parquet',
            'report.md',
            'config.py',
        ],
    )
    def test_pipes_are_not_waited_for(self, report: Path, name: str) -> None:
        (report / name).unlink()
        os.mkfifo(report / name)
        assert any('no ordinary file' in text for text in verify_report(report).problems)

    def test_files_without_end(self, report: Path) -> None:
        with (report / 'config.py').open('r+b') as file:
            file.truncate(2**40)
        assert any('more than 4294967296 bytes' in text for text in verify_report(report).problems)

    @pytest.mark.parametrize(
        ('text', 'says'),
        [
            ('[' * 100_000, 'nested too deeply'),
            ('{', 'is no JSON'),
            ('[]', 'is no report of this version'),
            ('{"format": {}}', 'is no report of this version'),
        ],
    )
    def test_a_report_that_is_none(self, report: Path, text: str, says: str) -> None:
        (report / 'report.json').write_text(text)
        with pytest.raises(InputError, match=says):
            verify_report(report)

    @pytest.mark.parametrize(
        'change',
        [
            lambda content: content.update(files=[]),
            lambda content: content.update(test_sets={}),
            lambda content: content.update(metrics='x'),
            lambda content: content['threshold'].update(value=10**400),
            lambda content: content['options'].update(resamples=10**12),
            lambda content: content['options'].update(top_k='x'),
            lambda content: content.update(protocol=None),
        ],
    )
    def test_entries_of_the_wrong_kind(self, report: Path, change: Any) -> None:
        try:
            problems = edit(report, change)
        except InputError as error:
            problems = [str(error)]
        assert problems

    def test_the_script_prints_no_escape_sequences(
        self, report: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert edit(report, lambda content: content['metrics'][0].update({HOSTILE: 1, 'dataset': HOSTILE}))
        script = REPOSITORY / 'tools/analysis_tools/verify_report.py'
        monkeypatch.setattr(sys, 'argv', [str(script), str(report)])
        with pytest.raises(SystemExit) as caught:
            runpy.run_path(str(script), run_name='__main__')
        assert caught.value.code == 1
        assert '\x1b' not in capsys.readouterr().out

    def test_names_stay_names_in_the_text(self, sound: Path) -> None:
        """And their cells are found again."""
        content = json.loads((sound / 'report.json').read_text())
        for row in content['metrics'][:2]:
            row['manipulation'] = HOSTILE
        content['test_sets'][0]['methods'] = [HOSTILE]
        content['test_sets'][0]['indices'][0]['preparation'] = {
            'analyzer': HOSTILE,
            'analyzer_version': HOSTILE,
        }
        content['protocol']['checkpoint']['file'] = content['run']['command'] = HOSTILE
        content['files'][f'pictures/{HOSTILE}_roc.png'] = HOSTILE
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
        cells = [text_verification._cells(line) for line in markdown(table)]
        assert cells[2][1] == HOSTILE.replace('\n', '%0A').replace('\x1b', '%1B')
        assert [len(row) for row in cells] == [len(table[0])] * len(cells)
