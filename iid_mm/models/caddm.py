# SPDX-License-Identifier: Apache-2.0
"""Convert published CADDM checkpoints for :class:`~iid_mm.models.IIDDetector`.

Only names and one layout differ: CADDM's anchor classifiers have background first, mmdet's and ours last, so
their output channels are swapped within each anchor.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch

from iid_mm.errors import InputError

EFFICIENTNET_BLOCKS = {
    'efficientnet-b3': (2, 3, 3, 5, 5, 6, 2),
    'efficientnet-b4': (2, 4, 4, 6, 6, 8, 2),
}
"""Blocks of each of the seven stages (Tan & Le, 2019, with depth scaling)."""

MMPRETRAIN_STAGES = ((0,), (1,), (2,), (3, 4), (5, 6))
"""Stages in each of mmpretrain's `layers.1` to `layers.5`."""

BACKBONES = ('resnet34', *EFFICIENTNET_BLOCKS)
UNUSED = re.compile(r'base_model\.(_?fc)\.')
"""The ImageNet classifier, which CADDM stores and never calls."""

_MBCONV = {
    '_expand_conv': 'expand_conv.conv',
    '_depthwise_conv': 'depthwise_conv.conv',
    '_bn1': 'depthwise_conv.bn',
    '_se_reduce': 'se.conv1.conv',
    '_se_expand': 'se.conv2.conv',
    '_project_conv': 'linear_conv.conv',
    '_bn2': 'linear_conv.bn',
    '_bn0': 'expand_conv.bn',
}
_STEM_AND_HEAD = {
    '_conv_stem': 'layers.0.conv',
    '_bn0': 'layers.0.bn',
    '_conv_head': 'layers.6.conv',
    '_bn1': 'layers.6.bn',
}


def convert_caddm(
    network: Mapping[str, torch.Tensor], backbone: str
) -> tuple[dict[str, torch.Tensor], list[str]]:
    """Translate a CADDM state dict.

    Args:
        network: The checkpoint's entry 'network'; a prefix 'module.' is accepted.
        backbone: 'resnet34', 'efficientnet-b3' or 'efficientnet-b4'.

    Returns:
        The state dict for :class:`IIDDetector` and the list of keys that have no counterpart.

    Raises:
        InputError: For an unknown backbone.
    """
    if backbone not in BACKBONES:
        raise InputError(f'backbone {backbone!r} is unknown; choose from {", ".join(BACKBONES)}')
    converted: dict[str, torch.Tensor] = {}
    unknown: list[str] = []
    for key, value in network.items():
        name = key.removeprefix('module.')
        if UNUSED.match(name):
            continue
        new_name = _translate(name, backbone)
        if new_name is None:
            unknown.append(key)
        elif '.conv_cls.' in new_name:
            converted[new_name] = background_last(value)
        else:
            converted[new_name] = value
    return converted, unknown


def background_last(value: torch.Tensor) -> torch.Tensor:
    """Swap background and artifact within each anchor.

    Args:
        value: Weight (A * 2, C, k, k) or bias (A * 2,), channels anchor-major.

    Returns:
        The same shape.
    """
    return value.reshape(-1, 2, *value.shape[1:]).flip(1).reshape(value.shape).contiguous()


def _translate(name: str, backbone: str) -> str | None:
    """Our name of a CADDM weight; None if there is none."""
    if name.startswith('fc.'):
        return f'forgery_head.{name}'
    if name.startswith('base_model.'):
        rest = name.removeprefix('base_model.')
        inner = rest if backbone == 'resnet34' else _translate_efficientnet(rest, backbone)
        return None if inner is None else f'backbone.{inner}'
    if match := re.fullmatch(r'adm\.adm_extra_layers\.(\d+)\.(.+)', name):
        level, rest = match.groups()
        rest = rest.removeprefix('0.').replace('downsample', 'shortcut')
        return f'neck.blocks.{level}.{rest}'
    if match := re.fullmatch(r'adm\.multi_scale_detection_module\.ms_(cls|dets)\.(.+)', name):
        kind, rest = match.groups()
        return f'artifact_head.conv_{"cls" if kind == "cls" else "reg"}.{rest}'
    return None


def _translate_efficientnet(name: str, backbone: str) -> str | None:
    """mmpretrain's name of a weight of the EfficientNet; None if there is none."""
    module, _, parameter = name.rpartition('.')
    if module in _STEM_AND_HEAD:
        return f'{_STEM_AND_HEAD[module]}.{parameter}'
    match = re.fullmatch(r'_blocks\.(\d+)\.(\w+)', module)
    if match is None or match[2] not in _MBCONV:
        return None
    place = _block_places(backbone).get(int(match[1]))
    return None if place is None else f'layers.{place}.{_MBCONV[match[2]]}.{parameter}'


def _block_places(backbone: str) -> dict[int, str]:
    """Map the number of a block to 'layer.index' in mmpretrain's EfficientNet."""
    counts = EFFICIENTNET_BLOCKS[backbone]
    places = (
        f'{layer}.{index}'
        for layer, stages in enumerate(MMPRETRAIN_STAGES, start=1)
        for index in range(sum(counts[stage] for stage in stages))
    )
    return dict(enumerate(places))
