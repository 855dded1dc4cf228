# SPDX-License-Identifier: Apache-2.0
"""Helpers without a home of their own."""
