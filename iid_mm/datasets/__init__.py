# SPDX-License-Identifier: Apache-2.0
"""Index, dataset, samplers and transforms.

Import from the modules: reading or writing an index then needs neither torch nor mmcv, which take seconds to
load.
"""
