# SPDX-License-Identifier: Apache-2.0
"""Conversion of a decoded video frame to the image that a player shows."""

from __future__ import annotations

import struct
from fractions import Fraction
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from iid_mm.media.image_headers import MAX_PIXELS

if TYPE_CHECKING:
    from iid_mm.utils.typing import ImageArray

WHITE = 203.0
"""Luminance of white in HDR video, cd/m2 (ITU-R BT.2408)."""
DARKEST_WHITE = 100.0
"""Luminance of white in HDR videos that were graded like SDR ones, cd/m2."""
_KNEE = 0.75
"""Share of white up to which tone mapping does not change HDR."""
# Brighter light is clipped to this, in units of white.
_BRIGHTEST = 50
_AT_A_TIME = 1 << 20
# Code points of ISO/IEC 23091-2.
_UNSPECIFIED, _PQ, _HLG = 2, 16, 18
_TRANSFERS = {_PQ: 'smpte2084, PQ', _HLG: 'arib-std-b67, HLG'}
_BT2020 = 9
# Matrices that FFmpeg converts to RGB: BT.709, unspecified, FCC, BT.601, SMPTE 240M, BT.2020; 0 is RGB.
_MATRICES = {0, 1, 2, 4, 5, 6, 7, 8, 9, 10}
_DOLBY_VISION = ('DOVI_RPU_BUFFER', 'DOVI_METADATA')
# Display matrices of quarter turns, counter-clockwise.
_QUARTERS = ((1, 0, 0, 1), (0, -1, 1, 0), (-1, 0, 0, -1), (0, 1, -1, 0))
# Linear light in BT.2020 primaries to BT.709 ones (ITU-R BT.2087), rows and columns in order B, G, R.
_TO_709 = np.array(
    [[1.1187, -0.1006, -0.0182], [-0.0083, 1.1329, -0.1246], [-0.0728, -0.5876, 1.6605]], np.float32
)
# Pixels whose width differs by less are not resampled.
_NEARLY_SQUARE = 0.01
_LARGEST_ASPECT = 8


class Colors(NamedTuple):
    """Colors that a container specifies, as code points of ISO/IEC 23091-2; 2 is unspecified."""

    transfer: int
    primaries: int
    matrix: int
    range: int


def colors_of(codec: Any) -> Colors:
    """Colors that a container specifies.

    Args:
        codec: ``av.VideoCodecContext``, before decoding: decoders drop what their data do not specify.
    """
    return Colors(codec.color_trc, codec.color_primaries, codec.colorspace, codec.color_range)


def complete(frame: Any, colors: Colors) -> None:
    """Set the colors of a frame from its container where its own data do not specify them."""
    if frame.color_trc == _UNSPECIFIED:
        frame.color_trc = colors.transfer
    if frame.color_primaries == _UNSPECIFIED:
        frame.color_primaries = colors.primaries
    if frame.colorspace == _UNSPECIFIED:
        frame.colorspace = colors.matrix
    if frame.color_range == 0:
        frame.color_range = colors.range


def to_image(frame: Any, aspect: Fraction | None = None) -> tuple[ImageArray, str]:
    """Convert a decoded frame to the image that is shown.

    Matrix and range of the colors are those of the frame (by default BT.601, limited range). HDR is tone
    mapped, pixels are made square by enlarging the short side, and the display matrix is applied.

    Args:
        frame: ``av.VideoFrame``.
        aspect: Width of a pixel divided by its height; None for square pixels.

    Returns:
        (H, W, 3) uint8 BGR, and how it differs from frames of other videos; empty if it does not.
    """
    transfer = frame.color_trc
    notes = []
    if transfer in _TRANSFERS or frame.color_primaries == _BT2020:
        image = _from_wide(frame.to_ndarray(format='rgb48le'), transfer)
        if transfer in _TRANSFERS:
            notes.append(f'HDR ({_TRANSFERS[transfer]}): tone mapped to SDR, colors are not as trained')
    else:
        image = frame.to_ndarray(format='bgr24')
    if frame.colorspace not in _MATRICES:
        notes.append(f'colors are not as trained (matrix {frame.colorspace} is not known here)')
    elif transfer not in _TRANSFERS and any(_side_data(frame, kind) for kind in _DOLBY_VISION):
        notes.append('Dolby Vision without a layer for other displays: colors are not as trained')
    if frame.interlaced_frame:
        notes.append('interlaced: moving edges may be combed, which is not as trained')
    image, note = squared(image, aspect)
    return turned(image, _display_matrix(frame)), '; '.join(filter(None, [*notes, note]))


def squared(image: ImageArray, aspect: Fraction | None) -> tuple[ImageArray, str]:
    """Make the pixels of an image square by enlarging it along the longer side of the pixels.

    Args:
        image: (H, W, 3) uint8.
        aspect: Width of a pixel divided by its height; None if unknown.

    Returns:
        (H, W, 3) uint8, and a problem, empty if there is none.
    """
    if not aspect or abs(aspect - 1) < _NEARLY_SQUARE:
        return image, ''
    height, width = image.shape[:2]
    ratio = float(aspect)
    size = (round(width * max(ratio, 1)), round(height / min(ratio, 1)))
    shape = f'{aspect.numerator}:{aspect.denominator}'
    if max(ratio, 1 / ratio) > _LARGEST_ASPECT or size[0] * size[1] > MAX_PIXELS:
        return image, f'pixels are not square ({shape}), which is ignored'
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_LINEAR), np.uint8), ''


def turned(image: ImageArray, matrix: tuple[int, int, int, int]) -> ImageArray:
    """Rotate and mirror an image.

    Args:
        image: (H, W, 3) uint8.
        matrix: a, b, c, d: a point (x, y) is shown at (a x + c y, b x + d y). Only the signs count, and
            whether a and d or b and c are larger.

    Returns:
        The image, contiguous.
    """
    a, b, c, d = matrix
    if abs(a) + abs(d) >= abs(b) + abs(c):
        across, down = a, d
    else:
        image, across, down = image.transpose(1, 0, 2), c, b
    if across < 0:
        image = image[:, ::-1]
    if down < 0:
        image = image[::-1]
    return np.ascontiguousarray(image)


def _display_matrix(frame: Any) -> tuple[int, int, int, int]:
    data = _side_data(frame, 'DISPLAYMATRIX')
    if data is None:
        return _QUARTERS[round(frame.rotation / 90) % 4]
    values = struct.unpack_from('=9i', bytes(data))
    return values[0], values[1], values[3], values[4]


def _side_data(frame: Any, kind: str) -> Any:
    try:
        return frame.side_data.get(kind)
    except ValueError:
        # PyAV fails for all side data if it does not know the type of one.
        return None


def _from_wide(image: npt.NDArray[np.uint16], transfer: int) -> ImageArray:
    """Convert BT.2020 to SDR in BT.709.

    Args:
        image: (H, W, 3) uint16 RGB.
        transfer: Number of the transfer function.

    Returns:
        (H, W, 3) uint8 BGR.
    """
    height, width = image.shape[:2]
    white = 1.0
    if transfer in _TRANSFERS:
        # The level of white is not in the file; it is no brighter than the frame.
        step = max(1, round((height * width / _AT_A_TIME) ** 0.5))
        brightest = np.percentile(_light(image[::step, ::step], transfer).max(axis=-1), 99.5)
        white = float(min(max(brightest, DARKEST_WHITE / WHITE), 1))
    to_gamma = _tables(transfer)[1]
    scale = np.float32((len(to_gamma) - 1) / _BRIGHTEST**0.5)
    result = np.empty((height, width, 3), np.uint8)
    # In strips, because a large frame in floating point takes gigabytes.
    rows = max(1, _AT_A_TIME // width)
    for top in range(0, height, rows):
        light = cv2.transform(_light(image[top : top + rows], transfer) / np.float32(white), _TO_709)
        # Square roots give the dark levels more entries.
        places = np.sqrt(np.clip(light, 0, _BRIGHTEST)) * scale
        result[top : top + rows] = to_gamma[places.astype(np.int32)]
    return result


def _light(image: npt.NDArray[np.uint16], transfer: int) -> npt.NDArray[np.float32]:
    """Linear light of a display, 1 = :data:`WHITE`: (H, W, 3) BGR of (H, W, 3) RGB."""
    light = _tables(transfer)[0][image[..., ::-1]]
    if transfer == _HLG:
        # The opto-optical transfer of a display of 1000 cd/m2 (ITU-R BT.2100).
        luminance = light @ np.array([0.0593, 0.6780, 0.2627], np.float32)
        light *= (1000 / WHITE) * np.maximum(luminance, 1e-6)[..., None] ** np.float32(0.2)
    return light


@lru_cache(maxsize=4)
def _tables(transfer: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8]]:
    """Linear light, 1 = white, of each 16-bit level; and the SDR level by square root of linear light."""
    signal = np.arange(1 << 16) / 65535
    if transfer == _PQ:
        power = signal ** (1 / 78.84375)
        linear = np.maximum(power - 0.8359375, 0) / (18.8515625 - 18.6875 * power)
        linear = 10000 * linear ** (1 / 0.1593017578125) / WHITE
    elif transfer == _HLG:
        a, b, c = 0.17883277, 0.28466892, 0.55991073
        linear = np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12)
    else:
        linear = signal**2.4
    light = np.linspace(0, _BRIGHTEST**0.5, 1 << 14) ** 2
    if transfer in _TRANSFERS:
        # Light that is brighter than white is compressed and not clipped.
        rolled = 1 - (1 - _KNEE) * np.exp(-(light - _KNEE) / (1 - _KNEE))
        light = np.where(light <= _KNEE, light, rolled)
    levels = np.rint(255 * np.minimum(light, 1) ** (1 / 2.4))
    return linear.astype(np.float32), levels.astype(np.uint8)
