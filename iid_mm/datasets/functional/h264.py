# SPDX-License-Identifier: Apache-2.0
"""Video compression with an H.264 encoder and decoder.

The encoder is libx264 with the settings that ``ffmpeg -crf N`` uses, which is how DeeperForensics-1.0 makes
its video compression: preset *medium*, 4:2:0, one key frame in at most 250, up to 3 B frames. One thread
and ``cpu-independent`` make the bits the same on every machine that has the same PyAV; the color
conversions are OpenCV's in integers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from typing import Any

import av
import cv2
import numpy as np
from av.codec.codec import UnknownCodecError

from iid_mm.errors import InputError
from iid_mm.utils.typing import ImageArray

FRAME_RATE = Fraction(25)
HOLD = 3
"""How many frames of the sequence a crop fills, see :func:`recompress_crops`."""
_X264_PARAMS = 'cpu-independent=1:threads=1:log-level=none'


def check_encoder() -> None:
    """Check that this PyAV can encode H.264.

    Raises:
        InputError: If it was built without libx264.
    """
    try:
        av.codec.Codec('libx264', 'w')
    except UnknownCodecError as error:
        raise InputError(
            'video_compression needs PyAV with the encoder libx264, which this build of PyAV lacks; install '
            'the wheel (pip install av) or leave video_compression out'
        ) from error


def recompress(frames: Iterable[ImageArray], crf: float, rate: Fraction = FRAME_RATE) -> Iterator[ImageArray]:
    """Encode frames and decode them again, a few frames of memory at a time.

    Args:
        frames: (H, W, 3) uint8 BGR images of one size, in order of time. Odd sides are padded to even ones
            with the last row or column, which is cut off again.
        crf: Constant rate factor of x264: 0 (lossless) to 51 (worst).
        rate: Frames a second; x264 spends its bits by it.

    Yields:
        As many images, of the same size, in the same order.

    Raises:
        InputError: If the frames differ in size or the encoder is missing.
    """
    encoder = decoder = None
    shape: tuple[int, ...] = ()
    given = returned = 0
    for image in frames:
        if encoder is None:
            shape = image.shape
            encoder, decoder = _encoder(shape, crf, rate), _decoder()
        if image.shape != shape:
            raise InputError(
                f'frame {given} is {image.shape[:2]} (h, w), the first one is {shape[:2]}: one size only'
            )
        frame = av.VideoFrame.from_ndarray(_to_planes(image), format='yuv420p')
        frame.pts = given
        given += 1
        for decoded in _decode(decoder, encoder.encode(frame)):
            returned += 1
            yield _to_image(decoded, shape)
    if encoder is not None:
        for decoded in [*_decode(decoder, encoder.encode(None)), *_decode(decoder, [None])]:
            returned += 1
            yield _to_image(decoded, shape)
    if returned != given:
        raise RuntimeError(f'H.264: {given} frames were encoded and {returned} came back')


def recompress_crops(crops: Sequence[ImageArray], crf: float, hold: int = HOLD) -> list[ImageArray]:
    """Compress the crops of one video that were sampled far apart.

    The crops make up one sequence in which each fills ``hold`` frames, of which the middle one is kept. On
    the longer edges smaller crops are padded, in the middle and by repeating their border, never resampled.

    Why ``hold``: crops follow each other after half a second, so that a sequence with each of them once has
    nothing to predict from and gets too few bits; with many repeats the image improves from frame to
    frame. Against whole videos compressed at the same CRF (three filmed clips, and a synthetic face video
    with its three manipulations; CRF 30, 35 and 40; PSNR of the crops), each crop once loses 0.6 to 2.3 dB
    too much, with eight frames each 0.5 to 2.4 dB too little, with three it is within 1.1 dB. What crops
    cannot show: blocks aligned as in the whole frame, and smearing by motion between true neighbors.
    Compressing the original videos is exact, see ``projects/robustness``.

    Args:
        crops: (h, w, 3) uint8 BGR crops in order of time; their sizes may differ.
        crf: Constant rate factor.
        hold: Frames that each crop fills.

    Returns:
        As many crops of the same sizes.
    """
    if not crops:
        return []
    # Even sides and offsets: 4:2:0 stores the colors of 2 x 2 px together.
    height, width = (max(crop.shape[axis] for crop in crops) for axis in (0, 1))
    height, width = height + height % 2, width + width % 2
    offsets = [((height - crop.shape[0]) // 4 * 2, (width - crop.shape[1]) // 4 * 2) for crop in crops]

    def sequence() -> Iterator[ImageArray]:
        for crop, (top, left) in zip(crops, offsets, strict=True):
            bottom, right = height - top - crop.shape[0], width - left - crop.shape[1]
            padded = cv2.copyMakeBorder(crop, top, bottom, left, right, cv2.BORDER_REPLICATE)
            for _ in range(hold):
                yield padded

    compressed = []
    for number, frame in enumerate(recompress(sequence(), crf)):
        place, turn = divmod(number, hold)
        if turn == hold // 2:
            (top, left), (rows, columns) = offsets[place], crops[place].shape[:2]
            compressed.append(np.ascontiguousarray(frame[top : top + rows, left : left + columns]))
    return compressed


def _encoder(shape: tuple[int, ...], crf: float, rate: Fraction) -> Any:
    check_encoder()
    encoder: Any = av.CodecContext.create('libx264', 'w')
    encoder.width, encoder.height = shape[1] + shape[1] % 2, shape[0] + shape[0] % 2
    encoder.pix_fmt = 'yuv420p'
    encoder.framerate, encoder.time_base = rate, 1 / rate
    encoder.thread_count = 1
    encoder.options = {'preset': 'medium', 'crf': f'{crf:g}', 'x264-params': _X264_PARAMS}
    return encoder


def _decoder() -> Any:
    decoder: Any = av.CodecContext.create('h264', 'r')
    decoder.thread_type, decoder.thread_count = 'NONE', 1
    return decoder


def _decode(decoder: Any, packets: Iterable[Any]) -> Iterator[Any]:
    for packet in packets:
        yield from decoder.decode(packet)


def _to_planes(image: ImageArray) -> ImageArray:
    height, width = image.shape[:2]
    if height % 2 or width % 2:
        image = cv2.copyMakeBorder(image, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)
    planes: ImageArray = cv2.cvtColor(image, cv2.COLOR_BGR2YUV_I420)
    return planes


def _to_image(frame: Any, shape: tuple[int, ...]) -> ImageArray:
    image = cv2.cvtColor(frame.to_ndarray(format='yuv420p'), cv2.COLOR_YUV2BGR_I420)
    return np.ascontiguousarray(image[: shape[0], : shape[1]])
