# SPDX-License-Identifier: Apache-2.0
"""Pooled features of a detector by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.config import Config
from torch import nn
from torch.nn import functional as F

from iid_mm.errors import InputError
from iid_mm.utils.config import pipeline_input_size

PIXELS = 'pixels'
"""The downsampled input itself, a control."""
PIXEL_SIDE = 16


def pool(output: Any) -> torch.Tensor:
    """Average a layer's output over its positions.

    Args:
        output: (N, C, H, W), tokens (N, L, C) or (N, C); of a tuple or list the first item counts.

    Returns:
        (N, C) float32.

    Raises:
        InputError: The output has another form.
    """
    while isinstance(output, tuple | list) and output:
        output = output[0]
    if not isinstance(output, torch.Tensor) or output.ndim not in (2, 3, 4):
        raise InputError(f'a stage of the backbone returns a {type(output).__name__} that cannot be pooled')
    if output.ndim == 4:
        output = output.mean(dim=(2, 3))
    elif output.ndim == 3:
        output = output.mean(dim=1)
    return output.detach().float()


def backbone_stages(backbone: nn.Module) -> dict[str, nn.Module]:
    """Stages of a backbone by their name in it, first to last.

    Args:
        backbone: One that lists its stages as OpenMMLab's do, in ``res_layers`` (names), ``stages`` or
            ``layers``.

    Returns:
        The stages; empty for other backbones, whose outputs still are features.
    """
    if names := getattr(backbone, 'res_layers', None):
        return {str(name): getattr(backbone, str(name)) for name in names}
    for name in ('stages', 'layers'):
        modules = getattr(backbone, name, None)
        if isinstance(modules, nn.ModuleList | nn.Sequential) and len(modules):
            return {f'{name}.{number}': module for number, module in enumerate(modules)}
    return {}


class FeatureExtractor:
    """Computes named features of an :class:`~iid_mm.models.IIDDetector`, with or without neck.

    Names: ``pixels``; ``backbone.<stage>`` for each stage; ``backbone.out.<i>`` for each output but the last
    where the stages of the backbone are unknown; ``backbone`` (the last output); ``neck.<level>``;
    ``fused`` (input of the forgery head's classifier) and ``logits``. Maps are averaged over their positions.

    Args:
        model: The detector; it is put into evaluation mode.
    """

    def __init__(self, model: Any) -> None:
        self.model = model.eval()
        self.stages = backbone_stages(model.backbone)

    @torch.no_grad()
    def __call__(self, inputs: torch.Tensor) -> dict[str, torch.Tensor]:
        """Compute all features.

        Args:
            inputs: (N, 3, H, W) uint8 or float, as the data pipeline packs them.

        Returns:
            (N, D) float32 by name, in the order of the network.
        """
        model = self.model
        device = next(model.parameters()).device
        found = {PIXELS: F.adaptive_avg_pool2d(inputs.float(), PIXEL_SIDE).flatten(1)}
        batch = model.data_preprocessor({'inputs': list(inputs)}, False)['inputs'].to(device)
        pooled: dict[str, torch.Tensor] = {}
        hooks = []
        for name, stage in self.stages.items():

            def keep(_: nn.Module, __: Any, output: Any, name: str = name) -> None:
                # Pooled at once: later layers may change the map in place.
                pooled[f'backbone.{name}'] = pool(output)

            hooks.append(stage.register_forward_hook(keep))
        try:
            outputs, levels = model.extract_feat(batch)
        finally:
            for hook in hooks:
                hook.remove()
        found |= {name: pooled[name] for name in (f'backbone.{s}' for s in self.stages) if name in pooled}
        if not self.stages:
            found |= {f'backbone.out.{i}': pool(output) for i, output in enumerate(outputs[:-1])}
        found['backbone'] = pool(outputs[-1])
        found |= {f'neck.{i}': pool(level) for i, level in enumerate(levels)}
        head, last = model.forgery_head, model.fused_map(levels)
        if hasattr(head, 'fuse'):
            found['fused'] = pool(head.fuse(outputs[-1], last))
        found['logits'] = pool(head(outputs[-1], last))
        return {name: value.cpu() for name, value in found.items()}


def list_features(model: Any, cfg: Config) -> dict[str, int]:
    """Length of every feature, for the input size of the test pipeline, in the order of the network."""
    width, height = pipeline_input_size(cfg)
    black = torch.zeros(1, 3, height, width, dtype=torch.uint8)
    return {name: int(value.shape[1]) for name, value in FeatureExtractor(model)(black).items()}


def chosen_features(names: Sequence[str] | None, known: Sequence[str]) -> list[str]:
    """Names of the chosen features.

    Args:
        names: Requested names; None: all but ``pixels``, which is a control.
        known: Names of all features.

    Returns:
        The names in the order of the network.

    Raises:
        InputError: A name is unknown.
    """
    if names is None:
        return [name for name in known if name != PIXELS]
    if unknown := [name for name in names if name not in known]:
        raise InputError(
            f'--features {" ".join(unknown)}: unknown; this model has {", ".join(known)} (--list-features)'
        )
    return [name for name in known if name in names]
