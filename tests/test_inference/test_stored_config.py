# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest
from mmengine.config import Config

from iid_mm.apis.stored_config import parse_config_text, stored_config
from iid_mm.errors import InputError
from iid_mm.registry import MODELS

REPOSITORY = Path(__file__).parents[2]
CONFIGS = sorted(path for path in (REPOSITORY / 'configs').glob('*.py'))


@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
def test_every_config_is_read_as_it_was_written(path: Path) -> None:
    cfg = Config.fromfile(str(path))
    found = stored_config({'cfg': cfg.pretty_text}, 'x.pth')
    assert found.model.to_dict() == cfg.model.to_dict()
    assert found.test_dataloader.dataset.pipeline == cfg.test_dataloader.dataset.pipeline
    assert found.default_scope == 'iid_mm'


def test_a_model_can_be_built(iid_scope: None) -> None:
    cfg = Config.fromfile(str(REPOSITORY / 'configs/iid_r18_toy.py'))
    assert MODELS.build(stored_config({'cfg': cfg.pretty_text}, 'x.pth').model) is not None


def test_values_by_hand() -> None:
    text = "a = 1\nb = dict(c=[-1.5, None], d=('x', True), e={'k v': {2}})\nf = -inf\n"
    assert parse_config_text(text) == {
        'a': 1,
        'b': {'c': [-1.5, None], 'd': ('x', True), 'e': {'k v': {2}}},
        'f': -float('inf'),
    }


@pytest.mark.parametrize(
    'text',
    [
        "import os\nos.system('true')",
        "a = __import__('os').system('true')",
        "a = open('/etc/passwd').read()",
        "a = [x for x in 'abc']",
        'a = dict(**{})',
        "a = 'x' * 10**9",
        'a = b',
        'a = -"x"',
        'def f(): pass',
        'a.b = 1',
    ],
)
def test_code_is_not_run(text: str) -> None:
    with pytest.raises(ValueError, match='line 1'):
        parse_config_text(text)


HEAD = "dict(type='ForgeryHead', in_channels=8)"
MODEL = "model = dict(type='IIDDetector', backbone={backbone}, forgery_head=" + HEAD + ')\n'
PIPELINE = 'test_dataloader = dict(dataset=dict(pipeline=[{step}]))\n'


@pytest.mark.parametrize(
    ('backbone', 'step'),
    [
        ("dict(type='os.system', command='true')", "dict(type='AlignFace')"),
        ("dict(type='mmengine.load', file='x.pkl')", "dict(type='AlignFace')"),
        ("dict(type='mmengine.fileio.load', file='x.pkl')", "dict(type='AlignFace')"),
        ("dict(type='mmpretrain.ResNet')", "dict(type='subprocess.run')"),
        ("dict(type='mmpretrain.ResNet')", "dict(type='IIDDetector')"),
        ('dict(type=5)', "dict(type='AlignFace')"),
    ],
)
def test_only_models_and_transforms_are_built(backbone: str, step: str) -> None:
    text = MODEL.format(backbone=backbone) + PIPELINE.format(step=step)
    with pytest.raises(InputError, match=r'x\.pth wants to build'):
        stored_config({'cfg': text}, 'x.pth')


@pytest.mark.parametrize('meta', [None, {}, {'cfg': 5}])
def test_no_config(meta: object) -> None:
    with pytest.raises(InputError, match=r'x\.pth holds no config'):
        stored_config(meta, 'x.pth')  # type: ignore[arg-type]


@pytest.mark.parametrize('text', ['model = dict()', 'model = (', 'model = dict()\ntest_dataloader = None'])
def test_unusable_config(text: str) -> None:
    with pytest.raises(InputError, match='cannot be read'):
        stored_config({'cfg': text}, 'x.pth')
