# SPDX-License-Identifier: Apache-2.0
"""From the files of strangers to frames: videos, images and archives, read within limits."""
