# SPDX-License-Identifier: Apache-2.0
"""Fixtures of all tests, those of projects included."""

pytest_plugins = ['support.fixtures']
