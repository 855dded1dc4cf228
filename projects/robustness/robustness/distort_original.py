# SPDX-License-Identifier: Apache-2.0
"""Video compression of the original video instead of its crops."""

from __future__ import annotations

from iid_mm.datasets.transforms import DistortFace
from iid_mm.registry import TRANSFORMS
from iid_mm.utils.typing import ImageArray, Results
from robustness.originals import CropPlace, check_same, recompress_original


@TRANSFORMS.register_module()
class DistortOriginal(DistortFace):
    """Compress the original video and cut the crops out of it; other distortions as in the base class.

    Required Keys:

    - those of :class:`~iid_mm.datasets.transforms.DistortFace`
    - video_source, video_frames, video_windows (``video_compression`` only; see
      :class:`~robustness.VideoForgeryDataset`)
    """

    def compress_video(self, crops: list[ImageArray], crf: float, results: Results) -> list[ImageArray]:
        """Compress the original video.

        Raises:
            InputError: If the original video is not the one that the crops were cut from.
        """
        places = [
            CropPlace(frame, window, (crop.shape[1], crop.shape[0]))
            for frame, window, crop in zip(
                results['video_frames'], results['video_windows'], crops, strict=True
            )
        ]
        pairs = recompress_original(results['video_source'], places, crf)
        for crop, (original, _), path in zip(crops, pairs, results['video_images'], strict=True):
            check_same(crop, original, path)
        return [compressed for _, compressed in pairs]
