# SPDX-License-Identifier: Apache-2.0
"""Models: detector, necks, heads and what they are made of."""

# Order matters: the stand-in operators must be there before mmdet's models are imported, and mmdet's
# models must be imported because a lookup that passes through a parent registry does not import them.
from iid_mm.models import ops_fallback  # isort: skip
import mmdet.models  # isort: skip
