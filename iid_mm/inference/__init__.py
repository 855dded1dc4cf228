# SPDX-License-Identifier: Apache-2.0
"""From a photo or a video to an answer: faces found, followed, scored, drawn and reported."""
