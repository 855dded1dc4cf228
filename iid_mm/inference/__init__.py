# SPDX-License-Identifier: Apache-2.0
"""Analysis of photos and videos: faces are detected, tracked, scored, drawn and reported."""
