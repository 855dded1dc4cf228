# SPDX-License-Identifier: Apache-2.0
"""Pure functions: distortions of images and videos, and the arithmetic of the table."""
