# SPDX-License-Identifier: Apache-2.0
"""One distortion at one level."""

from __future__ import annotations

import os

from iid_mm.datasets.functional.distortion import (
    CLEAN,
    distort_image,
    find_distortion,
    sample_seed,
    strength,
)
from iid_mm.datasets.storage import read_crop
from iid_mm.datasets.transforms.face_transform import FaceTransform
from iid_mm.errors import InputError
from iid_mm.registry import TRANSFORMS
from iid_mm.utils.typing import ImageArray, Results

VIDEO = 'video_compression'


@TRANSFORMS.register_module()
class DistortFace(FaceTransform):
    """Distort the stored crop, before the face is aligned.

    A video is distorted before a detector sees it, so blur and noise must be scaled to the canvas together
    with the face. The stored crop has the pixels of the frame unless it was shrunk to the dataset's
    ``max_side``. Three things differ from distorting whole frames, as DeeperForensics-1.0 does: landmarks
    and crop come from the clean frame, so that failures of face detection do not count; blocks lie in the
    crop, so that far more of them hit the face; the video encoder sees the crop and not the background.

    The result depends only on the crop, its ``video_key``, ``frame`` and file name, the kind and the level;
    for ``video_compression`` also on the other crops of its video in the dataset.

    Required Keys:

    - img
    - img_path
    - video_key
    - frame
    - video_images (optional; ``video_compression`` only): paths of all crops of the video in order of time,
      added by ``VideoForgeryDataset`` of ``projects/robustness``
    - video_position (optional; ``video_compression`` only): place of this crop among them
    - storage (optional; database to read the other crops of a video from, absent: files)

    Modified Keys:

    - img

    Args:
        kind: Name of the distortion, see
            :data:`~iid_mm.datasets.functional.distortion.DISTORTIONS`.
        level: 1 (weak) to 5 (strong); 0 leaves the image as it is.
    """

    def __init__(self, kind: str, level: int) -> None:
        find_distortion(kind)
        self.kind = kind
        self.level = level
        self.value = None if level == CLEAN else strength(kind, level)
        # The last video of this worker: one encoding serves all of its samples.
        self._video: tuple[tuple[str, ...], list[ImageArray]] | None = None

    def transform(self, results: Results) -> Results:
        """Distort the image.

        Raises:
            InputError: For ``video_compression``, if the dataset does not list the crops of whole videos.
        """
        if self.value is None:
            return results
        if self.kind == VIDEO:
            results['img'] = self._recompressed(results, self.value)
        else:
            name = os.path.basename(results['img_path'])
            seed = sample_seed(results['video_key'], results['frame'], name, self.kind)
            results['img'] = distort_image(results['img'], self.kind, self.value, seed)
        return results

    def _recompressed(self, results: Results, crf: float) -> ImageArray:
        if 'video_images' not in results:
            raise InputError(
                f"{VIDEO} needs all crops of a video: use dataset=dict(type='VideoForgeryDataset') of "
                'projects/robustness'
            )
        images = results['video_images']
        if self._video is None or self._video[0] != images:
            crops = [read_crop(path, storage=results.get('storage')) for path in images]
            self._video = (images, self.compress_video(crops, crf, results))
        return self._video[1][results['video_position']].copy()

    def compress_video(self, crops: list[ImageArray], crf: float, results: Results) -> list[ImageArray]:
        """Compress the crops of a video.

        Args:
            crops: (h, w, 3) crops in order of time.
            crf: Constant rate factor of the encoder.
            results: Keys of a sample of the video.

        Returns:
            As many crops of the same sizes.
        """
        # Imported here: only this distortion needs PyAV, and training does not.
        from iid_mm.datasets.functional.h264 import recompress_crops

        return recompress_crops(crops, crf)
