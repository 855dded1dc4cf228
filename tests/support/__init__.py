# SPDX-License-Identifier: Apache-2.0
"""Small made-up data for tests: videos, faces and datasets in their real layouts."""
