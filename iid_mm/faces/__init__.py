# SPDX-License-Identifier: Apache-2.0
"""Finding faces, following them through a video and cropping them."""
