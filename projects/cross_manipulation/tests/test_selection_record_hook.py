# SPDX-License-Identifier: Apache-2.0
"""The data a checkpoint is chosen on, in runs of the tiny dataset."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mmengine.hooks import Hook

from cross_manipulation.plan import ProtocolOptions, make_plan
from cross_manipulation.run_state import RunState
from iid_mm.engine import SafeRunner
from iid_mm.errors import InputError
from iid_mm.utils.config import load_config

_numbers = itertools.count()


class KilledError(RuntimeError):
    """The error that ends a run in these tests."""


class KillInValidation(Hook):
    """End the run before the validation of an epoch is evaluated."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def before_val_epoch(self, runner: Any) -> None:
        if runner.epoch == self.epoch:
            raise KilledError


@pytest.fixture
def make_runner(tiny_config: Path, tmp_path: Path) -> Callable[..., SafeRunner]:
    """Make a runner of the run that is trained on Deepfakes alone."""

    def make(name: str, resume: str | None = None, **options: Any) -> SafeRunner:
        work_dir = tmp_path / name
        chosen = dict(kind='train-sets', train_sets=['Deepfakes'], work_dir=tmp_path / f'{name}_plan')
        plan = make_plan(ProtocolOptions(configs=[tiny_config], **chosen))
        plan.write()
        cfg = load_config(plan.runs[0].config)
        cfg.merge_from_dict({key.replace('__', '.'): value for key, value in options.items()})
        cfg.update(work_dir=str(work_dir), launcher='none', experiment_name=f'selection_{next(_numbers)}')
        if resume is not None:
            cfg.update(resume=True, load_from=str(work_dir / resume))
        return SafeRunner.from_cfg(cfg)

    return make


def record(tmp_path: Path, name: str) -> dict[str, Any]:
    return json.loads((tmp_path / name / 'selection.json').read_text())


def test_validations_see_the_trained_manipulations_only(
    make_runner: Callable[..., SafeRunner], tmp_path: Path
) -> None:
    """And a validation that was interrupted runs again, so that the same checkpoint is chosen."""
    make_runner('whole').train()
    whole = record(tmp_path, 'whole')
    assert whole['data'] == {
        'train': {'splits': ['train'], 'genuine': 8, 'fakes': {'Deepfakes': 8}},
        'val': {'splits': ['val'], 'genuine': 2, 'fakes': {'Deepfakes': 2}},
    }
    assert [(v['epoch'], v['iter']) for v in whole['validations']] == [(1, 4), (2, 8)]
    # One genuine and one fake video: Deepfakes alone.
    assert [v['metrics']['forgery/num_videos'] for v in whole['validations']] == [2, 2]
    assert 'forgery/video_auc/Deepfakes' in whole['validations'][0]['metrics']
    assert 'forgery/video_auc/FaceSwap' not in whole['validations'][0]['metrics']
    state = RunState(tmp_path / 'whole', {'train': {}, 'test': {}})
    choice = state.choose('best')
    scores = [v['metrics']['forgery/video_auc'] for v in whole['validations']]
    assert (choice.score, choice.epoch) == (max(scores), 1 + scores.index(max(scores)))
    assert choice.checkpoint.name == f'best_forgery_video_auc_epoch_{choice.epoch}.pth'
    assert state.choose('last').checkpoint.name == 'epoch_2.pth'
    progress = json.loads((tmp_path / 'whole' / 'progress.json').read_text())
    assert (progress['iter'], progress['max_iters']) == (8, 8)

    # Validated and killed after it: validated again, and recorded once.
    (tmp_path / 'again').mkdir()
    (tmp_path / 'again' / 'epoch_1.pth').write_bytes((tmp_path / 'whole' / 'epoch_1.pth').read_bytes())
    earlier = {**whole, 'validations': whole['validations'][:1]}
    (tmp_path / 'again' / 'selection.json').write_text(json.dumps(earlier))
    make_runner('again', resume='epoch_1.pth').train()
    assert record(tmp_path, 'again')['validations'] == whole['validations']

    for epoch in (1, 2):
        name = f'killed_{epoch}'
        runner = make_runner(name)
        runner.register_hook(KillInValidation(epoch))
        with pytest.raises(KilledError):
            runner.train()
        assert len(record(tmp_path, name)['validations']) == epoch - 1
        make_runner(name, resume=f'epoch_{epoch}.pth').train()
        assert record(tmp_path, name)['validations'] == whole['validations']
        assert (
            RunState(tmp_path / name, state.settings).choose('best').checkpoint.name == choice.checkpoint.name
        )


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (
            dict(val_dataloader__dataset__methods=None),
            'val_dataloader holds fakes of FaceSwap, which this run',
        ),
        (dict(train_dataloader__dataset__methods=None), 'train_dataloader holds fakes of FaceSwap'),
        (dict(val_dataloader__dataset__split='test'), "val_dataloader reads the split 'test'"),
    ],
)
def test_unseen_manipulations_are_refused(
    change: dict[str, Any], message: str, make_runner: Callable[..., SafeRunner]
) -> None:
    with pytest.raises(InputError, match=message):
        make_runner('run', **change).train()
