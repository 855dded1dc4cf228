# SPDX-License-Identifier: Apache-2.0
"""Checks that the parts of a detector fit each other."""

from __future__ import annotations

import logging
from typing import Any

import torch
from mmengine.logging import print_log

from iid_mm.errors import InputError
from iid_mm.utils.typing import Features, Size

# What convolutions, norms and mmdet's necks and heads raise for a map that they were not made for.
MISFITS = (RuntimeError, ValueError, AssertionError, TypeError, IndexError, AttributeError)


class WiringProbe:
    """Sends an input through the parts of a detector one by one and checks what each part returns.

    Args:
        size: Width and height of the input in pixels.
    """

    def __init__(self, size: Size) -> None:
        self.size = size
        self.seen = [f'input 3x{size[1]}x{size[0]}']

    def run(self, part: Any, name: str, *inputs: Any) -> Any:
        """Run a part and note the sizes of its outputs.

        Raises:
            InputError: If the part does not take the inputs; with the sizes of all maps so far.
        """
        try:
            outputs = part(*inputs)
        except InputError as error:
            raise InputError(f'model.{name}: {error} ({self._so_far})') from error
        except MISFITS as error:
            reason = (str(error).strip().splitlines() or ['no reason given'])[0]
            raise InputError(
                f'model.{name} cannot take what comes before it: {type(error).__name__}: {reason} '
                f'({self._so_far}); match its in_channels and number of levels to these maps'
            ) from error
        if isinstance(outputs, (tuple, list)) and all(isinstance(item, torch.Tensor) for item in outputs):
            self.seen.append(f'{name} ' + ', '.join('x'.join(map(str, item.shape[1:])) for item in outputs))
            return tuple(outputs)
        return outputs

    def check_maps(self, feats: Any, name: str) -> None:
        """Check that a part returned maps.

        Raises:
            InputError: If they are not a tuple of (N, C, H, W) tensors.
        """
        if not isinstance(feats, tuple) or not feats or any(feat.dim() != 4 for feat in feats):
            raise InputError(
                f'model.{name} must give a tuple of (N, C, H, W) maps ({self._so_far}); for a vision '
                "transformer set out_type='featmap'"
            )

    def check_levels(self, head: Any, levels: Features) -> None:
        """Compare levels with the priors (anchors or points) of the artifact head.

        Priors that do not cover the image are a warning.

        Raises:
            InputError: If the head was made for another number of levels.
        """
        generator = getattr(head, 'prior_generator', None)
        if generator is None:
            return
        if generator.num_levels != len(levels):
            raise InputError(
                f'model.artifact_head was made for {generator.num_levels} levels (the strides of its '
                f'anchors) and the neck gives {len(levels)} ({self._so_far}); give the anchors one stride '
                'for each level'
            )
        for number, (stride, level) in enumerate(zip(generator.strides, levels, strict=True)):
            cells = level.shape[-1], level.shape[-2]
            if all(
                s // step <= c <= -(-s // step) for c, s, step in zip(cells, self.size, stride, strict=True)
            ):
                continue
            print_log(
                f'model.artifact_head: level {number} has {cells[0]}x{cells[1]} cells of stride {stride}, '
                f'which do not cover {self.size[0]}x{self.size[1]} px: its anchors do not lie where its '
                'cells look; adapt the strides of the anchor generator',
                logger='current',
                level=logging.WARNING,
            )

    @property
    def _so_far(self) -> str:
        return f'so far: {"; ".join(self.seen)}'
