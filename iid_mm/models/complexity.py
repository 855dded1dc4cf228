# SPDX-License-Identifier: Apache-2.0
"""Parameters, operations and activations of the parts of a detector."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from mmengine.analysis import ActivationAnalyzer, FlopAnalyzer

from iid_mm.models.detectors import IIDDetector
from iid_mm.utils.typing import Size

PARTS = ('backbone', 'neck', 'artifact_head', 'forgery_head')


@dataclass(frozen=True)
class Complexity:
    """Cost of one part of a model for one image.

    Attributes:
        part: Name of the part, or ``total``.
        parameters: Number of parameters.
        trained: Number of parameters that are trained.
        macs: Multiply-accumulate operations; half of the floating-point operations.
        activations: Number of outputs of convolutions and matrix products, four bytes each in float32.
            Training keeps them for the backward pass, and about as many of norms and nonlinearities.
    """

    part: str
    parameters: int
    trained: int
    macs: int
    activations: int


def model_complexity(model: IIDDetector, size: Size) -> list[Complexity]:
    """Count parameters, operations and activations for one image.

    Args:
        model: The detector; switched to evaluation mode.
        size: Width and height of the input.

    Returns:
        The parts that the model has, then the total.
    """
    model.eval()
    image = torch.zeros(1, 3, size[1], size[0], device=next(model.parameters()).device)
    logger = logging.getLogger('fvcore')
    level = logger.level
    analyzers = [kind(model, (image,)) for kind in (FlopAnalyzer, ActivationAnalyzer)]
    for analyzer in analyzers:
        # Pooling, norms and reshapes are not counted, as documented.
        analyzer.unsupported_ops_warnings(False)
        analyzer.uncalled_modules_warnings(False)
        analyzer.tracer_warnings('none')
    with torch.no_grad():
        macs, activations = (analyzer.by_module() for analyzer in analyzers)
    logger.setLevel(level)
    found = []
    for part in PARTS:
        module = getattr(model, part)
        if module is not None:
            counts = _count(module.parameters())
            found.append(Complexity(part, *counts, int(macs[part]), int(activations[part])))
    counts = _count(model.parameters())
    return [*found, Complexity('total', *counts, int(macs['']), int(activations['']))]


def _count(parameters: Iterable[torch.nn.Parameter]) -> tuple[int, int]:
    every = list(parameters)
    return sum(p.numel() for p in every), sum(p.numel() for p in every if p.requires_grad)
