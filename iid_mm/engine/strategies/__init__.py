# SPDX-License-Identifier: Apache-2.0
"""Ways to spread a model over processes."""

from iid_mm.engine.strategies.forgery_fsdp_strategy import ForgeryFSDPStrategy
from iid_mm.engine.strategies.wrap_layers import wrap_layers

__all__ = ['ForgeryFSDPStrategy', 'wrap_layers']
