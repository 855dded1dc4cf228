# SPDX-License-Identifier: Apache-2.0
"""From a config to a runner."""

from __future__ import annotations

from mmengine.config import Config

from iid_mm.engine.runner.safe_runner import SafeRunner
from iid_mm.errors import InputError
from iid_mm.registry import RUNNERS


def build_runner(cfg: Config) -> SafeRunner:
    """Build the runner that a config asks for with ``runner_type``.

    Args:
        cfg: The config.

    Returns:
        The runner; a :class:`SafeRunner` without ``runner_type``.

    Raises:
        InputError: If there is no such runner, or it is not made from :class:`SafeRunner`: MMEngine's own
            runs code that checkpoints hold.
    """
    name = cfg.get('runner_type', SafeRunner.__name__)
    # MMEngine's registry would look it up in the scope that is current, which the runner sets.
    runner_class = RUNNERS.get(name)
    if runner_class is None or not issubclass(runner_class, SafeRunner):
        raise InputError(
            f"runner_type={name!r}: must be 'SafeRunner' or 'FlexibleForgeryRunner', or a class made from "
            'one of them'
        )
    runner: SafeRunner = runner_class.from_cfg(cfg)
    return runner
