# SPDX-License-Identifier: Apache-2.0
"""Reports: one checkpoint on several test sets, with everything that is needed to check the metrics."""

from iid_mm.reporting.options import BOOTSTRAP_UNITS, ReportOptions

__all__ = ['BOOTSTRAP_UNITS', 'ReportOptions']
