# SPDX-License-Identifier: Apache-2.0
"""The controlled study of identity leakage, projects/identity_leakage."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import roc_auc_score

from identity_leakage import leakage_report as report
from identity_leakage.confounding import confound_weights
from iid_mm.errors import InputError
from iid_mm.models.build import init_model
from iid_mm.registry import DATASETS
from iid_mm.utils.config import load_config
from support.paths import REPOSITORY

PROJECT = REPOSITORY / 'projects/identity_leakage'
ARMS = ('baseline', 'mfs', 'adm', 'iid')


@pytest.mark.parametrize('data', ['toy', 'real'])
@pytest.mark.parametrize('arm', ARMS)
def test_arms_differ_in_what_their_name_says(arm: str, data: str, iid_scope: None) -> None:
    cfg = load_config(PROJECT / 'configs' / f'{data}_{arm}.py')
    model = init_model(cfg)
    assert (model.artifact_head is not None) == (model.neck is not None) == (arm in ('adm', 'iid'))
    full = load_config(PROJECT / 'configs' / f'{data}_iid.py')
    steps, of_full = (c.train_dataloader.dataset.pipeline for c in (cfg, full))
    assert [step.type for step in steps] == [step.type for step in of_full]
    swaps = arm in ('mfs', 'iid')
    for mine, theirs in zip(steps, of_full, strict=True):
        # Augmentation is equal in all arms; the swap is that of the full model or does nothing.
        assert (mine == theirs) == (swaps or mine.type != 'MultiScaleFacialSwap')
    if not swaps:
        assert (steps[2].partial_prob, steps[2].keep_fake_prob) == (0, 1)
    for key in ('optim_wrapper', 'param_scheduler', 'train_cfg', 'default_hooks', 'test_dataloader'):
        assert cfg[key] == full[key]
    assert cfg.train_dataloader.dataset.type in DATASETS
    if data == 'toy':
        # Nothing is chosen on data.
        assert cfg.val_dataloader is None
        assert not cfg.default_hooks.checkpoint.get('save_best')
    else:
        assert cfg.val_dataloader.dataset.split == 'val'


def make_run(root: Path, arm: str, confound: float, seed: int, leak: float, artifact: float) -> Path:
    """Leave what a run leaves: scores that depend on the artifact and on the group."""
    folder = root / 'runs' / arm / f'confound_{confound:g}' / f'seed_{seed}'
    folder.mkdir(parents=True)
    generator = np.random.default_rng(seed)
    rows: list[dict[str, Any]] = []
    for people, count in (('seen', 20), ('new', 10)):
        for person in range(count):
            in_group = person % 4 < 2
            for take in (3, 4):
                for method in ('youtube', 'Deepfakes', 'FaceSwap', 'Face2Face'):
                    fake = method != 'youtube'
                    logit = artifact * fake + leak * in_group + generator.normal()
                    rows.append(
                        {
                            'label': int(fake),
                            'method': method,
                            'target_id': f'{people}{person:03d}',
                            'source_id': f'{people}{person ^ 1:03d}' if fake else None,
                            'take': take,
                            'people': people,
                            'score': 1 / (1 + np.exp(-logit)),
                            'logit': logit,
                            'in_fake_group': in_group,
                        }
                    )
    pq.write_table(pa.Table.from_pylist(rows), folder / 'videos.parquet')
    probed = {'backbone': {'top1': {'value': 0.5}}, 'fused': {'top1': {'value': 0.25}}}
    located = {'overall': {'gain_energy': 0.03}} if arm in ('adm', 'iid') else {}
    metrics = {'probe_seen': probed, 'probe_new': probed, 'localization': located}
    (folder / 'metrics.json').write_text(json.dumps(metrics))
    return folder


def test_metrics_of_a_run(tmp_path: Path) -> None:
    """Every AUC against scikit-learn on the same videos."""
    run = report.Run(make_run(tmp_path, 'iid', 0.9, 0, leak=2.0, artifact=1.0))
    assert (run.arm, run.confound, run.seed) == ('iid', 0.9, 0)
    videos = run.videos
    seen = (videos['people'] == 'seen') & (videos['method'] != 'Face2Face')
    label, group, logit = (videos[key][seen] for key in ('label', 'in_fake_group', 'logit'))
    for name, confound in (('in_distribution', 0.9), ('broken', 0.0), ('reversed', -0.9)):
        weights = confound_weights(label, group, confound)
        assert run.auc(name)[0] == pytest.approx(roc_auc_score(label, logit, sample_weight=weights))
    genuine = seen & (videos['label'] == 0)
    expected = roc_auc_score(videos['in_fake_group'][genuine], videos['logit'][genuine])
    assert run.auc('group')[0] == pytest.approx(expected)
    unseen = (videos['people'] == 'seen') & ((videos['label'] == 0) | (videos['method'] == 'Face2Face'))
    expected = roc_auc_score(videos['label'][unseen], videos['logit'][unseen])
    assert run.auc('unseen_method')[0] == pytest.approx(expected)
    # Weights of people count their videos so often.
    weights = np.zeros((2, 20))
    weights[0, :4], weights[1] = 1, 3
    some = seen & np.isin(videos['target_id'], [f'seen{i:03d}' for i in range(4)])
    expected = roc_auc_score(videos['label'][some], videos['logit'][some])
    assert run.auc('broken', weights) == pytest.approx([expected, run.auc('broken')[0]])
    assert (run.other('probe'), run.other('localization')) == (0.25, 0.03)


def test_report(tmp_path: Path) -> None:
    for seed in range(2):
        make_run(tmp_path, 'baseline', 0.9, seed, leak=3.0, artifact=1.0)
        make_run(tmp_path, 'iid', 0.9, seed, leak=0.0, artifact=2.0)
    text = report.write_report(tmp_path).read_text()
    rows = json.loads((tmp_path / 'report.json').read_text())['rows']
    assert [(row['arm'], row['confound'], row['seeds']) for row in rows] == [
        ('baseline', 0.9, [0, 1]),
        ('iid', 0.9, [0, 1]),
    ]
    baseline, iid = rows
    for name in report.AUCS:
        for row in rows:
            found = row[name]
            assert found['mean'] == pytest.approx(np.mean(found['seeds']))
            assert found['low'] <= found['mean'] <= found['high']
    assert baseline['group']['mean'] > 0.95
    assert iid['group']['low'] < 0.5 < iid['group']['high']
    gain = iid['broken_gain']
    assert gain['mean'] == pytest.approx(iid['broken']['mean'] - baseline['broken']['mean'])
    assert 0 < gain['low'] < gain['high']
    assert baseline['in_distribution']['mean'] > baseline['broken']['mean'] > baseline['reversed']['mean']
    cells = [[cell.strip() for cell in line.strip('|').split('|')] for line in text.splitlines()]
    assert ['0.9', 'IID (both)'] in [row[:2] for row in cells]
    assert any('–' in row for row in cells)
    assert (tmp_path / 'report.png').stat().st_size > 10_000
    # Equal runs, equal report.
    assert report.write_report(tmp_path).read_text() == text


def test_a_study_without_runs_or_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(InputError, match='has no finished run yet'):
        report.write_report(tmp_path)
    monkeypatch.setattr(sys, 'argv', ['run_study.py', str(tmp_path)])
    with pytest.raises(SystemExit, match='1'):
        runpy.run_path(str(PROJECT / 'run_study.py'), run_name='__main__')
    assert 'take0/index.parquet does not exist; make the data first' in capsys.readouterr().err
