# SPDX-License-Identifier: Apache-2.0
"""Writing of crops and the rows that describe them."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from iid_mm.faces.cropping import Window, crop_points, stored_points
from iid_mm.media.image_writing import write_image
from iid_mm.preparation.faces import FaceCrop
from iid_mm.preparation.settings import Settings
from iid_mm.structures.video_record import VideoRecord

if TYPE_CHECKING:
    from iid_mm.utils.typing import ImageArray, PointsArray, Size

FRAMES, MASKS, WHOLE_FRAMES = 'frames', 'masks', 'whole_frames'
# A mask with another aspect ratio belongs to another frame.
MAX_SHAPE_CHANGE = 0.02


@dataclass
class Sample:
    """A stored face.

    Attributes:
        number: Frame number.
        size: Width and height of the frame.
        window: What was cut out of the frame.
        landmarks: (K, 2) points in pixels of the stored crop.
        score: Of the detector.
        image: Path of the crop.
        source_image: Path of the genuine crop that belongs to a fake.
        mask: Path of the mask crop.
    """

    number: int
    size: Size
    window: Window
    landmarks: PointsArray
    score: float
    image: str
    source_image: str | None = None
    mask: str | None = None


class CropWriter:
    """Writes the crops of one prepared folder.

    Args:
        settings: Format and size.
        out_dir: The prepared folder.

    Attributes:
        seconds: Time spent on writing so far.
    """

    def __init__(self, settings: Settings, out_dir: Path) -> None:
        self.settings = settings
        self.out_dir = out_dir
        self.seconds = 0.0

    def clear(self, key: str) -> None:
        """Delete what an interrupted run, or one with other input, left of a video."""
        for kind in (FRAMES, MASKS, WHOLE_FRAMES):
            with (
                suppress(FileNotFoundError, NotADirectoryError),
                os.scandir(self.out_dir / kind / key) as entries,
            ):
                for entry in entries:
                    # Folders are those of other videos: `a/b` lies in the folder of `a`.
                    if not entry.is_dir(follow_symlinks=False):
                        os.unlink(entry.path)

    def write(self, image: ImageArray, kind: str, key: str, number: int, note: str = '') -> str:
        """Write an image.

        Args:
            image: (H, W[, 3]) uint8.
            kind: :data:`FRAMES`, :data:`MASKS` or :data:`WHOLE_FRAMES`.
            key: Video key.
            number: Frame number.
            note: What sets it apart from the frame's main crop; part of its name.

        Returns:
            Path relative to the prepared folder.
        """
        start = perf_counter()
        # Masks are lossless whatever the format of the frames.
        suffix = 'png' if kind == MASKS else self.settings.image_format
        path = f'{kind}/{key}/{number:05d}{note}.{suffix}'
        write_image(image, self.out_dir / path, None if kind == MASKS else self.settings.quality)
        self.seconds += perf_counter() - start
        return path

    def write_face(self, crop: FaceCrop, key: str, number: int, note: str = '') -> str:
        """Write the crop of a face."""
        return self.write(crop.crop, FRAMES, key, number, note)

    def sample(self, crop: FaceCrop, number: int, image: str) -> Sample:
        """Describe a crop that was written as ``image``."""
        return Sample(number, crop.size, crop.window, self.points(crop), crop.face.score, image)

    def points(self, crop: FaceCrop) -> PointsArray:
        """(K, 2) landmarks in pixels of the stored crop."""
        return crop_points(crop.face.landmarks, crop.window, self.settings.max_side)


def make_row(record: VideoRecord, sample: Sample) -> dict[str, Any]:
    """Row of the index.

    Args:
        record: The video.
        sample: A stored face of it.
    """
    return {
        'image': sample.image,
        'source_image': sample.source_image,
        'landmarks': stored_points(sample.landmarks).reshape(-1),
        'label': record.label,
        'dataset': record.dataset,
        'method': record.method,
        'compression': record.compression,
        'video_key': record.key,
        'frame': sample.number,
        'split': record.split,
        'target_id': record.target_id,
        'source_id': record.source_id,
        'crop_window': list(sample.window),
        'detector_score': sample.score,
        'mask': sample.mask,
    }


def fit_mask(mask: ImageArray, size: Size) -> ImageArray | None:
    """Bring a mask to the size of its frame.

    Args:
        mask: (h, w, 3) uint8.
        size: Width and height of the frame.

    Returns:
        (H, W, 3) uint8; None if the ratio of the sides is another one.
    """
    height, width = mask.shape[:2]
    if (width, height) == size:
        return mask
    if abs(width * size[1] / (height * size[0]) - 1) > MAX_SHAPE_CHANGE:
        return None
    return np.asarray(cv2.resize(mask, size, interpolation=cv2.INTER_LINEAR), np.uint8)
