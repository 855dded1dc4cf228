# SPDX-License-Identifier: Apache-2.0
"""What verification finds when a report was changed, and reports of strangers."""

from __future__ import annotations

import json
import os
import runpy
import shutil
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from iid_mm.errors import InputError
from iid_mm.evaluation.scores import read_scores, write_scores
from iid_mm.reporting import document, verification
from iid_mm.reporting.verification import differences, verify_report
from iid_mm.utils.files import sha256
from support.paths import REPOSITORY

from .report_scores import HOSTILE, scores


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
            f'report.json, metrics, ffpp / ffpp / FaceSwap, video_auc is 0.999, the scores give {true!r}'
        ]

    def test_a_changed_interval_and_count(self, report: Path) -> None:
        def change(content: Any) -> None:
            content['metrics'][0]['intervals']['video_auc']['low'] = 0.9
            content['metrics'][1]['videos'] = 9
            del content['metrics'][3]['accuracy']
            content['metrics'][4]['extra'] = 1

        problems = edit(report, change)
        assert len(problems) == 4
        assert 'intervals, video_auc, low is 0.9, the scores give' in problems[0]
        assert 'videos is 9, the scores give 8' in problems[1]
        assert 'accuracy is missing' in problems[2]
        assert 'extra does not follow from the scores' in problems[3]

    def test_rows_that_are_missing_or_made_up(self, report: Path) -> None:
        def change(content: Any) -> None:
            row = content['metrics'].pop(0)
            content['metrics'].append({**row, 'manipulation': 'Magic'})

        assert edit(report, change) == [
            'report.json, metrics, ffpp / ffpp / Deepfakes is missing',
            'report.json, metrics, ffpp / ffpp / Magic does not follow from the scores',
        ]
        content = json.loads((report / 'report.json').read_text())
        twice = content['metrics'][0]
        assert 'report.json: metrics has a row twice' in edit(
            report, lambda content: content['metrics'].append(twice)
        )

    def test_a_changed_threshold(self, report: Path) -> None:
        (problem,) = edit(report, lambda content: content['threshold'].update(value=0.9))
        assert 'threshold, value is 0.9, the scores give 0.' in problem

    def test_another_seed_changes_the_intervals_only(self, report: Path) -> None:
        problems = edit(report, lambda content: content['options'].update(seed=1))
        assert problems
        assert all('intervals' in text or 'report.md' in text for text in problems)

    @pytest.mark.parametrize(('true', 'false'), [('| FaceSwap ', '| Face2Face '), ('at random', 'by hand')])
    def test_a_changed_line_of_the_text(self, true: str, false: str, report: Path) -> None:
        path = report / 'report.md'
        path.write_text(path.read_text().replace(true, false, 1))
        (problem,) = verify_report(report).problems
        assert problem.startswith('report.md, line ')
        assert false in problem
        path.write_text('nothing')
        first, length = verify_report(report).problems
        assert first.startswith("report.md, line 1: is 'nothing', should be '# Test report")
        assert length.startswith('report.md has 1 lines')

    def test_changed_localization(self, report: Path) -> None:
        metrics = {'localization/pointing': 0.5}
        problems = edit(report, lambda content: content['test_sets'][0].update(localization=metrics))
        title = 'report.json, test sets, ffpp, localization, localization/pointing'
        assert f'{title} does not follow from the scores' in problems

    def test_changed_scores(self, report: Path) -> None:
        write_scores(scores(seed=8), report / 'frame_scores/dfd.parquet')
        problems = verify_report(report).problems
        assert problems[0].startswith('frame_scores/dfd.parquet was changed: its SHA-256 is')
        assert any('dfd / ffpp / Deepfakes, video_auc is' in text for text in problems)
        assert not any('ffpp / ffpp /' in text for text in problems)
        assert problems[21].endswith('more differences like these')

    def test_changed_video_scores(self, report: Path) -> None:
        path = report / 'video_scores.parquet'
        table = pq.read_table(path)
        values = table['score'].to_pylist()
        values[3] = 0.125
        pq.write_table(table.set_column(6, 'score', pa.array(values)), path)
        problems = verify_report(report).problems
        assert any('/ ffpp/Deepfakes/c23/003_006, score is 0.125' in text for text in problems)

    def test_the_text_of_another_version_is_compared_by_its_hash(
        self, report: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(verification, '__version__', '999')
        found = verify_report(report)
        assert found.problems == []
        assert 'all of report.md' in found.checked
        path = report / 'report.md'
        path.write_text(path.read_text().replace('picked at random', 'picked with care', 1))
        (problem,) = verify_report(report).problems
        assert problem.startswith('report.md was changed: its SHA-256 is')

    @pytest.mark.parametrize('value', [None, 'x', 3, [], {}, [None], 'absent'])
    def test_entries_of_the_wrong_kind(self, report: Path, value: Any) -> None:
        """Whatever stands in the place of an entry: something differs, or a message says what is wrong."""
        path = report / 'report.json'
        content = json.loads(path.read_text())
        paths = [(key,) for key in content] + [('protocol', key) for key in content['protocol']]
        paths += [('test_sets', 0, key) for key in content['test_sets'][0]] + [('metrics', 0)]
        # What no score shows, nor report.md.
        silent = ('run', 'no_validation_because', 'iteration', 'source')
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

    def test_the_checkpoint(self, report: Path, tmp_path: Path) -> None:
        (tmp_path / 'a.pth').write_bytes(b'weights')
        (problem,) = verify_report(report, tmp_path / 'a.pth').problems
        assert problem.startswith('checkpoint a.pth has SHA-256')

    def test_numbers_are_compared_with_tolerance(self) -> None:
        assert differences({'a': 0.1 + 0.2, 'b': [1]}, {'a': 0.3, 'b': [1]}) == []
        assert differences(3, 3.0000001, 'x') == ['x is 3, the scores give 3.0000001']
        assert differences(True, False, 'x') == ['x is True, the scores give False']
        assert differences(None, 0.5, 'x') == ['x is None, the scores give 0.5']


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
            'video_scores.parquet',
            'report.md',
            'config.py',
        ],
    )
    def test_pipes_are_not_waited_for(self, report: Path, name: str) -> None:
        (report / name).unlink()
        os.mkfifo(report / name)
        assert any('not a regular file' in text for text in verify_report(report).problems)

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
