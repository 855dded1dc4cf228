# SPDX-License-Identifier: Apache-2.0
"""Intervals, tests and calibration of metrics."""
