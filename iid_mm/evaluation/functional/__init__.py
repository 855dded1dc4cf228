# SPDX-License-Identifier: Apache-2.0
"""Metrics on plain arrays; nothing here knows a model or a runner."""
