# SPDX-License-Identifier: Apache-2.0
"""Measures how much a detector knows about who is in the picture."""
