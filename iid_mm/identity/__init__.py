# SPDX-License-Identifier: Apache-2.0
"""Identity in features (probe) and in scores (shift) of a detector."""
