# SPDX-License-Identifier: Apache-2.0
"""Video compression of the original videos, which is exact, in place of their crops."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from av.error import FFmpegError

from iid_mm.datasets.functional.distortion import psnr
from iid_mm.datasets.functional.h264 import FRAME_RATE, recompress
from iid_mm.errors import InputError
from iid_mm.faces.cropping import Window
from iid_mm.media.containers import choose_stream, open_container
from iid_mm.media.sources import SourceOpener
from iid_mm.preparation.layouts import scan_layout
from iid_mm.preparation.layouts.base import LayoutOptions
from iid_mm.structures.video_record import FrameSource, VideoFile

if TYPE_CHECKING:
    from iid_mm.utils.typing import ImageArray, Size

MIN_LIKENESS = 30.0
"""Least PSNR of a stored crop and the same window of its original, dB; infinite for lossless formats."""


@dataclass(frozen=True)
class CropPlace:
    """Origin of a stored crop.

    Attributes:
        frame: Number of the frame.
        window: Part of the frame.
        size: (w, h) that the crop is stored in.
    """

    frame: int
    window: Window
    size: Size


@lru_cache(maxsize=1)
def find_originals(
    root: Path, layout: str, compression: str | None = None, splits_dir: Path | None = None
) -> dict[str, FrameSource]:
    """List the original videos of a prepared set.

    Args:
        root: Folder of the dataset as downloaded.
        layout: Its layout, as in ``tools/prepare_data.py``.
        compression: Compression level of the index; None and 'native' take the layout's default.
        splits_dir: Folder of the split files, if it is elsewhere.

    Returns:
        Sources by video key. The last result is cached: each level needs it.

    Raises:
        InputError: The layout is unknown.
        FileNotFoundError: The folder does not exist or holds no videos.
    """
    wanted = None if compression == 'native' else compression
    scan = scan_layout(layout, root, LayoutOptions(compression=wanted, splits_dir=splits_dir, masks=False))
    return {record.key: record.source for record in scan.records}


def recompress_original(
    source: FrameSource, places: Sequence[CropPlace], crf: float
) -> list[tuple[ImageArray, ImageArray]]:
    """Compress all whole frames of a video and cut crops out of them.

    This is how DeeperForensics-1.0 compresses its videos. Frames are decoded, encoded and decoded again one
    after the other, so that memory does not grow with the length of the video.

    Args:
        source: The frames.
        places: The requested crops, in any order.
        crf: Constant rate factor.

    Returns:
        For each place the crop from the original and from the compressed frame.

    Raises:
        InputError: A frame is missing, a window does not lie in the frame, or the frames differ in size.
    """
    wanted = {place.frame for place in places}
    clean: dict[int, ImageArray] = {}
    found: dict[int, tuple[ImageArray, ImageArray]] = {}
    numbers: list[int] = []
    with tempfile.TemporaryDirectory(prefix='iid_mm_') as scratch:
        opener = SourceOpener(Path(scratch))
        reader = opener.open(source)

        def frames() -> Iterator[ImageArray]:
            for number, image in reader.read(list(reader.numbers)):
                numbers.append(number)
                if number in wanted:
                    clean[number] = image
                yield image

        for position, compressed in enumerate(recompress(frames(), crf, _rate(source))):
            number = numbers[position]
            if number not in wanted:
                continue
            original = clean.pop(number)
            for index, place in enumerate(places):
                if place.frame == number:
                    found[index] = (_cut(original, place), _cut(compressed, place))
        opener.close()
    if missing := [place.frame for index, place in enumerate(places) if index not in found]:
        raise InputError(
            f'frame {min(missing)} cannot be read from {_name(source)}: {reader.problem or "not there"}'
        )
    return [found[index] for index in range(len(places))]


def check_same(stored: ImageArray, original: ImageArray, name: str) -> None:
    """Check that a stored crop was cut from the video that was found for it.

    Raises:
        InputError: If they do not show the same.
    """
    likeness = psnr(stored, original) if stored.shape == original.shape else 0.0
    if likeness < MIN_LIKENESS:
        raise InputError(
            f'{name}: the crop is not a part of the original video (PSNR {likeness:.1f} dB): --videos is '
            'another release of the set, or its crops were moved in preparation; without --videos the crops '
            'are compressed'
        )


def _cut(image: ImageArray, place: CropPlace) -> ImageArray:
    x0, y0, x1, y1 = place.window
    height, width = image.shape[:2]
    if not (0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height):
        raise InputError(
            f'crop window {place.window} of frame {place.frame} is not inside {width} x {height} px'
        )
    crop = image[y0:y1, x0:x1]
    if (x1 - x0, y1 - y0) == place.size:
        return np.ascontiguousarray(crop)
    return np.asarray(cv2.resize(crop, place.size, interpolation=cv2.INTER_AREA), np.uint8)


def _rate(source: FrameSource) -> Fraction:
    """Frames per second; a default for images and for rates that the encoder cannot use."""
    if not isinstance(source, VideoFile):
        return FRAME_RATE
    try:
        with open_container(source.path) as container:
            stream, _ = choose_stream(container)
            rate = stream.average_rate if stream is not None else None
    except (FFmpegError, OSError, InputError):
        return FRAME_RATE
    # Whole thousandths: the encoder's time base has to stay small.
    return Fraction(round(rate * 1000), 1000) if rate and 1 <= rate <= 240 else FRAME_RATE


def _name(source: FrameSource) -> str:
    path = source.path if hasattr(source, 'path') else source.folder
    return repr(str(path))
