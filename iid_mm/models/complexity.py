# SPDX-License-Identifier: Apache-2.0
"""Parameters, operations and activation memory of a detector, part by part."""

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
    """What one part of a model costs for one image.

    Attributes:
        part: Name of the part, or ``total``.
        parameters: Number of parameters.
        trained: Those of them that are trained.
        macs: Multiply-accumulate operations; half of the floating-point operations.
        activations: Outputs of convolutions and matrix products, numbers. In float32 they take four bytes
            each; training keeps them for the backward pass, norms and nonlinearities about as much again.
    """

    part: str
    parameters: int
    trained: int
    macs: int
    activations: int


def model_complexity(model: IIDDetector, size: Size) -> list[Complexity]:
    """Count parameters, operations and activations for one image.

    Args:
        model: The detector; is put into evaluation mode.
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
        # Pooling, norms and reshapes are not counted; there is no need to say so each time.
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
