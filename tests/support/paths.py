# SPDX-License-Identifier: Apache-2.0
"""Where things are in a checkout."""

from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
"""The root of the checkout."""
