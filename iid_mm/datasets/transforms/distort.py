# SPDX-License-Identifier: Apache-2.0
"""One distortion at one level."""

from __future__ import annotations

import os

from mmcv.transforms import BaseTransform

from iid_mm.datasets.transforms.reading import read_crop
from iid_mm.errors import InputError
from iid_mm.registry import TRANSFORMS
from iid_mm.utils.typing import ImageArray, Results
from robustness.distortions import CLEAN, find_distortion, strength
from robustness.functional.h264 import recompress_crops
from robustness.functional.images import distort_image, sample_seed
from robustness.originals import CropPlace, check_same, recompress_original

VIDEO = 'video_compression'


@TRANSFORMS.register_module()
class DistortFace(BaseTransform):
    """Distort the stored crop, before the face is aligned.

    A distortion happens to a video as it is shown, and what a detector does to the face (aligning, scaling
    to its canvas) comes after it: blur or noise of so many pixels must be shrunk with the face. The stored
    crop is the closest thing to the frame, pixel for pixel unless it had to be shrunk to the set's
    ``max_side``. Three things differ from distorting whole frames, as DeeperForensics-1.0 does: landmarks
    and crop come from the clean frame, so that failures of face detection do not count; blocks lie in the
    crop (see :mod:`~robustness.distortions`), so that far more of them hit the face; the video
    encoder sees the crop and not the background.

    The result depends on the crop, its ``video_key``, ``frame`` and file name, the kind and the level, and on
    nothing else; for ``video_compression`` also on which other crops of its video the dataset has.

    Required Keys:

    - img
    - img_path
    - video_key
    - frame
    - video_images, video_position (``video_compression`` only; see
      :class:`~robustness.datasets.VideoForgeryDataset`)
    - video_source, video_frames, video_windows (optional; compress the original video instead of its crops)
    - storage (optional; what the other crops of a video are read from, absent: files)

    Modified Keys:

    - img

    Args:
        kind: Name of the distortion, see :data:`~robustness.distortions.DISTORTIONS`.
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
            InputError: For ``video_compression``, if the dataset does not give whole videos, or the original
                video is not the one that the crop was cut from.
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
                f"{VIDEO} needs all crops of a video: use dataset=dict(type='VideoForgeryDataset'), as "
                'tools/test_robustness.py does'
            )
        images = results['video_images']
        if self._video is None or self._video[0] != images:
            crops = self._compress_original if 'video_source' in results else self._compress_crops
            self._video = (images, crops(results, crf))
        crop = self._video[1][results['video_position']]
        return crop.copy()

    def _compress_crops(self, results: Results, crf: float) -> list[ImageArray]:
        return recompress_crops(self._load_all(results), crf)

    def _compress_original(self, results: Results, crf: float) -> list[ImageArray]:
        stored = self._load_all(results)
        places = [
            CropPlace(frame, window, (crop.shape[1], crop.shape[0]))
            for frame, window, crop in zip(
                results['video_frames'], results['video_windows'], stored, strict=True
            )
        ]
        pairs = recompress_original(results['video_source'], places, crf)
        for crop, (original, _), path in zip(stored, pairs, results['video_images'], strict=True):
            check_same(crop, original, path)
        return [compressed for _, compressed in pairs]

    @staticmethod
    def _load_all(results: Results) -> list[ImageArray]:
        return [read_crop(path, storage=results.get('storage')) for path in results['video_images']]

    def __repr__(self) -> str:
        return f'{type(self).__name__}(kind={self.kind!r}, level={self.level})'
