# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np

from iid_mm.reporting.document import find_threshold
from iid_mm.reporting.options import ReportOptions

from .report_scores import scores


def test_test_videos_in_the_validation_split_are_reported() -> None:
    options, frames = ReportOptions(resamples=100), scores()
    videos = np.unique(frames.video_key.astype(str))
    assert find_threshold(options, frames).text.endswith('no test video took part')
    assert find_threshold(options, frames, '', ['dfd/youtube/c23/000']).text.endswith(
        'no test video took part'
    )
    found = find_threshold(options, frames, '', [*videos[:3], 'x'])
    assert '3 of its 20 videos are test videos' in found.text
    assert 'no test video' not in found.text
