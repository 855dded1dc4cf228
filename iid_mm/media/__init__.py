# SPDX-License-Identifier: Apache-2.0
"""Reading videos, images and archives that are not trusted, and writing images."""
