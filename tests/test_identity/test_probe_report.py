# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import torch

from iid_mm.identity.probe_report import untrained_model
from iid_mm.utils.config import load_config


def test_untrained_networks_depend_on_the_seed_only(tiny_config: Path) -> None:
    cfg = load_config(tiny_config)
    one, same, other = (untrained_model(cfg, seed).state_dict() for seed in (0, 0, 1))
    key = 'backbone.layer2.0.conv1.weight'
    assert torch.equal(one[key], same[key])
    assert not torch.equal(one[key], other[key])
