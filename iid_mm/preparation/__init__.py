# SPDX-License-Identifier: Apache-2.0
"""From public data sets as downloaded to face crops and an index."""
