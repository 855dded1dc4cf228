# SPDX-License-Identifier: Apache-2.0
"""Checks of a model that a runner has built."""

from __future__ import annotations

from mmengine.config import Config
from torch import nn

from iid_mm.errors import InputError
from iid_mm.models import IIDDetector
from iid_mm.models.wiring import check_wiring
from iid_mm.utils.config import pipeline_input_size


def check_parts(model: nn.Module, cfg: Config) -> None:
    """Check that the parts of a detector fit each other, see :func:`~iid_mm.models.wiring.check_wiring`.

    Args:
        model: The model; others than :class:`~iid_mm.models.IIDDetector` are left alone.
        cfg: The config. If its test pipeline does not tell the size of the input, nothing is checked.

    Raises:
        InputError: If they do not fit.
    """
    if not isinstance(model, IIDDetector):
        return
    try:
        size = pipeline_input_size(cfg)
    except InputError:
        return
    check_wiring(model, size)
