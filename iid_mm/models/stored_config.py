# SPDX-License-Identifier: Apache-2.0
"""The config that MMEngine stores in checkpoints, read without running it.

A config from a stranger may build only the classes that are named here: their constructors, and what they run
when they predict, open no files and no addresses and evaluate no text, whatever their arguments. Before you
add one, read its code.
"""

from __future__ import annotations

import ast
import io
import math
import re
import tokenize
from collections.abc import Collection, Mapping
from typing import Any, TypeGuard

from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.utils import import_modules_from_strings

from iid_mm.errors import InputError
from iid_mm.registry import SCOPE
from iid_mm.utils.config import without_loaders


def _names(text: str, *scopes: str) -> tuple[str, ...]:
    """The words of a text, each below every scope; an empty scope is none."""
    return tuple(f'{scope}.{name}'.lstrip('.') for scope in scopes for name in text.split())


DETECTORS = _names('IIDDetector', '', 'iid_mm')
STEPS = _names('AlignFace PackForgeryInputs', '', 'iid_mm')
"""Transforms of test pipelines."""

_OURS = """
    ArtifactHead ArtifactNeck ExplicitAnchorGenerator ForgeryHead LoRABackbone PatchArtifactNeck SSDBBoxCoder
"""
_MMPRETRAIN = """
    BEiTViT CSPDarkNet CSPResNeXt CSPResNet ConvNeXt DeiT3 DenseNet DistilledVisionTransformer EfficientNet
    EfficientNetV2 HRNet MobileNetV2 MobileNetV3 RegNet RepVGG Res2Net ResNeSt ResNeXt ResNet ResNetV1c
    ResNetV1d SEResNeXt SEResNet ShuffleNetV2 SwinTransformer SwinTransformerV2 VGG ViTEVA02 VisionTransformer
    ClsDataPreprocessor GRN LN2d QuickGELU CrossEntropyLoss FocalLoss LabelSmoothLoss
"""
_MMDET = """
    DetDataPreprocessor
    CSPDarknet CSPNeXt EfficientNet HRNet MobileNetV2 RegNet Res2Net ResNeSt ResNeXt ResNet ResNetV1d
    SwinTransformer
    BFP CSPNeXtPAFPN ChannelMapper DilatedEncoder FPN HRFPN NASFPN PAFPN SSDNeck YOLOXPAFPN
    ATSSHead AnchorHead FCOSHead FreeAnchorRetinaHead GFLHead PAAHead RetinaHead SSDHead TOODHead VFNetHead
    BalancedL1Loss BoundedIoULoss CIoULoss CrossEntropyLoss DIoULoss DistributionFocalLoss EIoULoss FocalLoss
    GIoULoss IoULoss L1Loss MSELoss QualityFocalLoss SIoULoss SmoothL1Loss VarifocalLoss
    ATSSAssigner BboxOverlaps2D MaxIoUAssigner PointAssigner PseudoSampler RandomSampler SimOTAAssigner
    TaskAlignedAssigner
    AnchorGenerator DeltaXYWHBBoxCoder DistancePointBBoxCoder MlvlPointGenerator SSDAnchorGenerator
    TBLRBBoxCoder
"""
_LAYERS = """
    BN BN1d BN2d GN IN IN2d LN SyncBN
    Conv Conv1d Conv2d Conv2dAdaptivePadding ConvAWS ConvWS Linear bilinear nearest
    DropPath Dropout ELU GELU HSigmoid HSwish LeakyReLU PReLU ReLU ReLU6 SiLU Sigmoid Swish Tanh
"""
_SUPPRESSION = 'nms soft_nms'

PARTS = frozenset(
    (
        *_names(_OURS, '', 'iid_mm'),
        *_names(_MMPRETRAIN, 'mmpretrain'),
        # Names without a scope are looked up in mmdet, then in MMEngine.
        *_names(_MMDET, '', 'mmdet'),
        *_names(_LAYERS, ''),
        *_names(_SUPPRESSION, ''),
    )
)
"""Parts of detectors."""

MAX_TEXT = 1 << 20
"""Characters of a stored config; ours have up to 20 000."""
MAX_NUMBER, MAX_SIDE = 1 << 16, 1024
"""Largest numbers in a stored model and in a stored pipeline, such as widths, depths and counts."""
MAX_LENGTH = 1024
"""Longest list of either."""
_OPERATORS = ('(', ')', '[', ']', '{', '}', ',', ':', '=', '-')
# From Python 3.12 on.
_FSTRING = getattr(tokenize, 'FSTRING_START', -1)
_NAMES = {'inf': float('inf'), 'nan': float('nan')}
# Initialization, which a checkpoint does not need and which may name files and addresses.
_DROPPED = ('init_cfg', 'pretrained')
# Sizes of boxes that each level predicts; mmdet ends them with a number that stands for infinity.
_WITHOUT_LIMIT = 'regress_ranges'
_NAMES_A_FILE = re.compile(r'(.*_)?(ckpt|checkpoint|config|path|file|filename|dir|folder|root|url|uri)')
# No path, address, expression or pattern: enough for names of parts, layers, modes and architectures.
_PLAIN_TEXT = re.compile(r'[\w.:, -]*')
REMEDY = (
    'name the config that it was trained with (--config, model=), or, if you trust its origin as you trust a '
    'program, allow it (--trust-checkpoint, trust=True)'
)


def stored_config(
    meta: Mapping[str, Any] | None, name: str, trust: bool = False, with_model: bool = True
) -> Config:
    """Read the model and the test pipeline of a checkpoint's own config.

    MMEngine stores the config as Python text and reads it by running it, which is unsafe for files of unknown
    origin. Here the text is parsed: only plain values and ``dict(...)`` are accepted. The model must be a
    detector of this package made of :data:`PARTS`; the initialization of its weights is left out.

    Args:
        meta: ``meta`` of the checkpoint.
        name: Name of the checkpoint in error messages.
        trust: Whether to import the modules that the config imports and to allow any registered part with any
            settings.
        with_model: Whether to read the model; False for an exported one, which is complete without it.

    Returns:
        A config with ``default_scope``, ``model`` and ``test_dataloader.dataset.pipeline`` without the
        transforms that read files.

    Raises:
        InputError: If there is no config, or it holds more than values or builds anything else.
    """
    text = (meta or {}).get('cfg')
    if not isinstance(text, str):
        raise InputError(f'checkpoint {name} holds no config; name the config that it was trained with')
    try:
        values = parse_config_text(text)
        model, steps = values['model'], _pipeline_of(values)
        scope = values.get('default_scope', SCOPE)
        if not isinstance(model, dict) or not all(isinstance(step, dict) for step in steps):
            raise ValueError('its model or a step of its pipeline is no dict(...)')
        if trust:
            modules = values.get('custom_imports') or {}
            import_modules_from_strings(
                modules.get('imports') or [], modules.get('allow_failed_imports', False)
            )
        elif scope != SCOPE:
            raise ValueError(f'its default_scope is {str(scope)[:60]!r}, not {SCOPE!r}')
        steps = without_loaders(steps)
        if not trust:
            if with_model:
                _check(model, DETECTORS, PARTS, MAX_NUMBER)
            for step in steps:
                _check(step, STEPS, (), MAX_SIDE)
    except (
        *(ValueError, LookupError, TypeError, AttributeError, SyntaxError),
        *(RecursionError, MemoryError, ImportError),
    ) as error:
        reason = str(error) or type(error).__name__
        raise InputError(f'the config in checkpoint {name} cannot be used: {reason}; {REMEDY}') from error
    init_default_scope(scope)
    kept = {'default_scope': scope, 'test_dataloader': {'dataset': {'pipeline': steps}}}
    return Config({**kept, 'model': model} if with_model else kept)


def parse_config_text(text: str) -> dict[str, Any]:
    """Read assignments of plain values, as MMEngine dumps configs.

    Args:
        text: Lines ``name = value`` with literals, containers of them and ``dict(...)``.

    Returns:
        The values by name.

    Raises:
        ValueError: There is anything else in it, or too much of it.
        SyntaxError: It is no Python.
        RecursionError, MemoryError: It is nested too deeply.
    """
    if len(text) > MAX_TEXT:
        raise ValueError(f'it has {len(text)} characters')
    _check_tokens(text)
    values = {}
    for statement in ast.parse(text).body:
        if not isinstance(statement, ast.Assign) or not all(
            isinstance(t, ast.Name) for t in statement.targets
        ):
            raise ValueError(f'line {statement.lineno} is no assignment of a value')
        for target in statement.targets:
            assert isinstance(target, ast.Name)
            values[target.id] = _value(statement.value)
    return values


def _check_tokens(text: str) -> None:
    """Check that a text nests by brackets only, whose depth Python limits: other chains can crash it."""
    last = ''
    try:
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            kind = 'word' if token.type in (tokenize.NAME, tokenize.NUMBER) else token.string
            chained = kind == last and kind in ('word', '-')
            unknown = token.type == tokenize.OP and token.string not in _OPERATORS
            formatted = token.type == tokenize.STRING and 'f' in re.split('[\'"]', token.string)[0].lower()
            if chained or unknown or formatted or token.type == _FSTRING:
                raise ValueError(f'line {token.start[0]}: {token.line.strip()[:60]!r} is no plain value')
            last = kind
    except tokenize.TokenError as error:
        raise SyntaxError(str(error)) from error


def _value(node: ast.expr) -> Any:
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.Name) and node.id in _NAMES:
        return _NAMES[node.id]
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        value = _value(node.operand)
        if isinstance(value, (int, float)):
            return -value
    if isinstance(node, ast.List):
        return [_value(item) for item in node.elts]
    if isinstance(node, ast.Tuple):
        return tuple(_value(item) for item in node.elts)
    if isinstance(node, ast.Set):
        return {_value(item) for item in node.elts}
    if isinstance(node, ast.Dict) and None not in node.keys:
        return {_value(k): _value(v) for k, v in zip(node.keys, node.values, strict=True) if k is not None}
    if _is_plain_dict_call(node):
        return {str(word.arg): _value(word.value) for word in node.keywords}
    raise ValueError(f'line {node.lineno}: {ast.unparse(node)[:60]!r} is no plain value')


def _is_plain_dict_call(node: ast.expr) -> TypeGuard[ast.Call]:
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == 'dict'):
        return False
    return not node.args and all(word.arg for word in node.keywords)


def _pipeline_of(values: Mapping[str, Any]) -> list[Any]:
    dataset = values['test_dataloader']['dataset']
    while 'pipeline' not in dataset:
        dataset = dataset['dataset']
    return list(dataset['pipeline'])


def _check(node: Any, outermost: Collection[str], parts: Collection[str], largest: float) -> None:
    """Check that a config builds only known parts from values that name nothing outside.

    Args:
        node: A dictionary with ``type``; initialization is removed from it.
        outermost: Types that it may have.
        parts: Types that may be built within.
        largest: Largest number.

    Raises:
        ValueError: Naming what is not allowed.
    """
    if node.get('type') not in outermost:
        known = ' or '.join(name for name in outermost if '.' not in name)
        raise ValueError(f'it wants to build {_shown(node.get("type"))} in place of {known}')
    for key in list(node):
        if key != 'type':
            _check_value(node, key, parts, largest)


def _check_value(owner: Any, key: Any, parts: Collection[str], largest: float) -> None:
    value = owner[key]
    if isinstance(owner, dict):
        if not isinstance(key, str) or key == '_scope_' or key.startswith('__'):
            raise ValueError(f'it has a key {_shown(key)}')
        if key in _DROPPED:
            del owner[key]
            return
        if _NAMES_A_FILE.fullmatch(key) and value is not None:
            raise ValueError(f'it sets {key}, which names a file or an address')
        if key == 'type' and not (isinstance(value, str) and value in parts):
            raise ValueError(
                f'it wants to build {_shown(value)}, which is not among the parts known to open no files'
            )
    if isinstance(value, str):
        if not _PLAIN_TEXT.fullmatch(value):
            raise ValueError(f'{key}={_shown(value)} is no plain name')
    elif isinstance(value, (int, float)):
        # math.isfinite fails for very large integers.
        if abs(value) > largest and (isinstance(value, int) or math.isfinite(value)):
            raise ValueError(f'{key}={_shown(value)} is out of range')
    elif isinstance(value, dict):
        # A wrong type makes the clearest message.
        for inner in sorted(value, key=lambda name: name != 'type'):
            _check_value(value, inner, parts, largest)
    elif isinstance(value, (list, tuple)):
        if len(value) > MAX_LENGTH:
            raise ValueError(f'{key} has {len(value)} parts')
        if key == _WITHOUT_LIMIT:
            largest = math.inf
        for number in range(len(value)):
            _check_value(value, number, parts, largest)
    elif value is not None:
        raise ValueError(f'{key} is a {type(value).__name__}')


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f'{text[:57]}...'
