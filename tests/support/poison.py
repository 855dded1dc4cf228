# SPDX-License-Identifier: Apache-2.0
"""Work that ends the process which works on it, as a defect of a decoder would."""

from __future__ import annotations

import multiprocessing
import os
from dataclasses import dataclass

from iid_mm.preparation.records import VideoGroup
from iid_mm.structures.video_record import VideoRecord


@dataclass(frozen=True)
class PoisonGroup(VideoGroup):
    """A group that ends every worker process that looks at its videos."""

    @property
    def records(self) -> list[VideoRecord]:
        """The videos, for the main process only."""
        if multiprocessing.parent_process() is not None:
            os._exit(3)
        return VideoGroup(self.name, self.genuine, self.fakes).records
