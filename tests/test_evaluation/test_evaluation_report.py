# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from matplotlib.figure import Figure
from mmengine.config import Config
from scipy import stats
from sklearn import metrics as sk_metrics

from iid_mm.errors import InputError
from iid_mm.evaluation import OneClassError
from iid_mm.evaluation.functional import video_scores
from iid_mm.evaluation.report import scoring, text_verification
from iid_mm.evaluation.report.card import _training_manipulations
from iid_mm.evaluation.report.document import (
    Computed,
    compute,
    file_hashes,
    report_content,
    video_table,
    write_report,
    write_video_table,
)
from iid_mm.evaluation.report.figures import Row, ScoredVideos, report_rows
from iid_mm.evaluation.report.options import ReportOptions
from iid_mm.evaluation.report.prepared import coverage_facts
from iid_mm.evaluation.report.provenance import command_line, config_text, text_sha256, without_paths
from iid_mm.evaluation.report.scoring import ScoringJob, write_json
from iid_mm.evaluation.report.source_verification import check_config
from iid_mm.evaluation.report.tables import localisation_table
from iid_mm.evaluation.report.text import _trained_on, report_text
from iid_mm.evaluation.report.threshold import find_threshold
from iid_mm.evaluation.report.verification import differences, verify_report
from iid_mm.evaluation.scores import FrameScore, FrameScores, write_scores
from iid_mm.evaluation.test_sets import TestSet
from iid_mm.utils.files import sha256
from iid_mm.version import __version__
from iid_mm.visualization.det_plot import _scale

METHODS = ('Deepfakes', 'Face2Face', 'FaceSwap', 'NeuralTextures')
FAST = ReportOptions(resamples=100, threshold=0.5)


def scores(videos: int = 4, frames: int = 3, seed: int = 0, dataset: str = 'ffpp') -> FrameScores:
    """Genuine videos ``000`` ... and, under each of four methods, fakes ``000_003`` ..."""
    generator = np.random.default_rng(seed)
    records = []
    for method in ('youtube', *METHODS):
        fake = int(method != 'youtube')
        for video in range(videos):
            name = f'{video:03d}_{video + 3:03d}' if fake else f'{video:03d}'
            for frame in range(frames):
                records.append(
                    FrameScore(
                        video_key=f'{dataset}/{method}/c23/{name}',
                        frame=frame,
                        image=f'{method}/{name}/{frame}.png',
                        dataset=dataset,
                        method=method,
                        label=fake,
                        score=float(1 / (1 + np.exp(-generator.normal(fake)))),
                        target_id=f'{video:03d}',
                    )
                )
    return FrameScores.from_records(records)


def facts(**more: Any) -> dict[str, Any]:
    return {
        'videos': [],
        'unscored': [],
        'without_face': [],
        'without_face_any_split': 0,
        'listed_but_absent': 0,
        'left_out': {},
        'compressions': ['c23'],
    } | more


def rows_of(frames: FrameScores, options: ReportOptions = FAST, **more: Any) -> dict[str | None, Row]:
    scored = ScoredVideos.of('ffpp', frames, options)
    rows = report_rows([scored], {'ffpp': facts(**more)}, options.threshold or 0.5, options)
    return {row.manipulation: row for row in rows}


class TestFigures:
    def test_four_methods_with_equal_names_are_four_videos_each(self) -> None:
        rows = rows_of(scores())
        assert list(rows) == [*METHODS, None]
        assert [(row.videos, row.fake_videos) for row in rows.values()] == [*[(8, 4)] * 4, (20, 16)]

    @pytest.mark.parametrize('manipulation', [*METHODS, None])
    def test_against_an_independent_library(self, manipulation: str | None) -> None:
        frames = scores(videos=9, seed=3)
        row = rows_of(frames)[manipulation]
        inside = np.isin(frames.method, ['youtube', manipulation]) | (manipulation is None)
        keys = np.unique(frames.video_key[inside].astype(str))
        videos = np.array([frames.score[frames.video_key == key].mean() for key in keys])
        labels = np.array([int('youtube' not in key) for key in keys])
        assert row.video_auc == pytest.approx(sk_metrics.roc_auc_score(labels, videos), abs=1e-12)
        assert row.video_ap == pytest.approx(sk_metrics.average_precision_score(labels, videos), abs=1e-12)
        assert row.log_loss == pytest.approx(sk_metrics.log_loss(labels, videos), abs=1e-12)
        assert row.brier == pytest.approx(sk_metrics.brier_score_loss(labels, videos), abs=1e-12)
        called = (videos >= 0.5).astype(int)
        assert row.accuracy == pytest.approx(sk_metrics.accuracy_score(labels, called), abs=1e-12)
        expected = sk_metrics.balanced_accuracy_score(labels, called)
        assert row.balanced_accuracy == pytest.approx(expected, abs=1e-12)
        ((_, false), (missed, _)) = sk_metrics.confusion_matrix(labels, called)
        assert (row.false_positives, row.false_negatives) == (false, missed)
        one = frames.select(inside)
        assert row.frame_auc == pytest.approx(sk_metrics.roc_auc_score(one.label, one.score), abs=1e-12)
        assert row.frame_ap == pytest.approx(
            sk_metrics.average_precision_score(one.label, one.score), abs=1e-12
        )
        assert row.frame_log_loss == pytest.approx(sk_metrics.log_loss(one.label, one.score), abs=1e-12)
        limits = row.intervals['video_auc']
        assert limits['low'] < row.video_auc < limits['high']
        # 9 genuine videos measure no false alarm rate of 1 %.
        assert row.tpr_at_fpr_1e2 is None

    def test_a_false_alarm_rate_that_can_be_measured(self) -> None:
        rows = rows_of(scores(videos=100, frames=1))
        assert rows[None].tpr_at_fpr_1e2 is not None
        assert rows[None].tpr_at_fpr_1e3 is None

    def test_sets_with_equal_video_names_stay_apart(self) -> None:
        sets = [ScoredVideos.of(name, scores(seed=seed), FAST) for name, seed in (('a', 1), ('b', 2))]
        coverage = {'a': facts(), 'b': facts()}
        rows = report_rows(sets, coverage, 0.5, FAST)
        alone = [report_rows([s], coverage, 0.5, FAST) for s in sets]
        assert rows == [*alone[0], *alone[1]]
        assert [row.videos for row in rows if row.manipulation is None] == [20, 20]

    def test_equal_names_of_persons_in_two_data_sets_are_two_persons(self) -> None:
        pooled = ReportOptions(resamples=100, threshold=0.5, pooled=True, bootstrap_over='identities')
        one, two = (scores(seed=seed, dataset=name) for seed, name in ((1, 'a'), (2, 'b')))

        def total(*parts: FrameScores) -> Row:
            names = one.table.column_names
            columns = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
            scored = ScoredVideos.of('both', FrameScores.from_columns(columns), pooled)
            return report_rows([scored], {'both': facts()}, 0.5, pooled)[-1]

        renamed = np.array([f'x{name}' for name in two.target_id], dtype=object)
        columns = {name: getattr(two, name) for name in two.table.column_names}
        other = FrameScores.from_columns({**columns, 'target_id': renamed})
        assert total(one, two) == total(one, other)

    def test_no_total_over_data_sets_unless_asked(self) -> None:
        several = FrameScores.from_columns(
            {
                name: np.concatenate([getattr(scores(), name), getattr(scores(dataset='dfd'), name)])
                for name in scores().table.column_names
            }
        )
        scored = ScoredVideos.of('both', several, FAST)
        rows = report_rows([scored], {'both': facts()}, 0.5, FAST)
        totals = [(row.dataset, row.videos) for row in rows if row.manipulation is None]
        assert totals == [('dfd', 20), ('ffpp', 20)]
        pooled = ReportOptions(resamples=100, threshold=0.5, pooled=True, bootstrap_over='identities')
        rows = report_rows([scored], {'both': facts()}, 0.5, pooled)
        assert (rows[-1].test_set, rows[-1].videos, rows[-1].frames) == ('all sets', 40, 120)

    def test_abstentions_by_hand(self) -> None:
        """18 of 20 right; two genuine and one FaceSwap video without a face."""
        frames = scores()
        labels = frames.label.astype(float)
        wrong = np.isin(frames.video_key, ['ffpp/youtube/c23/000', 'ffpp/Deepfakes/c23/000_003'])
        columns = {name: frames.table[name] for name in frames.table.column_names}
        frames = FrameScores.from_columns({**columns, 'score': np.where(wrong, 1 - labels, labels)})
        faceless = [
            dict(video_key=f'ffpp/{m}/c23/9', dataset='ffpp', method=m, label=int(m != 'youtube'))
            for m in ('youtube', 'youtube', 'FaceSwap')
        ]
        rows = rows_of(frames, without_face=faceless)
        assert (rows[None].without_face_genuine, rows[None].without_face_fake) == (2, 1)
        assert rows[None].accuracy == rows[None].accuracy_of_scored == 18 / 20
        assert rows[None].coverage == 20 / 23
        options = ReportOptions(resamples=100, threshold=0.5, missing_as_abstention=True)
        counted = rows_of(frames, options, without_face=faceless)
        assert counted[None].accuracy == 18 / 23
        assert counted[None].accuracy_of_scored == 18 / 20
        # Genuine videos belong to every row, fakes to theirs.
        assert counted['FaceSwap'].accuracy == 7 / 11
        assert counted['Deepfakes'].accuracy == 6 / 10
        for name in ('video_auc', 'video_eer', 'log_loss', 'tpr_at_fpr_1e2'):
            assert getattr(counted[None], name) == getattr(rows[None], name)
        with pytest.raises(InputError, match='they cannot count as abstentions; prepare the set again'):
            rows_of(frames, options, without_face=None)
        assert rows_of(frames, without_face=None)[None].coverage is None

    def test_bad_scores(self) -> None:
        frames = scores()
        columns = {name: frames.table[name] for name in frames.table.column_names}
        values = frames.score.copy()
        values[7] = np.nan
        with pytest.raises(InputError, match='test set ffpp: 1 of 60 scores are NaN'):
            rows_of(FrameScores.from_columns({**columns, 'score': values}))
        with pytest.raises(InputError, match='test set ffpp is empty'):
            rows_of(frames.select(np.zeros(60, dtype=bool)))
        with pytest.raises(OneClassError, match='ffpp / ffpp / Deepfakes: all 4 videos are fake'):
            rows_of(frames.select(frames.method == 'Deepfakes'))

    def test_options(self) -> None:
        assert ReportOptions.from_dict(FAST.as_dict()) == FAST
        for wrong in (dict(aggregation='best'), dict(top_k=0), dict(threshold=2), dict(resamples=5)):
            with pytest.raises(InputError, match=next(iter(wrong))):
                ReportOptions(**wrong)  # type: ignore[arg-type]
        with pytest.raises(InputError, match='options of the report'):
            ReportOptions.from_dict({'magic': 1})

    @pytest.mark.parametrize('how', ['mean', 'median', 'max', 'topk', 'logit_mean'])
    def test_aggregations(self, how: str) -> None:
        frames = scores(frames=5)
        options = ReportOptions(aggregation=how, top_k=2, resamples=100, threshold=0.5)
        videos = ScoredVideos.of('ffpp', frames, options).videos
        values = frames.score[frames.video_key == videos.keys[0]]
        logits = np.log(values / (1 - values))
        expected = {
            'mean': values.mean(),
            'median': np.median(values),
            'max': values.max(),
            'topk': np.sort(values)[-2:].mean(),
            'logit_mean': 1 / (1 + np.exp(-logits.mean())),
        }
        assert videos.scores[0] == pytest.approx(expected[how], abs=1e-12)


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
            localisation={},
            localisation_scores=None,
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

    def test_a_changed_figure_is_named(self, report: Path) -> None:
        true = json.loads((report / 'report.json').read_text())['figures'][2]['video_auc']
        assert edit(report, lambda content: content['figures'][2].update(video_auc=0.999)) == [
            f'report.json, ffpp / ffpp / FaceSwap: video_auc is 0.999, the scores give {true!r}'
        ]

    def test_a_changed_interval_and_count(self, report: Path) -> None:
        def change(content: Any) -> None:
            content['figures'][0]['intervals']['video_auc']['low'] = 0.9
            content['figures'][1]['videos'] = 9
            del content['figures'][3]['accuracy']
            content['figures'][4]['extra'] = 1

        problems = edit(report, change)
        assert len(problems) == 4
        assert 'intervals.video_auc.low is 0.9, the scores give' in problems[0]
        assert 'videos is 9, the scores give 8' in problems[1]
        assert 'accuracy is missing' in problems[2]
        assert 'extra is 1, which the scores do not give' in problems[3]

    def test_rows_that_are_missing_or_made_up(self, report: Path) -> None:
        def change(content: Any) -> None:
            row = content['figures'].pop(0)
            content['figures'].append({**row, 'manipulation': 'Magic'})

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

    def test_a_changed_cell_of_the_table_of_localisation(self, report: Path) -> None:
        """Its rows have the names of those of the main table."""
        figures = {'localisation/pointing': 0.5, 'localisation/pointing/FaceSwap': 0.2468}
        content = json.loads((report / 'report.json').read_text())
        content['test_sets'][0]['localisation'] = figures
        (report / 'report.json').write_text(json.dumps(content))
        path = report / 'report.md'
        path.write_text(report_text(content))
        before = verify_report(report).problems
        assert 'report.json, test set ffpp: no file has the scores of localisation' in before
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
        paths += [('test_sets', 0, key) for key in content['test_sets'][0]] + [('figures', 0)]
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
        assert 'There is no total over the data sets' in text
        assert '* threshold: 0.' in text
        assert 'chosen on the validation split' in text

    def test_guessing_is_called_guessing(self, tmp_path: Path) -> None:
        frames = scores(videos=6)
        columns = {name: frames.table[name] for name in frames.table.column_names}
        half = np.random.default_rng(0).uniform(size=len(frames))
        rows = rows_of(FrameScores.from_columns({**columns, 'score': half}))
        write(tmp_path)
        content = json.loads((tmp_path / 'report.json').read_text())
        content['figures'] = [row.as_dict() for row in rows.values()]
        assert 'this test does not show that the detector tells genuine from fake' in report_text(content)


def test_the_interval_of_a_perfect_auc_is_explained(tmp_path: Path) -> None:
    frames = scores()
    columns = {name: frames.table[name] for name in frames.table.column_names}
    rows = rows_of(FrameScores.from_columns({**columns, 'score': 0.1 + 0.8 * frames.label}))
    write(tmp_path)
    content = json.loads((tmp_path / 'report.json').read_text())
    content['figures'] = [row.as_dict() for row in rows_of(scores(videos=40)).values()]
    assert 'Newcombe' not in report_text(content)
    content['figures'] = [row.as_dict() for row in rows.values()]
    assert '; where every resample gives the same AUC (that of 100), or a class has' in report_text(content)
    assert 'plain percentiles' not in report_text(content)
    content['figures'][0]['intervals']['video_auc']['method'] = 'percentile'
    assert '; plain percentiles where that is not possible;' in report_text(content)
    low = rows[None].intervals['video_auc']['low']
    assert low is not None
    assert 0.5 < low < 1


def test_test_videos_in_the_validation_split_are_owned_up_to() -> None:
    options, frames = ReportOptions(resamples=100), scores()
    videos = video_scores(frames.score, frames.label, frames.video_key).keys
    assert find_threshold(options, frames).text.endswith('no test video took part')
    assert find_threshold(options, frames, '', ['dfd/youtube/c23/000']).text.endswith(
        'no test video took part'
    )
    found = find_threshold(options, frames, '', [*videos[:3], 'x'])
    assert '3 of its 20 videos are test videos' in found.text
    assert 'no test video' not in found.text


def test_manipulations_in_training() -> None:
    def found(dataset: Any) -> Any:
        return _training_manipulations(Config(dict(train_dataloader=dict(dataset=dataset))))

    one = dict(type='ForgeryDataset', ann_file='a', methods=('FaceSwap', 'Deepfakes'))
    assert found(one) == ['Deepfakes', 'FaceSwap']
    assert found(dict(type='RepeatDataset', times=2, dataset=one)) == ['Deepfakes', 'FaceSwap']
    several = [one, dict(one, methods=['Face2Face'])]
    assert found(dict(type='ConcatDataset', datasets=several)) == ['Deepfakes', 'Face2Face', 'FaceSwap']
    assert found(dict(type='ForgeryDataset', ann_file='a')) is None
    assert found(dict(type='Foreign')) == []
    assert _training_manipulations(Config(dict())) == []
    assert [_trained_on(value) for value in (None, [], ['a', 'b'])] == [
        'all of its index',
        'not known',
        'a, b',
    ]


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


def test_the_table_of_localisation() -> None:
    figures = {
        'localisation/pointing': 0.5,
        'localisation/pointing/Deepfakes': 0.25,
        'localisation/centre_pointing': 0.75,
        'localisation/gain_iou_best': None,
        'localisation/num_scored': 8.0,
    }
    table = localisation_table([dict(name='toy', localisation=figures), dict(name='x', localisation={})])
    assert [(row[1], row[3], row[-1]) for row in table] == [
        ('manipulation', 'pointing', 'faces with mask'),
        ('Deepfakes', '25.00', '–'),
        ('overall', '50.00', '8'),
        ('centred guess', '75.00', '–'),
        ('chance', '–', '–'),
    ]
    assert localisation_table([dict(name='x', localisation={})]) == []


class TestCoverage:
    def table(self) -> pa.Table:
        keys = ['ffpp/youtube/c23/0', 'ffpp/FaceSwap/c23/0_1', 'ffpp/FaceSwap/c23/2_3']
        return pa.table(
            dict(
                video_key=keys,
                dataset=['ffpp'] * 3,
                method=['youtube', 'FaceSwap', 'FaceSwap'],
                compression=['c23'] * 3,
                label=[0, 1, 1],
            )
        )

    def found(self, folder: Path, report: Any = None, **dataset: Any) -> dict[str, Any]:
        if report is not None:
            (folder / 'report.json').write_text(json.dumps(report))
        loader = dict(dataset=dict(data_root=str(folder), ann_file='index.parquet', split='test', **dataset))
        return coverage_facts(TestSet('x', loader), self.table(), np.array(['ffpp/youtube/c23/0']))

    def test_without_a_report(self, tmp_path: Path) -> None:
        found = self.found(tmp_path)
        assert [video['video_key'] for video in found['unscored']] == [
            'ffpp/FaceSwap/c23/0_1',
            'ffpp/FaceSwap/c23/2_3',
        ]
        assert found['videos'] == [
            dict(dataset='ffpp', method='FaceSwap', label=1, videos=2),
            dict(dataset='ffpp', method='youtube', label=0, videos=1),
        ]
        assert found['without_face'] is found['listed_but_absent'] is found['left_out'] is None

    def test_of_this_split_and_choice(self, tmp_path: Path) -> None:
        methods = dict(FaceSwap=dict(videos_without_face=3), youtube=dict(videos_without_face=1))
        faceless = [
            dict(key=f'ffpp/{method}/c23/{name}', method=method, split=split, label=int(method != 'youtube'))
            for method, name, split in (
                ('FaceSwap', '8_9', 'test'),
                ('Deepfakes', '8_9', 'test'),
                ('FaceSwap', '6_7', 'train'),
                ('youtube', '8', 'test'),
            )
        ]
        report = dict(
            methods=methods, without_face=faceless, missing=['a.mp4'], left_out={'b': 'x', 'c': 'x'}
        )
        found = self.found(tmp_path, report, methods=('FaceSwap',))
        assert [video['video_key'] for video in found['without_face']] == [
            'ffpp/FaceSwap/c23/8_9',
            'ffpp/youtube/c23/8',
        ]
        assert found['listed_but_absent'] == 1
        assert found['left_out'] == {'x': 2}
        assert found['without_face_any_split'] == 4

    def test_an_older_report_knows_when_there_are_none(self, tmp_path: Path) -> None:
        assert self.found(tmp_path, dict(methods=dict(a=dict(videos_without_face=0))))['without_face'] == []
        some = self.found(tmp_path, dict(methods=dict(a=dict(videos_without_face=2))))
        assert (some['without_face'], some['without_face_any_split']) == (None, 2)


class TestProvenance:
    @pytest.mark.parametrize(
        ('text', 'expected'),
        [
            ('/home/someone/data', 'data'),
            ('/home/some one/my data/', 'my data'),
            ('name=/data/my set', 'name=my set'),
            ('data/ffpp', 'data/ffpp'),
            ("x=('/a/b','/c/d')", "x=('b','d')"),
            (r'C:\Users\someone\data', 'data'),
            ('~/data', 'data'),
            ('3 / 4 of https://example.org/a', '3 / 4 of https://example.org/a'),
        ],
    )
    def test_paths_of_the_machine_are_removed(self, text: str, expected: str) -> None:
        assert without_paths(text) == expected

    def test_command_line(self) -> None:
        arguments = ['/x/tools/test.py', 'configs/a.py', '/y/z.pth', '--test-sets', 'a=/b/c d']
        assert command_line(arguments) == "tools/test.py configs/a.py z.pth --test-sets 'a=c d'"
        secret = ['test.py', 'a.py', '--cfg-options', 'backend_args.key=hush', 'b=1', 'backend_args={"a":1}']
        assert command_line(secret) == 'test.py a.py --cfg-options backend_args.key=... b=1 backend_args=...'

    def test_config_text_says_what_and_not_where(self) -> None:
        loader = dict(dataset=dict(data_root='/data/a', ann_file='index.parquet'))
        one = Config(dict(work_dir='w', launcher='none', data_root='/data/a', test_dataloader=loader))
        other = dict(dataset=dict(data_root='b', ann_file='index.parquet'))
        two = Config(dict(work_dir='v', launcher='pytorch', data_root='b', test_dataloader=other))
        assert config_text(one) == config_text(two)
        assert 'DATA_ROOT' in config_text(one)
        # Nor is it said what images are read from, which may hold secrets.
        stored = dict(other['dataset'], backend_args=dict(backend='mine', key='hush'))
        two = Config(dict(data_root='b', backend_args={}, test_dataloader=dict(dataset=stored)))
        assert config_text(one) == config_text(two)
        three = Config(dict(data_root='b', test_dataloader=dict(other, batch_size=2)))
        assert config_text(three) != config_text(one)


def test_scores_are_taken_over_from_the_same_source_only(tmp_path: Path) -> None:
    job = ScoringJob(Config(dict(model={})), 'hash', tmp_path, resume=True)
    path = write_scores(scores(), job.scores_file('a'))
    source = dict(checkpoint_sha256='hash', index_sha256=['i'], settings_sha256='s')
    record = dict(source=source, scores=dict(file='a', sha256=sha256(path)), localisation_scores=None)
    assert job.finished_record('a', source) is None
    write_json(record, job.record_file('a'))
    assert job.finished_record('a', source) == record
    for other in source:
        assert job.finished_record('a', source | {other: 'x'}) is None
    write_scores(scores(seed=5), path)
    assert job.finished_record('a', source) is None
    job.record_file('a').write_text('{')
    assert job.finished_record('a', source) is None


def test_scores_of_other_library_versions_are_not_taken_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = ScoringJob(Config(dict(model={})), 'hash', tmp_path, resume=True)
    test_set = TestSet('a', dict(dataset=dict(ann_file='index.parquet', split='test')))
    before = job._settings(test_set)
    assert job._settings(test_set) == before
    monkeypatch.setattr(scoring, 'library_versions', lambda: {'torch': '0.1'})
    assert job._settings(test_set) != before
