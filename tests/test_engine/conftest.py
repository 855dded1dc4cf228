# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from support.runs import killed, make_runner, new_runner, recorder, train_processes

__all__ = ['killed', 'make_runner', 'new_runner', 'recorder', 'train_processes']
