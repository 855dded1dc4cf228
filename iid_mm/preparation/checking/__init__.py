# SPDX-License-Identifier: Apache-2.0
"""Checks of prepared sets.

Start at :func:`iid_mm.preparation.checking.runner.check_indexes`. Nothing is imported here, because the
worker processes that decode images import a module of this package and must start quickly.
"""
