# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.config import Config

from iid_mm.errors import InputError
from iid_mm.models.build import building_stored_model
from iid_mm.models.stored_config import DETECTORS, PARTS, STEPS, parse_config_text, stored_config
from iid_mm.registry import MODELS, TASK_UTILS, TRANSFORMS
from support.paths import REPOSITORY

CONFIGS = sorted(path for path in (REPOSITORY / 'configs').glob('*.py'))


def without_initialization(node: Any) -> Any:
    """What a stored config keeps of a model, written another way than in the package."""
    if isinstance(node, dict):
        return {
            key: without_initialization(value)
            for key, value in node.items()
            if key not in ('init_cfg', 'pretrained')
        }
    if isinstance(node, (list, tuple)):
        return type(node)(without_initialization(value) for value in node)
    return node


@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
def test_every_config_is_read_as_it_was_written(path: Path) -> None:
    cfg = Config.fromfile(str(path))
    found = stored_config({'cfg': cfg.pretty_text}, 'x.pth')
    assert found.model.to_dict() == without_initialization(cfg.model.to_dict())
    # Faces are in memory, so what reads files is left out.
    assert found.test_dataloader.dataset.pipeline == cfg.test_dataloader.dataset.pipeline[1:]
    assert found.default_scope == 'iid_mm'


def test_every_safe_part_is_of_a_package_that_was_read(iid_scope: None) -> None:
    """A name that nothing answers to could be taken by a stranger's package."""
    for name in (PARTS | {*DETECTORS, *STEPS}) - {'nms', 'soft_nms'}:
        found = MODELS.get(name) or TASK_UTILS.get(name) or TRANSFORMS.get(name)
        assert found is not None, name
        assert found.__module__.split('.')[0] in (
            'iid_mm',
            'mmdet',
            'mmpretrain',
            'mmcv',
            'mmengine',
            'torch',
        )


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


RESNET, ALIGN = "dict(type='mmpretrain.ResNet', depth=18)", "dict(type='AlignFace')"


def stored(backbone: str = RESNET, step: str = ALIGN, head: str = '') -> dict[str, str]:
    return {'cfg': head + MODEL.format(backbone=backbone) + PIPELINE.format(step=step)}


@pytest.mark.parametrize(
    ('backbone', 'step', 'reason'),
    [
        ("dict(type='os.system', command='true')", ALIGN, "wants to build 'os.system'"),
        ("dict(type='mmengine.load', file='x.pkl')", ALIGN, "wants to build 'mmengine.load'"),
        # Known to a registry, and opens files or addresses.
        ("dict(type='mmpretrain.TIMMBackbone', model_name='resnet18')", ALIGN, 'wants to build'),
        ("dict(type='mmpretrain.HuggingFaceClassifier', model_name='x')", ALIGN, 'wants to build'),
        ("dict(type='mmdet.Detectron2Wrapper', detector=dict())", ALIGN, 'wants to build'),
        ("dict(type='mmdet.BertModel', name='x')", ALIGN, 'wants to build'),
        ('dict(type=5)', ALIGN, 'wants to build 5'),
        ("dict(type=['mmpretrain.ResNet'])", ALIGN, 'wants to build'),
        (RESNET, "dict(type='subprocess.run')", "wants to build 'subprocess.run' in place of AlignFace"),
        (RESNET, "dict(type='IIDDetector')", "wants to build 'IIDDetector' in place of AlignFace"),
        (RESNET, "dict(type='MultiScaleFacialSwap')", 'in place of AlignFace'),
        (RESNET, "dict(type='AlignFace', size=(100000, 224))", 'size=.*100000|100000 is out of range'),
        (RESNET, "'AlignFace'", r'no dict\(...\)'),
        # Keys and values that name something outside, or that would be evaluated.
        ("dict(type='mmpretrain.ResNet', teacher_ckpt='x')", ALIGN, 'sets teacher_ckpt'),
        ("dict(type='mmpretrain.ResNet', teacher_config='x')", ALIGN, 'sets teacher_config'),
        ("dict(type='mmpretrain.ResNet', checkpoint='x')", ALIGN, 'sets checkpoint'),
        ("dict(type='mmpretrain.ResNet', a=dict(weights_path='x'))", ALIGN, 'sets weights_path'),
        ("dict(type='mmpretrain.ResNet', arch='../x')", ALIGN, 'no plain name'),
        ("dict(type='mmpretrain.ResNet', arch='http://127.0.0.1')", ALIGN, 'no plain name'),
        ("dict(type='mmpretrain.ResNet', targets=['(a+)+$'])", ALIGN, 'no plain name'),
        ("dict(type='mmpretrain.ResNet', nms=dict(type='exit()'))", ALIGN, 'wants to build'),
        ("dict(type='mmpretrain.ResNet', _scope_='mmdet')", ALIGN, 'has a key'),
        ("dict(type='mmpretrain.ResNet', depth=10**9)", ALIGN, 'no plain value'),
        ("dict(type='mmpretrain.ResNet', base_channels=70000)", ALIGN, 'base_channels=70000 is out of range'),
        (f"dict(type='mmpretrain.ResNet', depth=0x{'f' * 500})", ALIGN, 'out of range'),
        (f"dict(type='mmdet.AnchorGenerator', ratios={[1.0] * 2000})", ALIGN, 'ratios has 2000 parts'),
        ("dict(type='mmpretrain.ResNet', a={1: 2})", ALIGN, 'has a key 1'),
        ("dict(type='mmpretrain.ResNet', a={2})", ALIGN, 'is a set'),
        ("dict(type='mmpretrain.ResNet', a=b'x')", ALIGN, 'is a bytes'),
    ],
)
def test_only_known_parts_are_built_of_plain_values(backbone: str, step: str, reason: str) -> None:
    with pytest.raises(InputError, match=reason) as caught:
        stored_config(stored(backbone, step), 'x.pth')
    assert 'x.pth cannot be used' in str(caught.value)
    assert '--config' in str(caught.value)
    assert '--trust-checkpoint' in str(caught.value)
    assert '\n' not in str(caught.value)


def test_the_outermost_part_is_a_detector_of_ours() -> None:
    text = stored()['cfg'].replace('IIDDetector', 'mmdet.KnowledgeDistillationSingleStageDetector')
    with pytest.raises(InputError, match='in place of IIDDetector'):
        stored_config({'cfg': text}, 'x.pth')


def test_an_exported_model_needs_the_pipeline_only() -> None:
    found = stored_config(stored("dict(type='my.Backbone')"), 'x.onnx', with_model=False)
    assert 'model' not in found
    assert found.test_dataloader.dataset.pipeline == [{'type': 'AlignFace'}]
    with pytest.raises(InputError, match='in place of AlignFace'):
        stored_config(stored(step="dict(type='my.Step')"), 'x.onnx', with_model=False)


def test_another_scope_is_refused() -> None:
    with pytest.raises(InputError, match="default_scope is 'mmpretrain'"):
        stored_config(stored(head="default_scope = 'mmpretrain'\n"), 'x.pth')


def test_what_initializes_weights_is_left_out_at_any_depth() -> None:
    evil = "init_cfg=dict(type='Pretrained', checkpoint='http://127.0.0.1/x.pth')"
    backbone = (
        f"dict(type='LoRABackbone', module=dict(type='mmpretrain.ResNet', pretrained='x', {evil}), {evil})"
    )
    found = stored_config(stored(backbone), 'x.pth')
    assert found.model.backbone.to_dict() == {'type': 'LoRABackbone', 'module': {'type': 'mmpretrain.ResNet'}}


def test_a_trusted_config_imports_what_it_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / 'stranger_parts.py').write_text("open(__file__ + '.ran', 'w').close()\n")
    monkeypatch.syspath_prepend(tmp_path)
    head = "custom_imports = dict(imports=['stranger_parts'])\n"
    backbone = "dict(type='mmpretrain.TIMMBackbone', model_name='a/b')"
    with pytest.raises(InputError, match='TIMMBackbone'):
        stored_config(stored(backbone, head=head), 'x.pth')
    assert not (tmp_path / 'stranger_parts.py.ran').exists()
    assert stored_config(stored(backbone, head=head), 'x.pth', trust=True).model.backbone.model_name == 'a/b'
    assert (tmp_path / 'stranger_parts.py.ran').exists()


@pytest.mark.parametrize(
    'model',
    [
        "'IIDDetector'",
        "['IIDDetector']",
        '5',
        'None',
        '-' * 50_000 + '1',
        '[' * 50_000 + ']' * 50_000,
        'dict(a=' * 2_000 + '1' + ')' * 2_000,
        '1' * 5_000,
        "'" + 'x' * (1 << 20) + "'",
        "'\\x00'\x00",
        # Older Pythons crash when they parse these.
        'a.' * 300_000 + 'a',
        'not ' * 100_000 + '1',
        '1 if 1 else ' * 50_000 + '1',
        "f'{" + '-' * 50_000 + "1}'",
    ],
    ids=[
        *('text', 'list', 'number', 'none', 'minus', 'brackets', 'dicts', 'digits', 'long', 'nul'),
        *('dots', 'nots', 'ifs', 'format'),
    ],
)
def test_malformed_models_get_one_line(model: str) -> None:
    with pytest.raises(InputError, match=r'x\.pth cannot be used') as caught:
        stored_config({'cfg': f'model = {model}\n' + PIPELINE.format(step=ALIGN)}, 'x.pth')
    assert '\n' not in str(caught.value)
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize('count', [1, 2])
def test_a_model_that_is_larger_than_its_weights_is_not_built(count: int, iid_scope: None) -> None:
    weights = {'a': torch.zeros(4)}
    with (
        pytest.raises(InputError, match='larger than the weights'),
        building_stored_model('x.pth', weights),
    ):
        # 64 Mi numbers, 256 MiB: the second is one too many even for the allowance.
        [torch.empty(1 << 26) for _ in range(2)] if count == 2 else [torch.zeros(1) for _ in range(101_000)]


@pytest.mark.parametrize(
    'make',
    [
        lambda: torch.linspace(0, 1, 1 << 30),
        lambda: torch.arange(1 << 15)[:, None] - torch.arange(1 << 15),
        lambda: [0] * (1 << 30),
        lambda: np.ones(1 << 30),
    ],
    ids=['linspace', 'difference', 'list', 'array'],
)
def test_a_bomb_of_any_kind_is_not_built(make: Callable[[], object]) -> None:
    # One number that claims to be as many as would make room for all of it.
    weights = {'a': torch.zeros(()).expand(1 << 40), 'b': torch.zeros(2, device='meta'), 'c': 'text'}
    with pytest.raises(InputError, match='cannot be built'), building_stored_model('x.pth', weights):
        make()
    # The bound is gone.
    assert resource.getrlimit(resource.RLIMIT_DATA)[0] == resource.RLIM_INFINITY


def test_any_fault_of_a_constructor_is_one_line() -> None:
    wanted = r'x\.pth describes cannot be built: first; name the config'
    with pytest.raises(InputError, match=wanted), building_stored_model('x.pth', {}):
        raise KeyboardError('first\nsecond')


class KeyboardError(Exception):
    """What no list of exceptions names."""


@pytest.mark.parametrize('meta', [None, {}, {'cfg': 5}])
def test_no_config(meta: object) -> None:
    with pytest.raises(InputError, match=r'x\.pth holds no config'):
        stored_config(meta, 'x.pth')  # type: ignore[arg-type]


@pytest.mark.parametrize('text', ['model = dict()', 'model = (', 'model = dict()\ntest_dataloader = None'])
def test_unusable_config(text: str) -> None:
    with pytest.raises(InputError, match='cannot be used'):
        stored_config({'cfg': text}, 'x.pth')
