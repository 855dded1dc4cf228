# SPDX-License-Identifier: Apache-2.0
"""Check that the parts of a detector fit each other, before training starts."""

from __future__ import annotations

import logging
from typing import Any

import torch
from mmengine.logging import print_log

from iid_mm.errors import InputError
from iid_mm.models.detectors import IIDDetector
from iid_mm.utils.typing import Features, Size

# What convolutions, norms and mmdet's necks and heads raise when a map is not what they were made for.
MISFITS = (RuntimeError, ValueError, AssertionError, TypeError, IndexError, AttributeError)


def check_wiring(model: IIDDetector, size: Size) -> None:
    """Send one empty image through a detector, part by part.

    Args:
        model: The detector, on any device; its mode and its statistics stay as they are.
        size: Width and height of the input in pixels.

    Raises:
        InputError: If a part cannot take what the part before it gives, or an artifact head was made for
            another number of levels. The message says which, with the sizes of all maps so far.
    """
    was_training = model.training
    parameter = next(model.parameters())
    image = torch.zeros(1, 3, size[1], size[0], device=parameter.device, dtype=parameter.dtype)
    seen = [f'input 3x{size[1]}x{size[0]}']
    model.eval()
    try:
        with torch.no_grad():
            feats = _run(model.backbone, 'backbone', seen, image)
            _check_maps(feats, 'backbone', seen)
            levels: Features = ()
            if model.neck is not None:
                levels = _run(model.neck, 'neck', seen, feats)
            _run(lambda: model.forgery_head(feats[-1], model.fused_map(levels)), 'forgery_head', seen)
            if model.artifact_head is not None:
                _check_levels(model.artifact_head, levels, size, seen)
                _run(model.artifact_head, 'artifact_head', seen, levels)
    finally:
        model.train(was_training)


def _run(part: Any, name: str, seen: list[str], *inputs: Any) -> Any:
    """Run a part and note the sizes of its outputs."""
    try:
        outputs = part(*inputs)
    except InputError as error:
        raise InputError(f'model.{name}: {error} (so far: {"; ".join(seen)})') from error
    except MISFITS as error:
        reason = (str(error).strip().splitlines() or ['no reason given'])[0]
        raise InputError(
            f'model.{name} cannot take what comes before it: {type(error).__name__}: {reason} (so far: '
            f'{"; ".join(seen)}); match its in_channels and number of levels to these maps'
        ) from error
    if isinstance(outputs, (tuple, list)) and all(isinstance(item, torch.Tensor) for item in outputs):
        seen.append(f'{name} ' + ', '.join('x'.join(map(str, item.shape[1:])) for item in outputs))
        return tuple(outputs)
    return outputs


def _check_maps(feats: Any, name: str, seen: list[str]) -> None:
    if not isinstance(feats, tuple) or not feats or any(feat.dim() != 4 for feat in feats):
        raise InputError(
            f'model.{name} must give a tuple of (N, C, H, W) maps (so far: {"; ".join(seen)}); of a vision '
            "transformer ask for maps with out_type='featmap'"
        )


def _check_levels(head: Any, levels: Features, size: Size, seen: list[str]) -> None:
    """Compare levels with the priors (anchors or points) of the head."""
    generator = getattr(head, 'prior_generator', None)
    if generator is None:
        return
    if generator.num_levels != len(levels):
        raise InputError(
            f'model.artifact_head was made for {generator.num_levels} levels (the strides of its anchors) '
            f'and the neck gives {len(levels)} (so far: {"; ".join(seen)}); give the anchors one stride for '
            'each level'
        )
    for number, (stride, level) in enumerate(zip(generator.strides, levels, strict=True)):
        cells = level.shape[-1], level.shape[-2]
        if any(not s // step <= c <= -(-s // step) for c, s, step in zip(cells, size, stride, strict=True)):
            print_log(
                f'model.artifact_head: level {number} has {cells[0]}x{cells[1]} cells of stride {stride}, '
                f'which do not cover {size[0]}x{size[1]} px: its anchors do not lie where its cells look; '
                'adapt the strides of the anchor generator',
                logger='current',
                level=logging.WARNING,
            )
