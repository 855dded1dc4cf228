# SPDX-License-Identifier: Apache-2.0
"""Protocols that need several trainings: their runs, their queue and their tables."""
