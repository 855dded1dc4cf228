# SPDX-License-Identifier: Apache-2.0
"""From public datasets as downloaded to face crops and an index."""
