# SPDX-License-Identifier: Apache-2.0
"""Checks of prepared sets.

Empty on purpose: worker processes that decode images import one module of this package, and what an
import here would bring along takes longer to load than many images to decode. Start at
:func:`iid_mm.preparation.checking.runner.check_indexes`.
"""
